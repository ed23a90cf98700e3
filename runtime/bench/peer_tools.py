"""llama.cpp's own benchmark tools, built once: the source, and the kind of build, of the library that runs here."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.errors import MissingPackageError, ResourceError
from models.write_fault import write_error
from runtime import machine
from runtime.bench.library_build import LibraryBuild, installed_build

Progress = Callable[[str], None]
_NEEDED_BYTES = 2 << 30
_TARGETS = ("llama-bench", "llama-batched-bench")
_TOOLS = {"cmake": "cmake", "c++": "a C++ compiler"}
_GPU_TOOLS = {"cuda": {"nvcc": "the CUDA toolkit"}, "vulkan": {"glslc": "the Vulkan SDK"}}


@dataclass(frozen=True)
class PeerTools:
    """Built programs, the llama-cpp-python version whose source they come from, and what they compute on, as it does
    (`cpu`, `cuda`, …)."""

    llama_bench: Path
    batched_bench: Path
    version: str
    build: str = "cpu"


def peer_tools(cache: Path, progress: Progress | None = None, *, jobs: int = 1) -> PeerTools:
    """The tools in `cache`, built now if they are not there: some minutes of `jobs` cores at the lowest priority.

    The source comes from the package index; what ggml computes on, and its settings, are those of the installed library
    (`LibraryBuild`), linked statically; each kind of build has a folder of its own. Raises `CannotMeetError` where that
    cannot be told, `MissingPackageError` without cmake or a compiler, `ResourceError` where the download or the build
    fails, `WriteError` where `cache` cannot be written.
    """
    tell = progress or (lambda line: None)
    version, build = _installed_version(), installed_build()
    folder = cache / "-".join(part for part in ("peers", version, build.key) if part)
    tools = PeerTools(folder / _TARGETS[0], folder / _TARGETS[1], version, build.name)
    if tools.llama_bench.is_file() and tools.batched_bench.is_file():
        return tools
    _require_tools(build)
    if machine.disk_free(cache) < _NEEDED_BYTES:
        raise ResourceError(f"Building the peers takes 2 GiB in {cache}, which has less; free some disk there.")
    work = folder / "work"
    try:
        work.mkdir(parents=True, exist_ok=True)
        tell(f"fetching the source of llama-cpp-python {version}")
        source = _fetch(work, version)
        _build(source, work / "build", build, jobs, tell)
        for target in _TARGETS:
            part = folder / (target + ".part")
            shutil.copy2(work / "build" / "bin" / target, part)
            part.replace(folder / target)
        shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise write_error(
            work, error, "set KANGAE_CACHE_DIR to another folder", what=f"The peers in {folder}"
        ) from error
    return tools


def _require_tools(build: LibraryBuild) -> None:
    needed = dict(_TOOLS)
    for part in build.name.split("+"):
        needed |= _GPU_TOOLS.get(part, {})
    for program, package in needed.items():
        named = os.environ.get("CUDACXX", "") if program == "nvcc" else ""
        if shutil.which(named or program) is None:
            raise MissingPackageError(
                f"`{program}` is needed to build llama.cpp's own benchmarks and is not installed; "
                f"install {package}, or run `kangae bench speed`, which does without."
            )


def _installed_version() -> str:
    try:
        return importlib.metadata.version("llama-cpp-python")
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingPackageError(
            "The peers are built for the installed llama-cpp-python, and there is none; "
            "make the environment anew: `make clean`, then `make run`, in Kangae's folder."
        ) from error


def _fetch(work: Path, version: str) -> Path:
    """The unpacked llama.cpp of the source distribution."""
    wanted = ["--no-deps", "--no-binary", "llama-cpp-python", f"llama-cpp-python=={version}"]
    _run([sys.executable, "-m", "pip", "download", "-q", "-d", str(work), *wanted], "fetch the source")
    archives = sorted(work.glob("llama_cpp_python-*.tar.gz"))
    if not archives:
        raise ResourceError("The package index gave no source of llama-cpp-python; check the network and try again.")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(work, filter="data")
    return work / archives[0].name.removesuffix(".tar.gz") / "vendor" / "llama.cpp"


def _build(source: Path, folder: Path, build: LibraryBuild, jobs: int, tell: Progress) -> None:
    tell("configuring")
    settings = {
        "CMAKE_BUILD_TYPE": "Release",
        "BUILD_SHARED_LIBS": "OFF",
        "LLAMA_BUILD_TESTS": "OFF",
        "LLAMA_BUILD_EXAMPLES": "OFF",
        "LLAMA_BUILD_SERVER": "OFF",
        "LLAMA_BUILD_APP": "OFF",
        "LLAMA_BUILD_TOOLS": "ON",
        "LLAMA_CURL": "OFF",
        "LLAMA_OPENSSL": "OFF",
    }
    flags = [f"-D{key}={value}" for key, value in settings.items()]
    _run(["cmake", "-S", str(source), "-B", str(folder), *build.settings, *flags], "configure the build")
    tell("building llama-bench and llama-batched-bench (some minutes)")
    _run(["cmake", "--build", str(folder), "-j", str(jobs), "--target", *_TARGETS], "build the tools")


def _run(command: Sequence[str], what: str) -> None:
    """Run at the lowest priority; the last lines of a failure go into the error."""
    lowest = ["nice", "-n", "19"] if shutil.which("nice") else []
    done = subprocess.run([*lowest, *command], capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise ResourceError(f"The peers: could not {what}: {' / '.join(lines[-3:])}")

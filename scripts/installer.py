"""What scripts/environment.py does once a new enough Python runs it: the environment, the C library, the project.

Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pip_run import PipRun, Trouble

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = "llama-cpp-python"
STAMP = "kangae-environment.json"
BACKENDS = {
    "cpu": "-DGGML_METAL=off" if sys.platform == "darwin" else "",
    "cuda": "-DGGML_CUDA=on",
    "vulkan": "-DGGML_VULKAN=on",
    "metal": "-DGGML_METAL=on",
}
TOOLS = {
    "cuda": ("nvcc", "the CUDA toolkit (https://developer.nvidia.com/cuda-downloads)"),
    "vulkan": ("glslc", "the Vulkan SDK (https://vulkan.lunarg.com, or the packages libvulkan-dev and glslc)"),
}
LEFT_OUT = "-DLLAVA_BUILD=OFF"  # pictures and sound: nothing here calls them, and they are a third of the build
DEFAULT_BACKEND = "metal" if sys.platform == "darwin" else "cpu"


@dataclass(frozen=True)
class Stamp:
    """What stands in the environment. `project` is a hash of pyproject.toml and of the tree's place; `flags` are those
    of CMake that llama.cpp was built with (None: not known), which `kangae bench peers` builds its peers with."""

    project: str
    backend: str
    extras: tuple[str, ...]
    flags: str | None = None

    @classmethod
    def read(cls, path: Path) -> Stamp | None:
        """The stamp of a finished environment; None where there is none or it cannot be understood."""
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            extras = tuple(sorted(map(str, fields["extras"])))
            flags = fields.get("flags")
            return cls(str(fields["project"]), str(fields["backend"]), extras, None if flags is None else str(flags))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Replace the stamp in one step."""
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(self)))
        part.replace(path)

    def covers(self, wanted: Stamp) -> bool:
        """Whether nothing is left to do for `wanted`."""
        return (self.project, self.backend) == (wanted.project, wanted.backend) and {*wanted.extras} <= {*self.extras}


def main(arguments: Sequence[str]) -> int:
    """Exit code 0 when the environment is ready, 1 with one sentence on stderr when it cannot be made."""
    parser = argparse.ArgumentParser(description="Make or refresh the project's own environment.")
    parser.add_argument("--extras", default="", help="extras of pyproject.toml, separated by commas")
    parser.add_argument("--gpu", default="", help="cuda, vulkan, metal or cpu: how llama.cpp is built")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="where the environment goes")
    parser.add_argument("--search", action="store_true", help="where this Python is too old, look for a newer one")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was started is ended, too
    try:
        with alone(options.venv):
            prepare(options.venv, options.gpu.lower(), {extra for extra in options.extras.split(",") if extra})
        return 0
    except Trouble as trouble:
        print(f"kangae: {trouble}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nkangae: interrupted; run the same command again. What was installed stays, a build begins anew.",
              file=sys.stderr)  # fmt: skip
        return 130
    except OSError as error:
        print(f"kangae: {error.filename or options.venv}: {error.strerror or error}; free space or permissions there "
              "and run the command again.", file=sys.stderr)  # fmt: skip
        return 1


@contextlib.contextmanager
def alone(venv: Path) -> Iterator[None]:
    """While open, no other run of this script works on `venv`; waits for one that does."""
    try:
        lock = venv.with_name(f"{venv.name}.lock").open("w")
    except OSError:  # where nothing can be written, nothing is made either
        yield
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Another make is preparing {venv.name}; waiting for it …", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def prepare(venv: Path, gpu: str, extras: set[str]) -> None:
    """Bring `venv` to what pyproject.toml, `gpu` ("" = as it stands) and `extras` ask for, if it is not there yet."""
    pyproject = (ROOT / "pyproject.toml").read_bytes()
    project = tomllib.loads(pyproject.decode())["project"]
    if gpu and gpu not in BACKENDS:
        raise Trouble(f"GPU={gpu} is unknown; choose one of {', '.join(BACKENDS)}.")
    unknown = extras - set(project["optional-dependencies"])
    if unknown:
        raise Trouble(f"pyproject.toml has no extra {', '.join(sorted(unknown))}.")
    there = Stamp.read(venv / STAMP)
    backend = gpu or (there.backend if there else DEFAULT_BACKEND)
    digest = hashlib.sha256(pyproject + str(ROOT).encode()).hexdigest()
    wanted = Stamp(digest, backend, tuple(sorted(extras)))
    python = venv / "bin" / "python"
    if there and there.covers(wanted) and python.exists():
        return
    if there:
        kept = {*there.extras} & set(project["optional-dependencies"])
        wanted = Stamp(digest, backend, tuple(sorted(extras | kept)))
    make_venv(venv, python)
    requirement = next(line for line in project["dependencies"] if line.startswith(LIBRARY))
    flags = install_library(python, requirement, backend, there.backend if there else None)
    if flags is None and there:
        flags = there.flags
    wanted = replace(wanted, flags=flags)
    replace(wanted, project="").write(venv / STAMP)  # unfinished, but which build stands there is known
    names = ",".join(wanted.extras)
    print(f"Installing Kangae{' with ' + names if names else ''} into {venv.name} …", file=sys.stderr, flush=True)
    PipRun(python).run("install", "--editable", f"{ROOT}[{names}]" if names else str(ROOT), what="packages")
    wanted.write(venv / STAMP)


def make_venv(venv: Path, python: Path) -> None:
    """A virtual environment at `venv`; one whose Python no longer runs, or is too old, is made anew."""
    if python.exists():
        check = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
        if subprocess.run([python, "-c", check], capture_output=True).returncode == 0:
            return
    print(f"Making {venv.name} with Python {platform.python_version()} …", file=sys.stderr, flush=True)
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", venv], capture_output=True, text=True)
    if made.returncode != 0:
        said = (made.stdout + made.stderr).strip()
        if "ensurepip" in said or "No module named venv" in said:
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            raise Trouble(
                f"this Python cannot make virtual environments; install its venv package "
                f"(Debian, Ubuntu: sudo apt install python{version}-venv) and run the command again."
            )
        raise Trouble(f"{venv} cannot be made ({said.splitlines()[-1] if said else 'no reason given'}).")


def install_library(python: Path, requirement: str, backend: str, built_before: str | None) -> str | None:
    """llama-cpp-python for `backend`, from the wheel kept in the cache, else built (minutes) and kept there.

    Returns CMake's flags of the build, or None where what stands in the environment was left alone.
    """
    version = requirement.partition("==")[2]
    if installed_version(python) == version and backend == (built_before or DEFAULT_BACKEND):
        return None
    flags = " ".join(part for part in (os.environ.get("CMAKE_ARGS", ""), BACKENDS[backend]) if part)
    folder = cache_folder() / "wheels" / f"{backend}-{version}-{abi(python)}-{machine(flags)}"
    wheel = next(iter(sorted(folder.glob("*.whl"))), None)
    if wheel is None:
        wheel = build_wheel(python, requirement, folder, backend, flags)
    else:
        print(f"Using the llama.cpp build kept in {for_people(folder.parent)} …", file=sys.stderr, flush=True)
    PipRun(python).run("install", "--force-reinstall", "--no-deps", str(wheel), what="llama.cpp")
    return flags


def build_wheel(python: Path, requirement: str, folder: Path, backend: str, flags: str) -> Path:
    """Build the wheel into `folder` and return its path.

    pip's cache of wheels knows no CMAKE_ARGS, so each kind of build has one of its own: other projects get no wheel of
    ours, and we none of theirs. A download stays there for a build that was broken off.
    """
    print(f"Preparing llama.cpp for {backend}; a build takes some minutes, once.", file=sys.stderr, flush=True)
    print(f"It is kept in {for_people(folder.parent)}", file=sys.stderr, flush=True)
    part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    environment = {**os.environ, "CMAKE_ARGS": f"{LEFT_OUT} {flags}".strip()}
    downloads = cache_folder() / "pip" / folder.name
    try:
        part.mkdir(parents=True, exist_ok=True)
        PipRun(python, environment, before_build=lambda: require_tools(backend)).run(
            "wheel", "--verbose", "--no-deps", "--wheel-dir", str(part), "--cache-dir", str(downloads),
            requirement, what="llama.cpp",
        )  # fmt: skip
        if not list(part.glob("*.whl")):
            raise Trouble(f"pip made no wheel of {requirement}; run the command again.")
        shutil.rmtree(folder, ignore_errors=True)
        part.replace(folder)
        shutil.rmtree(downloads / "wheels", ignore_errors=True)  # who removes the kept one wants a new build
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return next(iter(folder.glob("*.whl")))


def require_tools(backend: str) -> None:
    """Raise `Trouble` where a tool that the build needs is missing. (cmake and ninja are fetched by pip if need be.)"""
    compilers = [os.environ.get("CXX", "").split(" ")[0], "c++", "g++", "clang++"]
    if not any(name and shutil.which(name) for name in compilers):
        how = {
            "darwin": "run: xcode-select --install",
            "linux": "install one (Debian, Ubuntu: sudo apt install g++; Fedora: sudo dnf install gcc-c++)",
        }.get(sys.platform, "install one")
        raise Trouble(f"llama.cpp is built here and no C++ compiler was found; {how}, then run the command again.")
    tool, package = TOOLS.get(backend, ("", ""))
    if tool and not shutil.which(tool) and not (tool == "nvcc" and shutil.which(os.environ.get("CUDACXX", "nvcc"))):
        raise Trouble(
            f"a build for {backend} needs {tool}, which was not found; install {package}, put it on the PATH, "
            "then run the command again."
        )


def installed_version(python: Path) -> str | None:
    """The version of llama-cpp-python that stands in the environment, None where there is none."""
    code = f"import importlib.metadata as m; print(m.version({LIBRARY!r}))"
    asked = subprocess.run([python, "-c", code], capture_output=True, text=True)
    return asked.stdout.strip() if asked.returncode == 0 else None


def abi(python: Path) -> str:
    """The environment's Python as wheels name it ("cpython-311")."""
    code = "import sys; print(sys.implementation.cache_tag)"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def machine(flags: str) -> str:
    """System, processor and a mark of its abilities: builds are native; a home folder may serve several machines."""
    abilities = flags
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        found = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", text, re.MULTILINE)
        abilities += " ".join(sorted(found.group(1).split())) if found else ""
    except OSError:
        abilities += platform.processor()
    mark = hashlib.sha256(abilities.encode()).hexdigest()[:8]
    return f"{platform.system().lower()}-{platform.machine()}-{mark}"


def for_people(path: Path) -> str:
    """A path as short as a shell takes it."""
    return f"~/{path.relative_to(Path.home())}" if path.is_relative_to(Path.home()) else str(path)


def cache_folder() -> Path:
    """Where the program itself keeps what can be made again (models/locations.py), found without its libraries."""
    given = os.environ.get("KANGAE_CACHE_DIR", "").strip()
    if given:
        try:
            return Path(given).expanduser().absolute()
        except RuntimeError as error:
            raise Trouble(f"KANGAE_CACHE_DIR is {given!r}, whose home folder is unknown; give a whole path.") from error
    general = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(general):  # a relative one does not count (the XDG base directory specification)
        return Path(general) / "kangae"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "kangae"

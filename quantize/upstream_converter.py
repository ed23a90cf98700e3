"""Architectures that are not converted here, by llama.cpp's own converter: the one that the source distribution of the
installed llama-cpp-python carries, fetched by pip once, and run in a process of its own with its own `gguf` package.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import math
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from models.errors import MissingPackageError, ModelError
from models.gguf_file import GgufFile
from models.huggingface.architectures import UnknownArchitecture
from models.huggingface.checkpoint import Checkpoint
from models.huggingface.convert import Converted, convert
from models.locations import cache_folder
from models.plain_text import strip_controls
from models.write_fault import write_error

PACKAGE: Final = "llama-cpp-python"
NEEDED: Final = ("torch", "transformers", "sentencepiece")
"""Imported by that converter; the extra `gptq` brings them."""
SCRIPT: Final = "convert_hf_to_gguf.py"
_WANTED = ("vendor/llama.cpp/conversion/", "vendor/llama.cpp/gguf-py/", f"vendor/llama.cpp/{SCRIPT}")
_MOST_BYTES = 1 << 30
_REASON = 300
_CLASSES = {0: "F32", 1: "F16", 32: "BF16", 7: "Q8_0"}


def convert_any(
    folder: Path,
    target_part: Path,
    *,
    outtype: str = "auto",
    pre: str | None = None,
    say: Callable[[str], None] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Converted:
    """`models.huggingface.convert.convert`, and llama.cpp's converter for an architecture that it does not know; `say`
    is told so. Raises what both raise."""
    try:
        return convert(folder, target_part, outtype=outtype, pre=pre, progress=progress)
    except UnknownArchitecture as unknown:
        if say is not None:
            say(f"{unknown.detail} llama.cpp's own converter is asked.")
    return convert_upstream(folder, target_part, outtype=outtype)


def convert_upstream(folder: Path, target_part: Path, *, outtype: str = "auto") -> Converted:
    """Convert a folder of any architecture that llama.cpp knows into `target_part`, the caller's unfinished file.

    Raises MissingPackageError where torch, transformers, sentencepiece or the converter itself cannot be had,
    ModelError with the converter's own reason where it refuses, OSError where files cannot be written.
    """
    checkpoint = Checkpoint.open(folder)
    _refuse_programs(checkpoint)
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingPackageError(
            f"{folder} has an architecture that only llama.cpp's own converter knows, and that needs the packages "
            f"{', '.join(missing)}; install them with: make run EXTRAS=gptq, or pip install 'kangae[gptq]'."
        )
    source = fetch_converter()
    # Without our own folders on its path: its packages `conversion` and `gguf` must be those beside it.
    run = subprocess.run(
        [sys.executable, str(source / SCRIPT), str(folder), "--outfile", str(target_part), "--outtype", outtype],
        env={
            **{key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "NO_LOCAL_GGUF"))},
            "PYTHONPATH": str(source / "gguf-py"),
            "HF_HUB_OFFLINE": "1",
        },
        cwd=source,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if run.returncode != 0:
        raise ModelError(
            f"{folder} cannot be converted, neither here nor by llama.cpp's own converter: {_reason(run.stderr)}"
        )
    written = GgufFile.open(target_part)
    count = sum(math.prod(tensor.shape) for tensor in written.tensors.values())
    kind = written.scalar("general.file_type")
    return Converted(
        str(written.scalar("general.architecture")),
        _CLASSES.get(kind, "F16") if isinstance(kind, int) else "F16",
        len(written.tensors),
        count,
        target_part.stat().st_size,
        converter=f"llama.cpp's, of {PACKAGE} {installed_version()}",
    )


def installed_version() -> str:
    """Of llama-cpp-python. Raises MissingPackageError."""
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingPackageError(
            f"{PACKAGE} is not installed, so that its converter is unknown; make the environment anew with `make run`."
        ) from error


def fetch_converter() -> Path:
    """The folder that holds the converter of the installed version: from the cache, else fetched by pip and unpacked.

    Raises MissingPackageError where it cannot be had, WriteError where the cache cannot be written.
    """
    version = installed_version()
    place = cache_folder() / "llama.cpp" / version
    if (place / SCRIPT).is_file():
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".") as work:
            _unpack(_download(version, Path(work)), version, Path(work) / "whole")
            with contextlib.suppress(FileExistsError):  # another process was quicker
                (Path(work) / "whole").rename(place)
    except OSError as error:
        if (place / SCRIPT).is_file():
            return place
        raise write_error(place, error, "name another cache with KANGAE_CACHE_DIR") from error
    return place


def _download(version: str, work: Path) -> Path:
    """The source distribution, as pip finds it."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    run = subprocess.run(
        [*command, "--no-binary", PACKAGE, "--dest", str(work), f"{PACKAGE}=={version}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    name = f"llama_cpp_python-{version}.tar.gz"
    if run.returncode != 0 or not (work / name).is_file():
        raise MissingPackageError(
            f"llama.cpp's converter could not be fetched (pip download {PACKAGE}=={version}: {_reason(run.stderr)}); "
            f"fetch that source distribution elsewhere, and unpack its vendor/llama.cpp as "
            f"{cache_folder() / 'llama.cpp' / version}."
        )
    return work / name


def _unpack(archive: Path, version: str, target: Path) -> None:
    """The converter alone, out of the archive, whose name and version must agree."""
    root = f"llama_cpp_python-{version}/"
    try:
        with tarfile.open(archive) as packed:
            _check_version(packed, root, version)
            size = 0
            for member in _members(packed, root):
                size += member.size
                if size > _MOST_BYTES:
                    raise tarfile.TarError("it is larger than any source distribution")
                packed.extract(member, target.with_suffix(".all"), filter="data")
    except (tarfile.TarError, EOFError, KeyError) as error:
        raise MissingPackageError(f"{archive.name} is damaged ({error}); try again later.") from error
    inner = target.with_suffix(".all") / root / "vendor" / "llama.cpp"
    if not (inner / SCRIPT).is_file():
        raise MissingPackageError(f"{archive.name} holds no {SCRIPT}; this version of {PACKAGE} has no converter.")
    shutil.move(inner, target)


def _check_version(packed: tarfile.TarFile, root: str, version: str) -> None:
    told = packed.extractfile(f"{root}PKG-INFO")
    lines = told.read(65_536).decode("utf-8", "replace").splitlines() if told is not None else []
    if f"Version: {version}" not in lines:
        raise tarfile.TarError(f"it is not version {version}")


def _members(packed: tarfile.TarFile, root: str) -> Iterator[tarfile.TarInfo]:
    for member in packed:
        inside = member.name.removeprefix(root)
        if member.isfile() and inside.startswith(_WANTED):
            yield member


def _refuse_programs(checkpoint: Checkpoint) -> None:
    """That converter lets some tokenizers run what lies in the folder."""
    programs = sorted(path.name for path in checkpoint.folder.glob("*.py"))
    if programs:
        raise ModelError(
            f"{checkpoint.folder} holds programs of its own ({programs[0]}), which llama.cpp's converter might run; "
            "move them away, if the model's tokenizer does without."
        )


def _reason(said: str) -> str:
    """The last line that a program said before it failed."""
    lines = [strip_controls(line, lines=False).strip() for line in said.splitlines()]
    last = next((line for line in reversed(lines) if line), "it said nothing")
    return last[-_REASON:] if last.endswith((".", "!")) else f"{last[-_REASON:]}."

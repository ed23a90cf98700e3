"""The catalogue: the model that ships, the files in the models folder, and any path to a model."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from models.errors import ModelError
from models.gguf_header import GgufHeader, read_header
from models.locations import models_folder, shipped_model

SHIPPED_NAME: Final = "kangae-tiny"
Form = Literal["gguf", "onnx", "gptq", "hf"]
Fit = Literal["yes", "tight", "no", "unknown"]

_PART = re.compile(r"-(\d{5})-of-\d{5}$")
_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")
_QUANT = re.compile(r"(?i)(?:IQ\d_[A-Z]+|Q\d_K(?:_[SML])?|Q\d_\d|F16|F32|BF16|MXFP4(?:_MOE)?|NVFP4|TQ\d_0)$")
_DEPTH: Final = 4  # models folder / organisation / name / quant / file


@dataclass(frozen=True)
class ModelEntry:
    """A model on this machine. `path` is a file for GGUF, else a folder; `bytes` its size on disk.

    `header` is None for what is no GGUF; `parameters` and `context_length` (tokens) are 0 where unknown.
    """

    name: str
    path: Path
    form: Form
    quant: str
    bytes: int
    header: GgufHeader | None = None
    shipped: bool = False

    @property
    def parameters(self) -> int:
        """How many weights it has."""
        return self.header.parameters if self.header else 0

    @property
    def context_length(self) -> int:
        """What it was trained for, in tokens."""
        return self.header.context_length if self.header else 0

    @property
    def architecture(self) -> str:
        """The GGUF architecture, or an empty string."""
        return self.header.architecture if self.header else ""


@dataclass(frozen=True)
class BrokenEntry:
    """A file in the models folder that cannot be used, and why."""

    name: str
    path: Path
    fault: str


_PER_BYTE, _OVERHEAD, _FOR_MODELS = 1.2, 256 << 20, 0.9


def estimate_fit(model_bytes: int, memory_bytes: int) -> Fit:
    """Whether a model of this size runs in this much memory, by size alone.

    Weights need their own size; cache, buffers and the program about a fifth more and a quarter GiB; what a machine
    does besides is left a tenth. `tight` asks for a short context.
    """
    if memory_bytes <= 0:
        return "unknown"
    if model_bytes * _PER_BYTE + _OVERHEAD <= memory_bytes * _FOR_MODELS:
        return "yes"
    return "tight" if model_bytes * 1.05 + (128 << 20) <= memory_bytes else "no"


def largest_fit(memory_bytes: int) -> int:
    """The largest model, in bytes, whose fit is `yes` in so much memory."""
    return max(0, int((memory_bytes * _FOR_MODELS - _OVERHEAD) / _PER_BYTE))


def name_of(path: Path) -> str:
    """A GGUF file's catalogue name: its stem without a part number and without its quant ("Qwen3-0.6B")."""
    stem = _PART.sub("", path.stem)
    found = _QUANT.search(stem)
    return stem[: found.start()].rstrip("-._") or stem if found else stem


def open_entry(path: Path, *, name: str | None = None, shipped: bool = False) -> ModelEntry:
    """The entry of one GGUF file; raises ModelError where its header is faulty."""
    header = read_header(path)
    return ModelEntry(name or name_of(path), path, "gguf", header.quant, _bytes(path), header, shipped)


def _bytes(path: Path) -> int:
    """Size on disk, all parts of a split model together."""
    files = [path]
    if _PART.search(path.stem):
        prefix, last = _PART.sub("", path.stem), path.stem.rsplit("-", 1)[1]
        part = re.compile(rf"{re.escape(prefix)}-\d{{5}}-of-{last}\.gguf")
        files = [other for other in path.parent.iterdir() if part.fullmatch(other.name)]
    return sum(file.stat().st_size for file in files)


def _gguf_files(folder: Path, depth: int = _DEPTH) -> Iterator[Path]:
    """Models as GGUF under a folder: of split ones the first part; no image encoders, hidden or half-loaded files."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir() and not entry.is_symlink():
            if depth > 1:
                yield from _gguf_files(entry, depth - 1)
        elif entry.suffix.lower() == ".gguf" and not entry.name.lower().startswith("mmproj"):
            part = _PART.search(entry.stem)
            if part is None or part.group(1) == "00001":
                yield entry


def list_models() -> tuple[list[ModelEntry], list[BrokenEntry]]:
    """All that can be run, the shipped model first, and the files that cannot be used."""
    entries: list[ModelEntry] = []
    broken: list[BrokenEntry] = []
    shipped = shipped_model()
    files = [(shipped, True)] if shipped.is_file() else []
    files += [(path, False) for path in _gguf_files(models_folder())]
    for path, ships in files:
        name = SHIPPED_NAME if ships else name_of(path)
        try:
            entries.append(open_entry(path, name=name, shipped=ships))
        except ModelError as error:
            broken.append(BrokenEntry(name, path, error.detail))
        except OSError as error:
            broken.append(BrokenEntry(name, path, f"{path} cannot be read ({error.strerror or error})."))
    return entries, broken


def _choose(files: list[Path], wanted: str, where: str) -> Path:
    """The one file that is meant; several without a named quant are the user's to tell apart."""
    if wanted:
        named = [path for path in files if _PART.sub("", path.stem).lower().endswith(wanted.lower())]
        if not named:
            raise ModelError(f"{where} has no quant {wanted}; it has {', '.join(path.name for path in files[:8])}.")
        files = named
    if len(files) > 1:
        raise ModelError(
            f"{where} means {len(files)} files; name one by its path or add its quant, as in NAME:Q4_K_M: "
            f"{', '.join(path.name for path in files[:8])}."
        )
    return files[0]


def _folder_entry(folder: Path, wanted: str) -> ModelEntry:
    files = list(_gguf_files(folder, depth=1))
    if files:
        return open_entry(_choose(files, wanted, str(folder)))
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    names = {file.name for file in folder.iterdir()}
    if "genai_config.json" in names or any(name.endswith(".onnx") for name in names):
        return ModelEntry(folder.name, folder, "onnx", "onnx", size)
    if "config.json" in names and any(name.endswith(".safetensors") for name in names):
        gptq = "quantize_config.json" in names or _mentions(folder / "config.json", b'"gptq"')
        return ModelEntry(folder.name, folder, "gptq" if gptq else "hf", "gptq" if gptq else "", size)
    raise ModelError(f"{folder} holds no model that is known here; give a .gguf file, or a folder that holds one.")


def _mentions(path: Path, text: bytes) -> bool:
    with open(path, "rb") as file:
        return text in file.read(1 << 20).replace(b" ", b"")


def _shipped(wanted: str) -> ModelEntry:
    path = shipped_model()
    if wanted:
        path = path.with_name(f"{SHIPPED_NAME}-{wanted}.gguf")
    if not path.is_file():
        raise ModelError(
            f"{SHIPPED_NAME}{':' + wanted if wanted else ''} is not installed ({path} is missing); "
            "install Kangae again, or name another model with -m."
        )
    return open_entry(path, name=SHIPPED_NAME, shipped=True)


def find(name_or_path: str) -> ModelEntry:
    """The model that a person means: a catalogue name, `name:quant`, a hub id that is on disk, a file or a folder.

    Raises ModelError (exit 3) with the nearest names, or, for a hub id that is not here, with where to put it.
    """
    try:
        return _find(name_or_path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ModelError(f"{name_or_path} cannot be read ({reason}); check the path and its permissions.") from error


def _find(name_or_path: str) -> ModelEntry:
    if not name_or_path.strip() or "\0" in name_or_path:
        raise ModelError("The model's name is empty; give a name of `kangae models list` or the path of a .gguf file.")
    path = Path(name_or_path).expanduser() if name_or_path.startswith("~/") else Path(name_or_path)
    name, _, wanted = name_or_path.partition(":")
    if name.lower() == SHIPPED_NAME:
        return _shipped(wanted)
    if _is(path, "file") or path.suffix.lower() == ".gguf":
        return open_entry(path)
    if _is(path, "dir"):
        return _folder_entry(path, "")
    if _is(path, "other"):
        raise ModelError(f"{path} is no regular file; give the path of a .gguf file.")
    folder = models_folder()
    if ".." not in Path(name).parts and not Path(name).is_absolute() and _is(folder / name, "dir"):
        return _folder_entry(folder / name, wanted)
    files = list(_gguf_files(folder))
    lowered = name.lower()
    exact = [file for file in files if lowered in (file.stem.lower(), file.name.lower())]
    same = exact or [file for file in files if name_of(file).lower() == lowered]
    if same:
        return open_entry(_choose(same, "" if exact else wanted, name))
    if _HUB_ID.match(name):
        raise ModelError(
            f"{name_or_path} is not on this machine; download its GGUF file from https://huggingface.co/{name} first "
            f"and put it into {folder / name}."
        )
    names = sorted({SHIPPED_NAME} | {name_of(file) for file in files} | {file.stem for file in files})
    by_lower = {one.lower(): one for one in names}
    near = [by_lower[one] for one in difflib.get_close_matches(lowered, list(by_lower), n=3, cutoff=0.4)]
    hint = f"did you mean {' or '.join(near)}?" if near else "see `kangae models list`."
    raise ModelError(f"No model is called {name_or_path!r} and no such path exists; {hint}")


def _is(path: Path, kind: Literal["file", "dir", "other"]) -> bool:
    """Like Path.is_file and is_dir ("other": there, and neither), but false for what is no possible path (too long a
    name)."""
    try:
        if kind == "other":
            return path.exists() and not path.is_dir() and not path.is_file()
        return path.is_dir() if kind == "dir" else path.is_file()
    except (OSError, ValueError):
        return False

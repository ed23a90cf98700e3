"""What a model is made small from: a GGUF that was not rounded, a Hugging Face folder, or a GPTQ folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models.catalogue import ModelEntry, find
from models.errors import ModelError, UsageError
from models.gguf_split import part_paths
from models.locations import shipped_model
from quantize.gguf import open_master


@dataclass(frozen=True)
class Source:
    """`name` as results are called after it. One of the places is set at least: `gguf` a master (F16, BF16 or F32),
    `folder` a Hugging Face folder with whole weights, `gptq` a folder in AutoGPTQ's layout."""

    name: str
    gguf: ModelEntry | None = None
    folder: Path | None = None
    gptq: Path | None = None

    @property
    def place(self) -> Path:
        """The file or folder that a person named."""
        place = self.gptq or (self.gguf.path if self.gguf else self.folder)
        assert place is not None
        return place

    @property
    def key(self) -> str:
        """What tells it from another, and from what it was before it was changed: its files with size and time."""
        folder = self.gptq or self.folder
        files = [] if self.gguf is None else part_paths(self.gguf.path)
        files += [] if folder is None else sorted(file for file in folder.iterdir() if file.is_file())
        return repr([(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files])

    @property
    def shipped(self) -> bool:
        """Whether it is the model that ships, of which everything is at hand."""
        return self.gguf is not None and self.gguf.shipped


def open_source(named: str) -> Source:
    """The source that a person means. Raises ModelError (none, unreadable) and UsageError (unfit)."""
    try:
        return _open(named)
    except OSError as error:
        shown = named if len(named) < 200 else named[:200] + "…"
        raise ModelError(f"{shown} cannot be read ({error.strerror or error}); check the path.") from error


def _open(named: str) -> Source:
    if _is_master_name(named):
        return _of_gguf(open_master(named))
    entry = find(named)
    name = entry.name or entry.path.resolve().name
    if entry.form == "hf":
        return Source(name, folder=entry.path)
    if entry.form == "gptq":
        return Source(name, gptq=entry.path)
    if entry.form == "onnx":
        raise UsageError(
            f"{entry.path} is an ONNX model, whose weights are rounded; give the safetensors folder that it came from."
        )
    return _of_gguf(open_master(named))


def _is_master_name(named: str) -> bool:
    """Whether `named` is a name of the catalogue, of which the widest file is meant."""
    return ":" not in named and not named.lower().endswith(".gguf") and not Path(named).expanduser().exists()


def _of_gguf(entry: ModelEntry) -> Source:
    folder = shipped_model().with_name("huggingface")
    beside = entry.shipped and (folder / "config.json").is_file()
    return Source(entry.name, gguf=entry, folder=folder if beside else None)

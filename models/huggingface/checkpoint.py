"""A Hugging Face folder's tensors: of one .safetensors file or of many shards, read without the safetensors package.

Formats: models/safetensors_header.py; `model.safetensors.index.json` as transformers writes it (a `weight_map` from
tensor to file).
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import ModelError
from models.huggingface.config import ModelConfig, read_json
from models.safetensors_header import read_header

INDEX = "model.safetensors.index.json"
_STORED = {
    "F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8", "I8": "<i1", "U8": "<u1", "BOOL": "<u1", "F8_E4M3": "<u1",
    "F8_E5M2": "<u1", "F8_E8M0": "<u1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4", "I64": "<i8",
    "U64": "<u8",
}  # fmt: skip
"""numpy's type of each stored one; BF16 and the 8-bit floats as the bits they are."""
FLOATS = ("F32", "F16", "BF16")
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.safetensors")
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")

Stored = npt.NDArray[Any]


@dataclass(frozen=True)
class CheckpointTensor:
    """One tensor: its type as safetensors names it, its shape in row-major order, and where its bytes lie."""

    name: str
    type: str
    shape: tuple[int, ...]
    path: Path
    start: int
    bytes: int

    @property
    def values(self) -> int:
        """How many values it holds."""
        return math.prod(self.shape)


class Checkpoint:
    """An open folder. `tensors` by name, in the order of the shards and of the names in each (as llama.cpp's converter
    has it). Nothing is read before it is asked for, and nothing is kept."""

    def __init__(self, folder: Path, config: ModelConfig, tensors: Mapping[str, CheckpointTensor]) -> None:
        self.folder = folder
        self.config = config
        self.tensors = MappingProxyType(dict(tensors))

    @classmethod
    def open(cls, folder: Path) -> Checkpoint:
        """Read config.json and all headers. Raises ModelError where a file or a tensor is missing or damaged."""
        if not folder.is_dir():
            raise ModelError(f"{folder} is no folder; give the folder that holds the model's config.json.")
        config = ModelConfig.read(folder)
        tensors: dict[str, CheckpointTensor] = {}
        index = _weight_map(folder)
        for path in _shards(folder, index):
            header = read_header(path)
            for tensor in sorted(header.tensors, key=lambda one: one.name):
                if tensor.name in tensors:
                    raise ModelError(f"{path} holds {tensor.name} a second time; fetch the model again.")
                tensors[tensor.name] = CheckpointTensor(
                    tensor.name,
                    tensor.type,
                    tensor.shape,
                    path,
                    header.data_start + tensor.start,
                    tensor.end - tensor.start,
                )
        if index is not None:
            _compare(folder, set(index), set(tensors))
        if not tensors:
            raise ModelError(f"{folder} holds no tensor at all; fetch the model again.")
        return cls(folder, config, tensors)

    def tensor(self, name: str) -> CheckpointTensor:
        """What is known of a tensor. Raises ModelError where there is none of that name."""
        if name not in self.tensors:
            raise ModelError(f"{self.folder} has no tensor {name}; fetch the model again.")
        return self.tensors[name]

    def raw(self, name: str) -> Stored:
        """A tensor as it is stored (BF16 as uint16), read into memory, in its shape. Raises ModelError."""
        tensor = self.tensor(name)
        parts = list(self.chunks(name, max(tensor.values, 1)))
        return (parts[0] if parts else np.empty(0, self._kind(tensor))).reshape(tensor.shape)

    def values(self, name: str) -> npt.NDArray[np.float32]:
        """A tensor's values as float32, in its shape. Raises ModelError for a type that holds no plain floats."""
        tensor = self.tensor(name)
        return to_float32(self.raw(name), tensor.type)

    def chunks(self, name: str, values: int) -> Iterator[Stored]:
        """The tensor as it is stored, flat, at most `values` values at a time. Raises ModelError."""
        tensor = self.tensor(name)
        kind = self._kind(tensor)
        try:
            with open(tensor.path, "rb", buffering=0) as file:
                file.seek(tensor.start)
                for start in range(0, tensor.values, values):
                    part = np.empty(min(values, tensor.values - start), kind)
                    _fill(file, part)
                    yield part
        except EOFError as error:
            raise ModelError(f"{tensor.path} ends inside of {name}; fetch the model again.") from error
        except OSError as error:
            raise ModelError(f"{tensor.path} cannot be read ({error.strerror or error}); check the disk.") from error

    def _kind(self, tensor: CheckpointTensor) -> np.dtype[Any]:
        if tensor.type not in _STORED:
            raise ModelError(
                f"{tensor.name} has the type {tensor.type}, which cannot be read here; give whole weights."
            )
        return np.dtype(_STORED[tensor.type])


def to_float32(stored: Stored, kind: str) -> npt.NDArray[np.float32]:
    """Stored values as float32: exact for F32, F16 and BF16. Raises ModelError for another type."""
    if kind not in FLOATS:
        raise ModelError(f"Weights of the type {kind} cannot be read as plain values; give an F16, BF16 or F32 model.")
    if kind == "BF16":
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32, copy=False)


def all_finite(stored: Stored, kind: str) -> bool:
    """Whether no value is NaN or infinite. `kind`: F32, F16 or BF16."""
    if kind == "BF16":
        return bool(((stored & 0x7F80) != 0x7F80).all())
    return bool(np.isfinite(stored).all())


def _fill(file: Any, part: Stored) -> None:
    view = part.view(np.uint8).data
    done = 0
    while done < len(view):
        count = file.readinto(view[done:])
        if not count:
            raise EOFError
        done += count


def _weight_map(folder: Path) -> dict[str, str] | None:
    """From tensor to file, of a sharded model; None where there is no index."""
    path = folder / INDEX
    if not os.path.lexists(path):
        return None
    table = read_json(path).get("weight_map")
    if not isinstance(table, dict) or not table or not all(isinstance(name, str) for name in table.values()):
        raise ModelError(f"{path} has no weight_map from tensors to files; fetch it again.")
    for name in set(table.values()):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ModelError(f"{path} names {name[:80]!r}, which is no .safetensors file beside it; fetch it again.")
    return table


def _shards(folder: Path, index: Mapping[str, str] | None) -> list[Path]:
    """The files that hold the weights, in the order of their names. Raises ModelError where one is missing."""
    try:
        names = sorted(path.name for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise ModelError(f"{folder} cannot be read ({error.strerror or error}); check its permissions.") from error
    if index is not None:
        wanted = sorted(set(index.values()))
        missing = [name for name in wanted if name not in names]
    else:
        wanted = [name for name in names if name.startswith("model") and name.endswith(".safetensors")]
        missing = sorted({name for shard in wanted for name in _siblings(shard)} - set(names))
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ModelError(f"{folder} lacks the shard {missing[0]}{more}; fetch the model's whole folder.")
    if wanted:
        return [folder / name for name in wanted]
    if any(name.endswith(_PICKLES) for name in names):
        pickled = next(name for name in names if name.endswith(_PICKLES))
        raise ModelError(
            f"{folder} holds its weights as a pickle ({pickled}), which can run code when loaded and is never opened "
            "here; fetch the model as .safetensors, or have it saved so with transformers' safe_serialization."
        )
    raise ModelError(f"{folder} has no model.safetensors (and no shards of one); fetch the model's whole folder.")


def _siblings(shard: str) -> list[str]:
    found = _SHARD.fullmatch(shard)
    if found is None:
        return []
    return [f"{found[1]}-{number:05}-of-{found[3]}.safetensors" for number in range(1, min(int(found[3]), 9999) + 1)]


def _compare(folder: Path, named: set[str], held: set[str]) -> None:
    if absent := sorted(named - held):
        raise ModelError(
            f"{folder / INDEX} names {absent[0][:100]}, which is in none of its files ({len(absent)} such); "
            "fetch the model again."
        )
    if extra := sorted(held - named):
        raise ModelError(
            f"{folder} holds {extra[0][:100]}, which its index does not name ({len(extra)} such); "
            "fetch the model again."
        )

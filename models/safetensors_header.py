"""A bounded reader of .safetensors headers: names, types and shapes, without the weights.

Format: https://github.com/huggingface/safetensors (8 bytes of length, JSON, data). Nothing in it is trusted.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from models.errors import ModelError
from models.file_kind import describe_start

MAX_HEADER_BYTES: Final = 16 << 20  # the format's own limit is 100 MB; no model comes near
MAX_TENSORS: Final = 65_536
_BITS: Final[dict[str, int]] = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


@dataclass(frozen=True)
class SafetensorInfo:
    """One tensor. `shape` in row-major order; `start` and `end` in bytes from the start of the data."""

    name: str
    type: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class SafetensorsHeader:
    """All that a .safetensors file says before its data. `data_start` and `file_bytes` are in bytes."""

    metadata: Mapping[str, str]
    tensors: tuple[SafetensorInfo, ...]
    data_start: int
    file_bytes: int

    @property
    def parameters(self) -> int:
        """How many values its tensors hold (packed quants hold several weights in one value)."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors)


class _Fault(Exception):
    """Why a header cannot be right."""


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise _Fault("a shape or an offset in it is no size")
    return value


def _tensor(name: str, entry: Any, data_bytes: int) -> SafetensorInfo:
    if not isinstance(entry, dict) or not isinstance(entry.get("shape"), list) or len(entry["shape"]) > 8:
        raise _Fault("a tensor in it has no shape")
    bits = _BITS.get(str(entry.get("dtype")))
    offsets = entry.get("data_offsets")
    if bits is None or not isinstance(offsets, list) or len(offsets) != 2:
        raise _Fault("a tensor in it has an unknown type or no offsets")
    shape = tuple(_whole(size) for size in entry["shape"])
    start, end = _whole(offsets[0]), _whole(offsets[1])
    if start > end or end > data_bytes:
        raise _Fault("a tensor lies outside of it, so a part is missing")
    if math.prod(shape) * bits != (end - start) * 8:
        raise _Fault("a tensor's shape and size in it do not agree")
    return SafetensorInfo(name, str(entry["dtype"]), shape, start, end)


def _parse(start: bytes, raw: bytes, file_bytes: int) -> SafetensorsHeader:
    data_start = 8 + int.from_bytes(start[:8], "little")
    try:
        table = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _Fault("its header is no JSON") from error
    if not isinstance(table, dict) or len(table) > MAX_TENSORS:
        raise _Fault("its header is no table of tensors")
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise _Fault("its metadata are no table")
    tensors = sorted(
        (_tensor(name, entry, file_bytes - data_start) for name, entry in table.items()),
        key=lambda tensor: (tensor.start, tensor.end),
    )
    if any(one.end > other.start for one, other in pairwise(tensors)):
        raise _Fault("its tensors overlap")
    plain = {str(key): str(value) for key, value in metadata.items()}
    return SafetensorsHeader(MappingProxyType(plain), tuple(tensors), data_start, file_bytes)


def read_header(path: str | os.PathLike[str]) -> SafetensorsHeader:
    """The header of a .safetensors file. Every fault is a `ModelError` that says what is wrong and what to do."""
    shown = Path(path)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ModelError(f"{shown} is no regular file; give the path of a .safetensors file.")
        with open(path, "rb") as file:
            file_bytes = os.fstat(file.fileno()).st_size
            start = file.read(64)
            length = int.from_bytes(start[:8], "little")
            if start[8:9] != b"{":
                raise _Fault(f"it is no safetensors file; it looks like {describe_start(start)}")
            if length > min(MAX_HEADER_BYTES, file_bytes - 8):
                raise _Fault(f"its header claims {length} bytes, more than it may or can hold")
            file.seek(8)
            return _parse(start, file.read(length), file_bytes)
    except _Fault as fault:
        raise ModelError(f"{shown} cannot be used: {fault}. Fetch the model again.") from fault
    except FileNotFoundError as error:
        raise ModelError(f"{shown} does not exist; check the path.") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ModelError(f"{shown} cannot be read ({reason}); check the path and its permissions.") from error

"""A GGUF's tensors as arrays, mapped from their files, and its metadata in full.

Format: ggml's docs/gguf.md. The header was checked by `models.gguf_header`, so that offsets and lengths hold here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from models.errors import ModelError
from models.gguf_header import GgufHeader, TensorInfo, read_header
from models.gguf_split import part_paths
from models.gguf_types import ARRAY, SCALARS, STRING, TENSOR_TYPES

METADATA_START = 24
"""Magic, version and two counts stand before the metadata."""
_BLOCKS = {kind.name: kind for kind in TENSOR_TYPES.values()}
_PLAIN = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "I8": "<i1", "I16": "<i2", "I32": "<i4", "I64": "<i8"}

Scalar = str | int | float | bool


@dataclass(frozen=True)
class MetadataEntry:
    """One entry as it stands in the file: `start` to `end` in bytes, its key and type included; `value` is where what
    it holds begins."""

    key: str
    kind: int
    start: int
    value: int
    end: int


@dataclass(frozen=True)
class _Place:
    """In which file a tensor's bytes lie, and where."""

    path: Path
    start: int


class GgufFile:
    """An open GGUF; of a split one all parts. Nothing is read before it is asked for, and no tensor is kept."""

    def __init__(
        self, path: Path, header: GgufHeader, tensors: Mapping[str, TensorInfo], places: Mapping[str, _Place]
    ) -> None:
        self.path = path
        self.header = header
        self.tensors = tensors
        """By name, in the order of the files."""
        self._places = places
        self._entries: dict[str, MetadataEntry] | None = None
        self._head: bytes | None = None

    @classmethod
    def open(cls, path: Path) -> GgufFile:
        """Read the headers of the file, or of all parts of the split one whose first part it is. Raises ModelError."""
        tensors: dict[str, TensorInfo] = {}
        places: dict[str, _Place] = {}
        first: GgufHeader | None = None
        for part in part_paths(path):
            header = read_header(part)
            first = first or header
            for tensor in header.tensors:
                if tensor.name in tensors:
                    raise ModelError(f"{part} holds {tensor.name} a second time; fetch the model again.")
                tensors[tensor.name] = tensor
                places[tensor.name] = _Place(part, header.data_start + tensor.offset)
        assert first is not None
        return cls(path, first, MappingProxyType(tensors), MappingProxyType(places))

    def info(self, name: str) -> TensorInfo:
        """A tensor's type and shape. Raises ModelError where there is none of that name."""
        if name not in self.tensors:
            raise ModelError(f"{self.path} has no tensor {name}; fetch or convert the model again.")
        return self.tensors[name]

    def raw(self, name: str) -> npt.NDArray[np.uint8]:
        """The bytes of a tensor, shape (rows, bytes of a row), mapped read-only."""
        info = self.info(name)
        place = self._places[name]
        kind = _BLOCKS[info.type]
        row = info.shape[0] // kind.block * kind.bytes
        return np.memmap(place.path, np.uint8, "r", place.start, (info.bytes // row, row))

    def values(self, name: str) -> npt.NDArray[np.float32]:
        """A tensor's values as float32, shape in row-major order (the reverse of GGUF's). Raises ModelError for a type
        that cannot be read."""
        info = self.info(name)
        return blocks_to_values(self.raw(name), info.type).reshape(info.shape[::-1])

    def scalar(self, key: str) -> Scalar | None:
        """A value of the metadata that is no list; None where it is missing."""
        value = self.header.metadata.get(key)
        return value if isinstance(value, (str, int, float, bool)) else None

    def list(self, key: str) -> tuple[Scalar, ...]:
        """A whole list of the metadata; empty where it is missing or no list."""
        entry = self.entries().get(key)
        if entry is None or entry.kind != ARRAY:
            return ()
        head = self.head()
        kind, count = struct.unpack_from("<IQ", head, entry.value)
        start = entry.value + 12
        if kind != STRING:
            return struct.unpack_from(f"<{count}{SCALARS[kind]}", head, start)
        texts = []
        for _ in range(count):
            (length,) = struct.unpack_from("<Q", head, start)
            texts.append(head[start + 8 : start + 8 + length].decode("utf-8", "replace"))
            start += 8 + length
        return tuple(texts)

    def head(self) -> bytes:
        """The first file's bytes up to the list of its tensors: what `entries` point into."""
        if self._head is None:
            with open(self.path, "rb") as file:
                self._head = file.read(self.header.metadata_end)
        return self._head

    def entries(self) -> Mapping[str, MetadataEntry]:
        """Where each entry of the metadata stands in `head`."""
        if self._entries is None:
            self._entries = {entry.key: entry for entry in _walk(self.head())}
        return self._entries


def blocks_to_values(data: npt.NDArray[np.uint8], kind: str) -> npt.NDArray[np.float32]:
    """What rows of encoded bytes (rows, bytes of a row) of a ggml type stand for: float32, (rows, columns).

    Raises ModelError for a type that gguf cannot dequantize.
    """
    data = np.ascontiguousarray(data)
    if kind in _PLAIN:
        return data.view(_PLAIN[kind]).astype(np.float32)
    if kind == "BF16":
        return (data.view("<u2").astype(np.uint32) << 16).view(np.float32)
    import gguf

    try:
        values: npt.NDArray[np.float32] = gguf.quants.dequantize(data, gguf.GGMLQuantizationType[kind])
    except (KeyError, NotImplementedError) as error:
        raise ModelError(f"Tensors of the type {kind} cannot be read here; give the F16 or F32 file.") from error
    return values


def _walk(head: bytes) -> Iterator[MetadataEntry]:
    position = METADATA_START
    while position < len(head):
        start = position
        (length,) = struct.unpack_from("<Q", head, position)
        key = head[position + 8 : position + 8 + length].decode("utf-8", "replace")
        position += 8 + length
        (kind,) = struct.unpack_from("<I", head, position)
        value = position + 4
        position = _end(head, kind, value)
        yield MetadataEntry(key, kind, start, value, position)


def _end(head: bytes, kind: int, position: int) -> int:
    if kind == STRING:
        return position + 8 + int(struct.unpack_from("<Q", head, position)[0])
    if kind != ARRAY:
        return position + struct.calcsize("<" + SCALARS[kind])
    item, count = struct.unpack_from("<IQ", head, position)
    position += 12
    if item != STRING:
        return position + int(count) * struct.calcsize("<" + SCALARS[item])
    for _ in range(count):
        position += 8 + int(struct.unpack_from("<Q", head, position)[0])
    return position

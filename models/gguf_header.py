"""A bounded reader of GGUF headers, so that a hostile or broken file is refused before any library opens it.

Format: ggml's docs/gguf.md, versions 2 and 3, little-endian. Nothing in the file is trusted: every count, length and
offset is checked against what is left of the file and against fixed limits; no tensor data is read.
"""

from __future__ import annotations

import math
import os
import stat
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Final

from models.errors import ModelError
from models.file_kind import describe_start
from models.gguf_types import ARRAY, FILE_TYPES, SCALARS, STRING, TENSOR_TYPES
from models.plain_text import strip_controls

MAX_HEADER_BYTES: Final = 64 << 20
MAX_KEYS: Final = 16_384
MAX_TENSORS: Final = 65_536
MAX_KEY_BYTES: Final = 65_535  # the specification's own
MAX_NAME_BYTES: Final = 64  # the specification's own; also ggml's GGML_MAX_NAME
MAX_STRING_BYTES: Final = 1 << 20  # the longest that is of use is a chat template
MAX_TEXT_BYTES: Final = 8 << 20  # all strings together that are kept
MAX_STRINGS: Final = 2_000_000  # in all arrays together; the largest vocabularies with merges hold under 1,000,000
MAX_DIMENSIONS: Final = 4
KEPT_VALUES: Final = 64
_CHUNK: Final = 1 << 20
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


@dataclass(frozen=True)
class ListSummary:
    """An array of the metadata: its length, and its first values (all of them when `count` <= KEPT_VALUES)."""

    count: int
    values: tuple[str | int | float | bool, ...]


MetadataValue = str | int | float | bool | ListSummary


@dataclass(frozen=True)
class TensorInfo:
    """One tensor. `shape` in GGUF order (contiguous dimension first); `offset` in bytes from the start of the data."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    bytes: int

    @property
    def elements(self) -> int:
        """How many values it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class GgufHeader:
    """All that a GGUF file says before its data. `data_start` and `file_bytes` are in bytes."""

    version: int
    tensor_count: int
    metadata: Mapping[str, MetadataValue]
    tensors: tuple[TensorInfo, ...]
    alignment: int
    data_start: int
    file_bytes: int
    metadata_end: int = 0
    """Where the metadata end and the list of tensors begins, in bytes; they begin at 24."""

    @property
    def architecture(self) -> str:
        """`general.architecture`, or an empty string."""
        return self.text("general.architecture")

    @property
    def name(self) -> str:
        """`general.name`, or an empty string."""
        return self.text("general.name")

    @property
    def chat_template(self) -> str | None:
        """The file's own chat template."""
        return self.text("tokenizer.chat_template") or None

    @property
    def context_length(self) -> int:
        """What the model was trained for, in tokens; 0 where the file does not say."""
        value = self.metadata.get(f"{self.architecture}.context_length", 0)
        return value if isinstance(value, int) else 0

    @property
    def parameters(self) -> int:
        """How many weights its tensors hold."""
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def quant(self) -> str:
        """The file's quant, as the field names it ("Q4_K_M").

        What it declares (`general.file_type`) if a tensor bears it out, else the type of most of its bytes.
        """
        totals: dict[str, int] = {}
        for tensor in self.tensors:
            totals[tensor.type] = totals.get(tensor.type, 0) + tensor.bytes
        declared = self.metadata.get("general.file_type")
        if isinstance(declared, int) and not isinstance(declared, bool):
            name = FILE_TYPES.get(declared & ~1024)  # 1024 marks a guess
            if name is not None and (not totals or any(_bears_out(name, found) for found in totals)):
                return name
        return max(totals, key=lambda key: totals[key]) if totals else "unknown"

    @property
    def bits_per_weight(self) -> float:
        """Storage of the tensors per weight, in bits; 0 for a file without tensors."""
        return sum(tensor.bytes for tensor in self.tensors) * 8 / self.parameters if self.parameters else 0.0

    def text(self, key: str) -> str:
        """A string of the metadata, empty where it is missing or no string."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""


def _bears_out(quant: str, tensor_type: str) -> bool:
    """Whether a file declared as `quant` may hold tensors of `tensor_type` as its own kind ("Q4_K_M": "Q4_K")."""
    if quant.startswith("IQ"):  # mixtures, some named after no single type
        return tensor_type.startswith(quant[:3])
    return quant == tensor_type or quant.rsplit("_", 1)[0] == tensor_type


class _Fault(Exception):
    """Why a header cannot be right; turned into a ModelError that names the file."""


class _Cursor:
    """Reads a header front to back, in chunks, never past the file or MAX_HEADER_BYTES."""

    def __init__(self, file: BinaryIO, file_bytes: int) -> None:
        self._file = file
        self._limit = min(file_bytes, MAX_HEADER_BYTES)
        self._cut_short = file_bytes <= MAX_HEADER_BYTES
        self._data = bytearray()
        self._text_left = MAX_TEXT_BYTES
        self.position = 0

    def need(self, count: int, what: str) -> None:
        """Have `count` bytes ready after the position."""
        end = self.position + count
        if end > self._limit:
            if self._cut_short:
                raise _Fault(f"it ends inside {what}")
            raise _Fault(f"its header is larger than {MAX_HEADER_BYTES >> 20} MiB at {what}")
        while len(self._data) < end:
            chunk = self._file.read(min(max(_CHUNK, end - len(self._data)), self._limit - len(self._data)))
            if not chunk:
                raise _Fault(f"it ends inside {what}")
            self._data += chunk

    def take(self, count: int, what: str) -> bytes:
        self.need(count, what)
        start = self.position
        self.position += count
        return bytes(self._data[start : self.position])

    def u32(self, what: str) -> int:
        return int(_U32.unpack(self.take(4, what))[0])

    def u64(self, what: str) -> int:
        return int(_U64.unpack(self.take(8, what))[0])

    def string(self, limit: int, what: str) -> str:
        length = self.u64(what)
        if length > limit:
            raise _Fault(f"{what} claims {length} bytes, over the limit of {limit}")
        self._text_left -= length
        if self._text_left < 0:
            raise _Fault(f"its metadata hold more than {MAX_TEXT_BYTES >> 20} MiB of text")
        return self.take(length, what).decode("utf-8", errors="replace")

    def skip_strings(self, count: int, what: str) -> None:
        """Step over `count` strings without keeping them."""
        data, position, unpack = self._data, self.position, _U64.unpack_from
        for _ in range(count):
            if position + 8 > len(data):
                self.position = position
                self.need(8, what)
            position += 8 + unpack(data, position)[0]
            if position > self._limit:
                self.position = position
                self.need(0, what)
        self.position = position
        self.need(0, what)

    def skip(self, count: int, what: str) -> None:
        """Step over `count` bytes."""
        self.need(count, what)
        self.position += count


def _scalar(cursor: _Cursor, code: str, what: str) -> int | float | bool:
    raw = cursor.take(struct.calcsize("<" + code), what)
    if code == "?":
        return raw != b"\0"
    value: int | float = struct.unpack("<" + code, raw)[0]
    return value


def _array(cursor: _Cursor, what: str, strings_left: int) -> tuple[ListSummary, int]:
    """An array's summary and how many strings it held."""
    kind, count = cursor.u32(what), cursor.u64(what)
    if kind == STRING:
        if count > strings_left:
            raise _Fault(f"{what} claims {count} strings, over the limit of {MAX_STRINGS}")
        kept = min(count, KEPT_VALUES)
        values = tuple(cursor.string(MAX_STRING_BYTES, what) for _ in range(kept))
        cursor.skip_strings(count - kept, what)
        return ListSummary(count, values), count
    code = SCALARS.get(kind)
    if code is None:
        raise _Fault(f"{what} is a list of the unknown type {kind}")
    size = struct.calcsize("<" + code)
    cursor.need(count * size, what)
    kept = min(count, KEPT_VALUES)
    numbers = tuple(_scalar(cursor, code, what) for _ in range(kept))
    cursor.skip((count - kept) * size, what)
    return ListSummary(count, numbers), 0


def _metadata(cursor: _Cursor, count: int) -> dict[str, MetadataValue]:
    metadata: dict[str, MetadataValue] = {}
    strings_left = MAX_STRINGS
    for index in range(count):
        key = cursor.string(MAX_KEY_BYTES, f"the name of metadata entry {index + 1} of {count}")
        what = f"the metadata {_shown(key)}"
        if not key or key in metadata:
            raise _Fault(f"{what} is empty or stands twice")
        kind = cursor.u32(what)
        if kind == STRING:
            metadata[key] = cursor.string(MAX_STRING_BYTES, what)
        elif kind == ARRAY:
            metadata[key], used = _array(cursor, what, strings_left)
            strings_left -= used
        elif kind in SCALARS:
            metadata[key] = _scalar(cursor, SCALARS[kind], what)
        else:
            raise _Fault(f"{what} has the unknown type {kind}")
    return metadata


def _tensors(cursor: _Cursor, count: int, alignment: int) -> Iterator[TensorInfo]:
    """Tensor infos; they must follow one another without gaps or overlaps, as llama.cpp demands."""
    names: set[str] = set()
    expected = 0
    for index in range(count):
        what = f"tensor {index + 1} of {count}"
        name = cursor.string(MAX_NAME_BYTES, what)
        if not name or name in names:
            raise _Fault(f"{what} has no name or the name of another")
        names.add(name)
        what = f"the tensor {_shown(name)}"
        dimensions = cursor.u32(what)
        if not 1 <= dimensions <= MAX_DIMENSIONS:
            raise _Fault(f"{what} claims {dimensions} dimensions; 1 to {MAX_DIMENSIONS} exist")
        shape = tuple(cursor.u64(what) for _ in range(dimensions))
        number, offset = cursor.u32(what), cursor.u64(what)
        kind = TENSOR_TYPES.get(number)
        if kind is None:
            raise _Fault(f"{what} has the unknown type {number}, perhaps of a newer llama.cpp")
        elements = math.prod(shape)
        if not 0 < elements < 1 << 63 or shape[0] % kind.block:
            raise _Fault(f"{what} claims the impossible shape {'x'.join(map(str, shape))} for {kind.name}")
        size = elements // kind.block * kind.bytes
        if offset != expected:
            raise _Fault(f"{what} claims to start at {offset}, not at {expected} where its neighbour ends")
        expected = _aligned(offset + size, alignment)
        yield TensorInfo(name, shape, kind.name, offset, size)


def _aligned(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment


def _shown(name: str) -> str:
    """A name out of a file, fit for a message: short and without control signs."""
    return f"`{strip_controls(name[:60], lines=False, mark='?')}`"


def _parse(file: BinaryIO, file_bytes: int) -> GgufHeader:
    start = file.read(64)
    file.seek(0)
    if not start.startswith(b"GGUF"):
        raise _Fault(f"it is no GGUF; it looks like {describe_start(start)}")
    cursor = _Cursor(file, file_bytes)
    cursor.skip(4, "its first bytes")
    version = cursor.u32("its version")
    if version not in (2, 3):
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        reason = "is big-endian" if swapped in (1, 2, 3) else f"has GGUF version {version}; 2 and 3 can be read"
        raise _Fault(f"it {reason}")
    tensor_count, key_count = cursor.u64("its counts"), cursor.u64("its counts")
    if tensor_count > MAX_TENSORS or key_count > MAX_KEYS:
        raise _Fault(f"it claims {tensor_count} tensors and {key_count} metadata entries, more than any model has")
    metadata = _metadata(cursor, key_count)
    metadata_end = cursor.position
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or not 1 <= alignment <= 1 << 20 or alignment & (alignment - 1):
        raise _Fault("its alignment is not a power of two")
    tensors = tuple(_tensors(cursor, tensor_count, alignment))
    data_start = _aligned(cursor.position, alignment)
    if tensors:
        end = data_start + tensors[-1].offset + tensors[-1].bytes
        if end > file_bytes:
            raise _Fault(f"its tensors need {end} bytes but it holds {file_bytes}, so a part is missing")
    return GgufHeader(
        version, tensor_count, MappingProxyType(metadata), tensors, alignment, data_start, file_bytes, metadata_end
    )


def read_header(path: str | os.PathLike[str]) -> GgufHeader:
    """The header of a GGUF file. Every fault is a `ModelError` that says what is wrong and what to do.

    Reads at most MAX_HEADER_BYTES and no tensor data; only regular files are opened.
    """
    shown = Path(path)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            kind = "a folder" if shown.is_dir() else "no regular file"
            raise ModelError(f"{shown} is {kind}; give the path of a .gguf file.")
        with open(path, "rb") as file:
            return _parse(file, os.fstat(file.fileno()).st_size)
    except _Fault as fault:
        raise ModelError(f"{shown} cannot be used: {fault}. Fetch or convert the model again.") from fault
    except FileNotFoundError as error:
        raise ModelError(f"{shown} does not exist; check the path, or see `kangae models list`.") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ModelError(f"{shown} cannot be read ({reason}); check the path and its permissions.") from error

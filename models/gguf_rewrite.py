"""A GGUF written again with some of its tensors in another form: lossless for all the rest.

Format: ggml's docs/gguf.md, version 3. Everything is streamed: of the tensors one at a time is in memory.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from models.errors import InternalError
from models.gguf_file import GgufFile, Scalar
from models.gguf_header import TensorInfo
from models.gguf_types import FILE_TYPES, STRING, TENSOR_TYPES

_NUMBERS = {kind.name: number for number, kind in TENSOR_TYPES.items()}
_BLOCKS = {kind.name: kind for kind in TENSOR_TYPES.values()}
_SPLIT_KEYS = ("split.no", "split.count", "split.tensors.count")
_ALIGNMENT = 32
_U32_KIND, _F32_KIND, _BOOL_KIND, _U64_KIND, _I64_KIND = 4, 6, 7, 10, 11
_CHUNK = 1 << 24

Encode = Callable[[str], npt.NDArray[np.uint8]]
"""From a tensor's name to its bytes, (rows, bytes of a row)."""


def file_type_number(quant: str) -> int:
    """The value of `general.file_type` for a quant ("Q4_K_M" is 15). Raises KeyError."""
    return next(number for number, name in FILE_TYPES.items() if name == quant)


def rewrite_gguf(
    source: GgufFile,
    target: Path,
    *,
    types: Mapping[str, str],
    data: Encode,
    metadata: Mapping[str, Scalar],
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write `source` to `target` (an unfinished file of the caller's) as one file: the tensors that `types` names take
    that ggml type and the bytes of `data`; all others, and the metadata, stay as they are. `metadata` is added, or
    takes the place of what has its key; whole numbers become 32-bit ones where they fit. `progress`: share of the bytes
    written. Raises OSError; InternalError where bytes and types do not agree."""
    infos = _lay_out(source, types)
    with open(target, "wb") as file:
        file.write(_head(source, metadata, len(infos)))
        for info in infos:
            file.write(_string(info.name) + struct.pack("<I", len(info.shape)))
            file.write(struct.pack(f"<{len(info.shape)}QIQ", *info.shape, _NUMBERS[info.type], info.offset))
        _pad(file)
        whole = sum(info.bytes for info in infos) or 1
        done = 0
        for info in infos:
            block = data(info.name) if info.name in types else source.raw(info.name)
            if block.nbytes != info.bytes:
                raise InternalError(f"{info.name} as {info.type} takes {info.bytes} bytes, not {block.nbytes}.")
            flat = np.ascontiguousarray(block).reshape(-1)
            for start in range(0, len(flat), _CHUNK):
                file.write(flat[start : start + _CHUNK].data)
            _pad(file)
            done += info.bytes
            if progress is not None:
                progress(done / whole)


def _lay_out(source: GgufFile, types: Mapping[str, str]) -> list[TensorInfo]:
    infos, offset = [], 0
    for info in source.tensors.values():
        kind = _BLOCKS[types.get(info.name, info.type)]
        if info.shape[0] % kind.block:
            raise InternalError(f"{info.name} has rows of {info.shape[0]} values, which {kind.name} cannot hold.")
        size = math.prod(info.shape) // kind.block * kind.bytes
        infos.append(TensorInfo(info.name, info.shape, kind.name, offset, size))
        offset += -(-size // _ALIGNMENT) * _ALIGNMENT
    return infos


def _head(source: GgufFile, metadata: Mapping[str, Scalar], tensors: int) -> bytes:
    """Magic to the end of the metadata; kept entries are copied as they stand, in their order."""
    dropped = {*metadata, *_SPLIT_KEYS, "general.alignment"}
    head = source.head()
    kept = [head[one.start : one.end] for one in source.entries().values() if one.key not in dropped]
    added = [_string(key) + _value(value) for key, value in metadata.items()]
    counts = struct.pack("<4sIQQ", b"GGUF", 3, tensors, len(kept) + len(added))
    return counts + b"".join(kept) + b"".join(added)


def _string(text: str) -> bytes:
    encoded = text.encode("utf-8")
    return struct.pack("<Q", len(encoded)) + encoded


def _value(value: Scalar) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<I?", _BOOL_KIND, value)
    if isinstance(value, str):
        return struct.pack("<I", STRING) + _string(value)
    if isinstance(value, float):
        return struct.pack("<If", _F32_KIND, value)
    if 0 <= value < 1 << 32:
        return struct.pack("<II", _U32_KIND, value)
    return struct.pack("<IQ", _U64_KIND, value) if value > 0 else struct.pack("<Iq", _I64_KIND, value)


def _pad(file: BinaryIO) -> None:
    file.write(b"\0" * (-file.tell() % _ALIGNMENT))

"""A GGUF in several files, each at most so large: as llama.cpp's gguf-split writes them, readable by its library.

The first part holds all metadata; each says which it is of how many, and how many tensors there are in all.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from models.errors import UsageError
from models.gguf_file import METADATA_START, GgufFile
from models.gguf_header import TensorInfo
from models.gguf_types import TENSOR_TYPES

_NUMBERS = {kind.name: number for number, kind in TENSOR_TYPES.items()}
_SPLIT_NO, _SPLIT_COUNT, _SPLIT_TENSORS = "split.no", "split.count", "split.tensors.count"
_U16, _I32 = 2, 5
_CHUNK = 1 << 24


def plan_shards(file: GgufFile, most: int) -> list[list[TensorInfo]]:
    """The tensors of each part, in their order, so that no part takes more than `most` bytes.

    Raises UsageError, with the least that would do, where one tensor alone takes more.
    """
    infos = list(file.tensors.values())
    align = file.header.alignment
    begin = METADATA_START + _split_bytes() + align

    def size(parts: Sequence[TensorInfo], first: bool) -> int:
        head = begin + (len(file.head()) - METADATA_START if first else 0) + sum(map(_info_bytes, parts))
        return head + sum(_padded(info.bytes, align) for info in parts)

    least = max(size([info], first=index == 0) for index, info in enumerate(infos))
    if most < least:
        raise UsageError(
            f"Parts of {most:,} bytes are too small: the largest tensor, or the metadata with the first one, takes "
            f"{least:,}; give at least that."
        )
    parts: list[list[TensorInfo]] = [[]]
    for info in infos:
        if parts[-1] and size([*parts[-1], info], first=len(parts) == 1) > most:
            parts.append([])
        parts[-1].append(info)
    return parts


def write_shards(file: GgufFile, parts: Sequence[Sequence[TensorInfo]], targets: Sequence[Path]) -> None:
    """Write the parts of `file` to `targets`, unfinished files of the caller's. Raises OSError."""
    for number, (infos, target) in enumerate(zip(parts, targets, strict=True)):
        with open(target, "wb") as out:
            _write_part(out, file, infos, number, len(parts))


def _write_part(out: BinaryIO, file: GgufFile, infos: Sequence[TensorInfo], number: int, count: int) -> None:
    kept = [one for one in file.entries().values() if number == 0 and one.key not in _split_keys()]
    head = file.head()
    out.write(struct.pack("<4sIQQ", b"GGUF", 3, len(infos), len(kept) + 3))
    out.write(b"".join(head[one.start : one.end] for one in kept))
    out.write(_entry(_SPLIT_NO, _U16, "<H", number) + _entry(_SPLIT_COUNT, _U16, "<H", count))
    out.write(_entry(_SPLIT_TENSORS, _I32, "<i", len(file.tensors)))
    align, offset = file.header.alignment if number == 0 else 32, 0
    for info in infos:
        name = info.name.encode()
        out.write(struct.pack("<Q", len(name)) + name + struct.pack("<I", len(info.shape)))
        out.write(struct.pack(f"<{len(info.shape)}QIQ", *info.shape, _NUMBERS[info.type], offset))
        offset += _padded(info.bytes, align)
    _pad(out, align)
    for info in infos:
        flat = np.asarray(file.raw(info.name)).reshape(-1)
        for start in range(0, len(flat), _CHUNK):
            out.write(flat[start : start + _CHUNK].tobytes())
        _pad(out, align)


def _split_keys() -> tuple[str, str, str]:
    return _SPLIT_NO, _SPLIT_COUNT, _SPLIT_TENSORS


def _split_bytes() -> int:
    return sum(12 + len(key) + 4 for key in _split_keys())


def _entry(key: str, kind: int, form: str, value: int) -> bytes:
    return struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", kind) + struct.pack(form, value)


def _info_bytes(info: TensorInfo) -> int:
    return 8 + len(info.name.encode()) + 4 + 8 * len(info.shape) + 12


def _padded(size: int, align: int) -> int:
    return -(-size // align) * align


def _pad(out: BinaryIO, align: int) -> None:
    out.write(b"\0" * (-out.tell() % align))

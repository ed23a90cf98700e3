"""A SentencePiece `tokenizer.model` file: its pieces, scores and types, without the sentencepiece package.

Format: sentencepiece_model.proto (ModelProto.pieces = 1; SentencePiece: piece = 1, score = 2, type = 3) in Protocol
Buffers' wire format.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from models.errors import ModelError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""Types of pieces; GGUF's token types have the same numbers."""
_MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Piece:
    """One token."""

    text: str
    score: float
    type: int


class _Fault(Exception):
    """Bytes that are no message."""


def read_pieces(path: Path) -> list[Piece]:
    """All pieces in the order of their ids. Raises ModelError."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise _Fault
        data = path.read_bytes()
        pieces = [_piece(value) for field, value in _fields(data) if field == 1 and isinstance(value, bytes)]
        if not pieces:
            raise _Fault
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror or error}); check its permissions.") from error
    except (_Fault, ValueError, struct.error) as error:
        raise ModelError(f"{path} is no SentencePiece model; fetch the file again.") from error
    return pieces


def _piece(message: bytes) -> Piece:
    text, score, kind = "", 0.0, NORMAL
    for field, value in _fields(message):
        if field == 1 and isinstance(value, bytes):
            text = value.decode("utf-8")
        elif field == 2 and isinstance(value, float):
            score = value
        elif field == 3 and isinstance(value, int):
            kind = value
    return Piece(text, score, kind)


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int | float]]:
    """(number, value) of each field: bytes, a whole number, or the float of four bytes."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        match tag & 7:
            case 0:
                value, position = _varint(data, position)
                yield tag >> 3, value
            case 1:
                position = _end(data, position, 8)
            case 2:
                length, position = _varint(data, position)
                start, position = position, _end(data, position, length)
                yield tag >> 3, data[start:position]
            case 5:
                start, position = position, _end(data, position, 4)
                yield tag >> 3, struct.unpack("<f", data[start:position])[0]
            case _:
                raise _Fault


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise _Fault
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, position
    raise _Fault


def _end(data: bytes, position: int, length: int) -> int:
    if position + length > len(data):
        raise _Fault
    return position + length

"""How ggml's block types store whole numbers: their scales read from a block, and whole blocks written.

Source: llama.cpp, ggml/src/ggml-common.h and ggml-quants.c. A weight is d × s × v − e × z: d and e 16-bit floats of the
block, s and z small whole numbers of a group of columns in it (1 where a block is one group), v what the integer stands
for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from quantize.rounding.grid import Integers, Levels

Bytes = npt.NDArray[np.uint8]
Parts = npt.NDArray[np.int16]
_IQ4: Final = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)


@dataclass(frozen=True)
class Layout:
    """A block type. `block` columns in `bytes` bytes, `group` columns to a scale. `scale_range`: least and greatest
    s; none: s is 1. `minimum_range`: of z where there are minima; none: there are none, or z is 1 (`has_minima`)."""

    name: str
    block: int
    bytes: int
    group: int
    levels: Levels
    has_minima: bool = False
    scale_range: tuple[int, int] | None = None
    minimum_range: tuple[int, int] | None = None

    @property
    def groups(self) -> int:
        """Groups of a block."""
        return self.block // self.group


@dataclass(frozen=True, eq=False)
class BlockScales:
    """Scales of blocks: `d`, `e` float16 (blocks,); `s`, `z` int16 (blocks, groups)."""

    d: npt.NDArray[np.float16]
    e: npt.NDArray[np.float16]
    s: Parts
    z: Parts


LAYOUTS: Final = {
    layout.name: layout
    for layout in (
        Layout("Q4_0", 32, 18, 32, Levels(16, 8)),
        Layout("Q4_1", 32, 20, 32, Levels(16), True),
        Layout("Q5_0", 32, 22, 32, Levels(32, 16)),
        Layout("Q5_1", 32, 24, 32, Levels(32), True),
        Layout("Q8_0", 32, 34, 32, Levels(256, 128)),
        Layout("IQ4_NL", 32, 18, 32, Levels(16, 0, _IQ4)),
        Layout("IQ4_XS", 256, 136, 32, Levels(16, 0, _IQ4), False, (-32, 31)),
        Layout("Q2_K", 256, 84, 16, Levels(4), True, (0, 15), (0, 15)),
        Layout("Q3_K", 256, 110, 16, Levels(8, 4), False, (-32, 31)),
        Layout("Q4_K", 256, 144, 32, Levels(16), True, (0, 63), (0, 63)),
        Layout("Q5_K", 256, 176, 32, Levels(32), True, (0, 63), (0, 63)),
        Layout("Q6_K", 256, 210, 16, Levels(64, 32), False, (-128, 127)),
    )
}
"""The types whose weights can be rounded one by one on scales of their own."""


def read_scales(layout: Layout, data: Bytes) -> BlockScales:
    """The scales in `data` (blocks, bytes of a block)."""
    ones = np.ones((len(data), layout.groups), np.int16)
    nothing = np.zeros(len(data), np.float16)
    match layout.name:
        case "Q2_K":
            packed = data[:, :16].astype(np.int16)
            return BlockScales(_half(data, 80), _half(data, 82), packed & 15, packed >> 4)
        case "Q3_K":
            return BlockScales(_half(data, 108), nothing, _six_bits_signed(data[:, 96:108]), ones)
        case "Q4_K" | "Q5_K":
            s, z = _six_bits_pairs(data[:, 4:16])
            return BlockScales(_half(data, 0), _half(data, 2), s, z)
        case "Q6_K":
            s = np.ascontiguousarray(data[:, 192:208]).view(np.int8).astype(np.int16)
            return BlockScales(_half(data, 208), nothing, s, ones)
        case "IQ4_XS":
            high = np.ascontiguousarray(data[:, 2:4]).view("<u2").astype(np.int16)
            low = _low_first(data[:, 4:8], 4).reshape(len(data), 8).astype(np.int16)
            high_bits = (high >> np.arange(0, 16, 2, dtype=np.int16)) & 3
            return BlockScales(_half(data, 0), nothing, (low | high_bits << 4) - np.int16(32), ones)
        case "Q4_1" | "Q5_1":
            # Stored is what is added.
            return BlockScales(_half(data, 0), -_half(data, 2), ones, ones)
    return BlockScales(_half(data, 0), nothing, ones, ones)


def write(layout: Layout, scales: BlockScales, integers: Integers) -> Bytes:
    """Whole blocks, uint8 (blocks, bytes of a block), of `integers` (blocks, columns of a block)."""
    d, e = _bytes(scales.d), _bytes(scales.e)
    s, z = scales.s, scales.z
    match layout.name:
        case "Q2_K":
            parts = [(s | z << 4).astype(np.uint8), _planes(integers, 2, 32), d, e]
        case "Q3_K":
            parts = [
                _planes(integers >> np.uint8(2), 1, 32),
                _planes(integers & np.uint8(3), 2, 32),
                _pack_six_bits_signed(s),
                d,
            ]
        case "Q4_K":
            parts = [d, e, _pack_six_bits_pairs(s, z), _planes(integers, 4, 32)]
        case "Q5_K":
            low, high = _planes(integers & np.uint8(15), 4, 32), _planes(integers >> np.uint8(4), 1, 32)
            parts = [d, e, _pack_six_bits_pairs(s, z), high, low]
        case "Q6_K":
            bytes_of_s = s.astype(np.int8).view(np.uint8)
            parts = [_planes(integers & np.uint8(15), 4, 64), _planes(integers >> np.uint8(4), 2, 32), bytes_of_s, d]
        case "IQ4_XS":
            stored = (s + np.int16(32)).astype(np.uint16)
            high_words = np.bitwise_or.reduce((stored >> 4) << np.arange(0, 16, 2, dtype=np.uint16), axis=1)
            low_bytes = _planes((stored & 15).astype(np.uint8), 4, 1)
            parts = [d, high_words.astype("<u2")[:, None].view(np.uint8), low_bytes, _planes(integers, 4, 16)]
        case "Q8_0":
            parts = [d, integers - np.uint8(128)]
        case "Q4_1":
            parts = [d, _bytes(-scales.e), _planes(integers, 4, 16)]
        case "Q5_0":
            parts = [d, _planes(integers >> np.uint8(4), 1, 1), _planes(integers & np.uint8(15), 4, 16)]
        case "Q5_1":
            parts = [
                d,
                _bytes(-scales.e),
                _planes(integers >> np.uint8(4), 1, 1),
                _planes(integers & np.uint8(15), 4, 16),
            ]
        case _:
            parts = [d, _planes(integers, 4, 16)]
    return np.concatenate(parts, axis=1)


def _planes(values: Integers, bits: int, run: int) -> Bytes:
    """Values of `bits` bits, 8 ÷ bits to a byte: byte i of a stretch holds value i of each of its runs, the first run
    lowest."""
    stretches = values.reshape(len(values), -1, 8 // bits, run)
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    together: Bytes = np.bitwise_or.reduce(stretches << shifts, axis=2).reshape(len(values), -1)
    return together


def _low_first(data: Bytes, bits: int) -> Bytes:
    """Each byte's values of `bits` bits, (…, bytes, 8 ÷ bits)."""
    return (data[..., None] >> np.arange(0, 8, bits, dtype=np.uint8)) & np.uint8((1 << bits) - 1)


def _six_bits_signed(data: Bytes) -> Parts:
    """Q3_K's sixteen scales: low halves two to a byte, then the upper two bits four to a byte; 32 is added to each."""
    low = np.swapaxes(_low_first(data[:, :8], 4), 1, 2).reshape(len(data), 16)
    high = np.swapaxes(_low_first(data[:, 8:], 2), 1, 2).reshape(len(data), 16)
    return (low | high << 4).astype(np.int16) - np.int16(32)


def _pack_six_bits_signed(s: Parts) -> Bytes:
    stored = (s + np.int16(32)).astype(np.uint8)
    return np.concatenate([_planes(stored & np.uint8(15), 4, 8), _planes(stored >> np.uint8(4), 2, 4)], axis=1)


def _six_bits_pairs(data: Bytes) -> tuple[Parts, Parts]:
    """The eight scales and eight minima of Q4_K and Q5_K: the first four of each in six bits; the last four's lower
    halves side by side, their upper bits above the first four."""
    first, second, third = data[:, :4], data[:, 4:8], data[:, 8:]
    s = np.concatenate([first & 63, third & 15 | (first >> 6) << 4], axis=1)
    z = np.concatenate([second & 63, third >> 4 | (second >> 6) << 4], axis=1)
    return s.astype(np.int16), z.astype(np.int16)


def _pack_six_bits_pairs(s: Parts, z: Parts) -> Bytes:
    a, b = s.astype(np.uint8), z.astype(np.uint8)
    first = a[:, :4] | (a[:, 4:] >> 4) << 6
    second = b[:, :4] | (b[:, 4:] >> 4) << 6
    return np.concatenate([first, second, a[:, 4:] & 15 | (b[:, 4:] & 15) << 4], axis=1)


def _half(data: Bytes, at: int) -> npt.NDArray[np.float16]:
    return np.ascontiguousarray(data[:, at : at + 2]).view("<f2")[:, 0].astype(np.float16)


def _bytes(halves: npt.NDArray[np.float16]) -> Bytes:
    return np.ascontiguousarray(halves.astype("<f2"))[:, None].view(np.uint8)

"""GGUF blocks of whole numbers, put together and taken apart without rounding.

Formats: ggml's ggml-common.h. A block of 32 has one scale d (16-bit float): Q4_0 is d × (q − 8), Q5_0 d × (q − 16),
Q8_0 d × q, and Q4_1 d × q + m. A super-block of 256 also has scales of 16 or 32 columns as small whole numbers: Q2_K is
d × s × q − e × z, Q4_K the same with 4 bits, Q3_K d × s × (q − 4); with s = 1, e = d and z the zero point they hold one
group of 256 or more exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

BLOCK: Final = 32
SUPER_BLOCK: Final = 256
Integers = npt.NDArray[np.uint8]
Halves = npt.NDArray[np.float16]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Blocks:
    """Rows of blocks of 32: `integers` as stored but without signs (Q8_0: q + 128), uint8 (rows, columns); `scales`
    and, of Q4_1, `minima` (what is added), float16 (rows, blocks)."""

    type: str
    integers: Integers
    scales: Halves
    minima: Halves | None = None

    @property
    def zero(self) -> int:
        """The integer that stands for 0 where there are no minima."""
        return ZEROS[self.type]


ZEROS: Final = {"Q4_0": 8, "Q5_0": 16, "Q8_0": 128}
"""Of the types without minima, the integer that stands for 0."""


def encode_blocks(blocks: Blocks) -> Bytes:
    """The bytes (rows, bytes of a row) of Q4_0, Q4_1, Q5_0 or Q8_0. Integers are taken as they are."""
    rows, columns = blocks.integers.shape
    values = blocks.integers.reshape(rows, columns // BLOCK, BLOCK)
    parts = [_halves_to_bytes(blocks.scales)]
    if blocks.type == "Q4_1":
        assert blocks.minima is not None
        parts.append(_halves_to_bytes(blocks.minima))
    if blocks.type == "Q5_0":
        parts.append(np.packbits(values >> np.uint8(4), axis=-1, bitorder="little"))
    if blocks.type == "Q8_0":
        parts.append(values ^ np.uint8(128))  # q + 128 as a signed byte: its highest bit turned
    else:
        low = values & np.uint8(15)
        parts.append(low[..., : BLOCK // 2] | low[..., BLOCK // 2 :] << np.uint8(4))
    return np.concatenate(parts, axis=-1).reshape(rows, -1)


def decode_blocks(data: Bytes, kind: str) -> Blocks:
    """What the bytes (rows, bytes of a row) of Q4_0, Q4_1, Q5_0 or Q8_0 hold."""
    size = {"Q4_0": 18, "Q4_1": 20, "Q5_0": 22, "Q8_0": 34}[kind]
    rows = len(data)
    blocks = np.ascontiguousarray(data).reshape(rows, -1, size)
    scales = _bytes_to_halves(blocks[..., :2])
    minima = _bytes_to_halves(blocks[..., 2:4]) if kind == "Q4_1" else None
    if kind == "Q8_0":
        values = blocks[..., 2:] + np.uint8(128)
    else:
        packed = blocks[..., -BLOCK // 2 :]
        values = np.concatenate([packed & 15, packed >> 4], axis=-1)
        if kind == "Q5_0":
            values |= np.unpackbits(blocks[..., 2:6], axis=-1, bitorder="little") << 4
    return Blocks(kind, values.reshape(rows, -1), scales, minima)


def encode_super_blocks(kind: str, integers: Integers, scales: Halves, zeros: Integers) -> Bytes:
    """The bytes (rows, bytes of a row) of Q2_K, Q3_K or Q4_K where each super-block has one scale and one zero point.

    `integers` uint8 (rows, columns); `scales` float16 and `zeros` uint8 (rows, columns ÷ 256): weight = scale ×
    (integer − zero). Q3_K: every zero is 4.
    """
    rows, columns = integers.shape
    values = integers.reshape(rows, columns // SUPER_BLOCK, SUPER_BLOCK)
    d = _halves_to_bytes(scales)
    zero = zeros[..., None]
    if kind == "Q2_K":
        # 16 bytes of (scale 1, minimum z), the integers two bits a plane, d, dmin.
        return _rows(np.repeat(1 | zero << 4, 16, axis=-1), _planes(values, 2), d, d)
    if kind == "Q3_K":
        high = values >> 2
        mask = np.bitwise_or.reduce(high.reshape(*high.shape[:2], 8, 32) << np.arange(8, dtype=np.uint8)[:, None], -2)
        # Sixteen scales of six bits, each 33 (stored with 32 added): low halves 1, high parts 2.
        packed = np.tile(np.array([0x11] * 8 + [0xAA] * 4, np.uint8), (*values.shape[:2], 1))
        return _rows(mask, _planes(values & np.uint8(3), 2), packed, d)
    # Q4_K: eight scales of 1 and eight minima of z, six bits each; four bits suffice for z, so that the upper two of
    # each are 0 and the last four pairs lie as (scale | minimum << 4).
    ones = np.ones((*zero.shape[:2], 4), np.uint8)
    return _rows(d, d, ones, ones * zero, ones | zero << 4, _planes(values, 4))


def _planes(values: Integers, bits: int) -> Bytes:
    """Super-blocks (…, 256) with `bits` a value: runs of 32 share bytes, as the K-types keep them."""
    run = values.reshape(*values.shape[:2], -1, 8 // bits, BLOCK)
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    packed: Bytes = np.bitwise_or.reduce(run << shifts, axis=-2)
    return packed.reshape(*values.shape[:2], -1)


def _rows(*parts: Bytes) -> Bytes:
    joined = np.concatenate(parts, axis=-1)
    return joined.reshape(len(joined), -1)


def _halves_to_bytes(halves: Halves) -> Bytes:
    return np.ascontiguousarray(halves.astype("<f2"))[..., None].view(np.uint8)


def _bytes_to_halves(data: Bytes) -> Halves:
    return np.ascontiguousarray(data).view("<f2")[..., 0].astype(np.float16)

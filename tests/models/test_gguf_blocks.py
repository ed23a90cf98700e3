"""Blocks put together exactly: gguf's own reader gives back the integers and scales that went in."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.gguf_blocks import ZEROS, Blocks, decode_blocks, encode_blocks, encode_super_blocks

_TOPS = {"Q4_0": 16, "Q4_1": 16, "Q5_0": 32, "Q8_0": 256}


@given(kind=st.sampled_from(sorted(_TOPS)), rows=st.integers(1, 3), blocks=st.integers(1, 4), seed=st.integers(0, 999))
def test_blocks_hold_what_went_in(kind: str, rows: int, blocks: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    integers = random.integers(0, _TOPS[kind], (rows, 32 * blocks)).astype(np.uint8)
    scales = random.normal(size=(rows, blocks)).astype(np.float16)
    minima = random.normal(size=(rows, blocks)).astype(np.float16) if kind == "Q4_1" else None
    data = encode_blocks(Blocks(kind, integers, scales, minima))
    found = decode_blocks(data, kind)
    assert np.array_equal(found.integers, integers) and np.array_equal(found.scales, scales)
    step = np.repeat(scales.astype(np.float32), 32, 1)
    if minima is not None:
        assert found.minima is not None and np.array_equal(found.minima, minima)
        expected = step * integers + np.repeat(minima.astype(np.float32), 32, 1)
    else:
        assert found.zero == ZEROS[kind]
        expected = step * (integers.astype(np.float32) - ZEROS[kind])
    read = gguf.quants.dequantize(data, gguf.GGMLQuantizationType[kind])
    assert np.array_equal(read, expected)


@pytest.mark.parametrize("kind", sorted(_TOPS))
def test_blocks_of_the_makers_are_taken_apart(kind: str) -> None:
    values = np.random.default_rng(1).normal(size=(4, 96)).astype(np.float32)
    data = gguf.quants.quantize(values, gguf.GGMLQuantizationType[kind])
    assert np.array_equal(encode_blocks(decode_blocks(data, kind)), data)


@given(
    kind=st.sampled_from([("Q2_K", 2), ("Q3_K", 3), ("Q4_K", 4)]),
    rows=st.integers(1, 3),
    blocks=st.integers(1, 3),
    seed=st.integers(0, 999),
)
def test_super_blocks_hold_one_group_exactly(kind: tuple[str, int], rows: int, blocks: int, seed: int) -> None:
    name, bits = kind
    random = np.random.default_rng(seed)
    integers = random.integers(0, 1 << bits, (rows, 256 * blocks)).astype(np.uint8)
    scales = random.normal(size=(rows, blocks)).astype(np.float16)
    zeros = random.integers(0, 1 << bits, (rows, blocks)).astype(np.uint8)
    if bits == 3:
        zeros[:] = 4
    data = encode_super_blocks(name, integers, scales, zeros)
    expected = np.repeat(scales.astype(np.float32), 256, 1) * (
        integers.astype(np.float32) - np.repeat(zeros.astype(np.float32), 256, 1)
    )
    assert np.array_equal(gguf.quants.dequantize(data, gguf.GGMLQuantizationType[name]), expected)

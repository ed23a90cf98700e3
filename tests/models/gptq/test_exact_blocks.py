"""GPTQ matrices as GGUF blocks: gguf's own reader gives exactly the weights of the integers, or a reason is told."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ModelError
from models.gptq.exact_blocks import TYPES, encode_exactly, exact_type
from models.gptq.layer import GptqLayer, GptqSettings


def layer_of(settings: GptqSettings, columns: int, *, seed: int = 0, scale_bits: int = 11) -> GptqLayer:
    """A random matrix of 4 rows. `scale_bits`: significant bits of its scales."""
    random = np.random.default_rng(seed)
    top, shape = 1 << settings.bits, (4, settings.groups(columns))
    fraction = random.integers(1 << (scale_bits - 1), 1 << scale_bits, shape)
    zeros = np.full(shape, top >> 1) if settings.symmetric else random.integers(1, top, shape)
    integers = random.integers(0, top, (4, columns))
    integers[:, ::32], integers[:, 1::32] = 0, top - 1  # the whole range in every block
    return GptqLayer(
        settings.bits,
        integers.astype(np.uint8),
        (fraction * 2.0 ** -(scale_bits + 4)).astype(np.float16),
        zeros.astype(np.uint8),
        settings.group_index(columns),
    )


def dequantized(layer: GptqLayer, kind: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    data = encode_exactly("w", layer, kind)
    values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    values = gguf.quants.dequantize(data, gguf.GGMLQuantizationType[kind])
    return values


@pytest.mark.parametrize(
    ("settings", "columns", "scale_bits", "kind"),
    [
        (GptqSettings(bits=4, group_size=32), 96, 11, "Q4_0"),
        (GptqSettings(bits=4, group_size=128), 512, 11, "Q4_0"),
        (GptqSettings(bits=4, group_size=128), 192, 11, "Q4_0"),
        (GptqSettings(bits=4, group_size=-1), 512, 11, "Q4_0"),
        (GptqSettings(bits=4, group_size=32, symmetric=False), 96, 7, "Q4_1"),
        (GptqSettings(bits=4, group_size=32, symmetric=False), 96, 11, "Q5_0"),
        (GptqSettings(bits=4, group_size=256, symmetric=False), 512, 11, "Q4_K"),
        (GptqSettings(bits=8, group_size=128), 256, 11, "Q8_0"),
        (GptqSettings(bits=3, group_size=32), 256, 11, "Q4_0"),
        (GptqSettings(bits=3, group_size=-1), 256, 11, "Q3_K"),
        (GptqSettings(bits=2, group_size=128), 256, 11, "Q4_0"),
        (GptqSettings(bits=2, group_size=-1), 512, 11, "Q2_K"),
        (GptqSettings(bits=2, group_size=256, symmetric=False), 512, 11, "Q2_K"),
        (GptqSettings(bits=4, group_size=32, act_order=True, static_groups=True), 96, 11, "Q4_0"),
    ],
)
def test_the_smallest_type_that_is_exact(settings: GptqSettings, columns: int, scale_bits: int, kind: str) -> None:
    layer = layer_of(settings, columns, scale_bits=scale_bits)
    assert exact_type("w", layer) == kind
    assert np.array_equal(dequantized(layer, kind), layer.weights())


@given(
    bits=st.sampled_from([2, 3, 4, 8]),
    group=st.sampled_from([32, 64, 128, 256, -1]),
    symmetric=st.booleans(),
    scale_bits=st.integers(1, 11),
    columns=st.sampled_from([32, 160, 256, 512]),
    seed=st.integers(0, 9999),
)
def test_every_type_is_exact_or_refused(
    bits: int, group: int, symmetric: bool, scale_bits: int, columns: int, seed: int
) -> None:
    settings = GptqSettings(bits=bits, group_size=group, symmetric=symmetric)
    layer = layer_of(settings, columns, seed=seed, scale_bits=scale_bits)
    held = 0
    for kind in TYPES:
        try:
            values = dequantized(layer, kind)
        except ModelError as error:
            assert error.detail.startswith("w cannot be packed as GGUF without rounding it again: ")
            continue
        held += 1
        assert np.array_equal(values, layer.weights())
    assert held or (bits == 8 and not symmetric)


def test_the_order_of_activation_is_refused() -> None:
    settings = GptqSettings(group_size=32, act_order=True)
    layer = layer_of(settings, 128)
    order = np.random.default_rng(0).permutation(layer.group_index)
    moved = GptqLayer(4, layer.integers, layer.scales, layer.zeros, order)
    with pytest.raises(ModelError, match="act-order without static groups"):
        exact_type("w", moved)


def test_groups_smaller_than_a_block_are_refused() -> None:
    with pytest.raises(ModelError, match="groups of 16 columns are no multiple of 32"):
        exact_type("w", layer_of(GptqSettings(group_size=16), 64))


def test_eight_bits_with_zero_points_beyond_are_counted() -> None:
    settings = GptqSettings(bits=8, group_size=32, symmetric=False)
    layer = layer_of(settings, 32)
    layer.zeros[:] = 1
    beyond = int((layer.integers > 128).sum())
    with pytest.raises(ModelError, match=f"{beyond} of 128 integers, less their zero points, are beyond Q8_0"):
        exact_type("w", layer)
    layer.integers[:] = np.minimum(layer.integers, 128)
    assert exact_type("w", layer) == "Q8_0"
    assert np.array_equal(dequantized(layer, "Q8_0"), layer.weights())


def test_a_type_may_be_asked_for() -> None:
    layer = layer_of(GptqSettings(group_size=32), 64)
    assert np.array_equal(dequantized(layer, "Q8_0"), layer.weights())
    with pytest.raises(ModelError, match="not as Q6_K"):
        encode_exactly("w", layer, "Q6_K")
    asymmetric = layer_of(GptqSettings(group_size=32, symmetric=False), 64)
    with pytest.raises(ModelError, match=r"\d+ of 8 products of scale and zero point are finer than Q4_1's"):
        encode_exactly("w", asymmetric, "Q4_1")

"""Packing as AutoGPTQ's, against a slow reading of its rules, bit by bit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ModelError
from models.gptq.layer import BITS, GptqLayer, GptqSettings
from models.gptq.layout import PARTS, decode, encode, pack, part_shapes, unpack

bits_of = st.sampled_from(BITS)


def slow_words(values: list[int], bits: int) -> list[int]:
    """The words of one column as AutoGPTQ's `pack` fills them; with 3 bits 10 values, a split one, 10, one, 10."""
    if bits != 3:
        per_word = 32 // bits
        return [
            sum(value << (bits * place) for place, value in enumerate(values[start : start + per_word]))
            for start in range(0, len(values), per_word)
        ]
    words = []
    for start in range(0, len(values), 32):
        one = values[start : start + 32]
        first = sum(value << (3 * place) for place, value in enumerate(one[:10])) | (one[10] & 3) << 30
        second = one[10] >> 2 | sum(value << (3 * place + 1) for place, value in enumerate(one[11:21]))
        second |= (one[21] & 1) << 31
        third = one[21] >> 1 | sum(value << (3 * place + 2) for place, value in enumerate(one[22:32]))
        words += [first, second, third]
    return words


def random_layer(seed: int, settings: GptqSettings, rows: int, columns: int) -> GptqLayer:
    random = np.random.default_rng(seed)
    top = 1 << settings.bits
    shape = rows, settings.groups(columns)
    index = settings.group_index(columns)
    if settings.act_order and not settings.static_groups:
        index = random.permutation(index).astype(np.int32)
    zeros = np.full(shape, top >> 1) if settings.symmetric else random.integers(1, top, shape)
    return GptqLayer(
        settings.bits,
        random.integers(0, top, (rows, columns)).astype(np.uint8),
        random.uniform(0.001, 1, shape).astype(np.float16),
        zeros.astype(np.uint8),
        index,
    )


def same(one: GptqLayer, other: GptqLayer) -> bool:
    fields = ("integers", "scales", "zeros", "group_index")
    return one.bits == other.bits and all(np.array_equal(getattr(one, name), getattr(other, name)) for name in fields)


@given(bits=bits_of, units=st.integers(1, 4), width=st.integers(1, 5), seed=st.integers(0, 999))
def test_words_are_those_of_autogptq(bits: int, units: int, width: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 1 << bits, (32 * units, width)).astype(np.uint8)
    words = pack(values, bits)
    for column in range(width):
        assert words[:, column].view(np.uint32).tolist() == slow_words(values[:, column].tolist(), bits)
    assert np.array_equal(unpack(words, bits), values)


@given(
    bits=bits_of,
    group=st.sampled_from([-1, 8, 32, 64, 128]),
    symmetric=st.booleans(),
    order=st.booleans(),
    rows=st.integers(1, 3),
    columns=st.integers(1, 5),
    seed=st.integers(0, 999),
)
def test_a_layer_comes_back(
    bits: int, group: int, symmetric: bool, order: bool, rows: int, columns: int, seed: int
) -> None:
    settings = GptqSettings(bits=bits, group_size=group, symmetric=symmetric, act_order=order)
    layer = random_layer(seed, settings, 32 * rows, 32 * columns)
    parts = encode(layer)
    assert {part: (tensor.dtype.name, tensor.shape) for part, tensor in parts.items()} == {
        part: ({"I32": "int32", "F16": "float16"}[kind], shape)
        for part, (kind, shape) in part_shapes(layer.rows, layer.columns, settings).items()
    }
    assert tuple(parts) == PARTS
    assert same(decode("x", parts, settings), layer)
    if not order:
        del parts["g_idx"]
        assert same(decode("x", parts, settings), layer)


def test_zero_points_are_stored_less_one() -> None:
    settings = GptqSettings(group_size=32)
    parts = encode(random_layer(0, settings, 32, 64))
    assert set(parts["qzeros"].view(np.uint32).ravel().tolist()) == {0x77777777}
    raised = parts | {"qzeros": parts["qzeros"] + np.int32(0x11111111)}
    assert same(decode("x", raised, settings, zeros_less_one=False), decode("x", parts, settings))


def test_a_borrow_is_undone_where_its_writer_is_known() -> None:
    settings = GptqSettings(group_size=32, symmetric=False)
    layer = random_layer(1, settings, 32, 64)
    layer.zeros[3] = 0
    with pytest.raises(ModelError, match="zero point of 0"):
        encode(layer)
    true_zeros = np.ascontiguousarray(pack(layer.zeros, 4).T)
    borrowed = (true_zeros.view(np.uint32) - np.uint32(0x11111111)).view(np.int32)
    layer.zeros[3] = 1
    parts = encode(layer) | {"qzeros": borrowed}
    with pytest.raises(ModelError, match="wrap around"):
        decode("x", parts, settings)
    layer.zeros[3] = 0
    assert same(decode("x", parts, settings, borrows=True), layer)


def _broken(parts: dict[str, npt.NDArray[np.generic]], change: str) -> dict[str, npt.NDArray[np.generic]]:
    scales, qweight = parts["scales"].copy(), parts["qweight"]
    match change:
        case "short scales":
            return parts | {"scales": scales[:, :-1]}
        case "one scale":
            return parts | {"scales": scales[0]}
        case "infinite":
            scales[0, 0] = np.inf
            return parts | {"scales": scales}
        case "wide words":
            return parts | {"qweight": qweight.astype(np.int64)}
        case "group beyond":
            return parts | {"g_idx": np.full(64, 2, np.int32)}
        case "negative group":
            return parts | {"g_idx": np.full(64, -1, np.int32)}
        case "short groups":
            return parts | {"g_idx": np.zeros(63, np.int32)}
        case "fine scales":
            return parts | {"scales": np.full(scales.shape, 0.1, np.float32)}
    return parts | {"qzeros": parts["qzeros"][:0]}


@pytest.mark.parametrize(
    "change",
    ["short scales", "one scale", "infinite", "wide words", "group beyond", "negative group", "short groups",
     "fine scales", "no zeros"],
)  # fmt: skip
def test_what_does_not_fit_is_refused(change: str) -> None:
    settings = GptqSettings(group_size=32)
    parts = encode(random_layer(2, settings, 32, 64))
    with pytest.raises(ModelError, match=r"The GPTQ matrix a\.weight .*; fetch or make the checkpoint again\."):
        decode("a.weight", _broken(parts, change), settings)


def test_words_of_three_bits_come_in_threes() -> None:
    settings = GptqSettings(bits=3, group_size=32)
    parts = encode(random_layer(2, settings, 32, 64))
    with pytest.raises(ModelError, match="3 bits"):
        decode("x", parts | {"qweight": parts["qweight"][:-1]}, settings)


def test_odd_sizes_are_refused() -> None:
    with pytest.raises(ModelError, match=r"48 × 64 .* multiples of 32"):
        part_shapes(48, 64, GptqSettings())


def test_settings_count_groups() -> None:
    assert GptqSettings(group_size=-1).groups(100) == 1
    assert GptqSettings(group_size=64).groups(100) == 2
    assert GptqSettings(group_size=64).group_index(100).tolist() == [0] * 64 + [1] * 36
    layer = random_layer(0, GptqSettings(group_size=64), 32, 96)
    assert (layer.in_order, layer.run_length, layer.symmetric) == (True, 64, True)
    assert not random_layer(0, GptqSettings(group_size=32, act_order=True), 32, 96).in_order

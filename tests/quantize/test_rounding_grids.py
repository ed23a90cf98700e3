"""Rounding on llama.cpp's grids: blocks, nearest, and compensation."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from gguf.quants import dequantize

from models.errors import InternalError, ModelError
from quantize.rounding.compensation import GridRounder
from quantize.rounding.ggml_layouts import LAYOUTS, read_scales, write
from quantize.rounding.nearest import NearestRounder, fitting_type, quantize_rows
from quantize.rounding.rounder import Floats, GgufBlocks

KINDS = sorted(LAYOUTS)
NAME = "blk.0.ffn_down.weight"


def matrix(rows: int, columns: int, seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((rows, columns)) * rng.uniform(0.01, 0.1, (rows, 1))).astype(np.float32)


def correlated_hessian(columns: int, seed: int = 1, samples: int = 2000) -> Floats:
    """Of inputs that depend on one another, some far larger than others, as in a network."""
    rng = np.random.default_rng(seed)
    mixture = rng.standard_normal((columns, columns)) * rng.uniform(0.05, 1, columns)
    inputs = rng.standard_normal((samples, columns)) @ mixture.T * np.exp(0.7 * rng.standard_normal(columns))
    return (2 * inputs.T @ inputs / samples).astype(np.float32)


def quadratic_loss(weights: Floats, rounded: Floats, hessian: Floats) -> float:
    errors = (weights - rounded).astype(np.float64)
    return float(np.einsum("rc,cd,rd->", errors, hessian.astype(np.float64), errors, optimize=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_blocks_of_ggml_are_read_and_written_bit_for_bit(kind: str, weighted: bool) -> None:
    weights = matrix(6, 512)
    importance = np.random.default_rng(2).uniform(0.1, 1, 512).astype(np.float32) if weighted else None
    layout = LAYOUTS[kind]
    data = quantize_rows(kind, weights, importance).reshape(-1, layout.bytes)
    scales = read_scales(layout, data)
    meant = dequantize(data, GGMLQuantizationType[kind]).reshape(-1, layout.block)
    per_column = np.repeat(np.arange(layout.groups), layout.group)
    scale = (scales.d.astype(np.float32)[:, None] * scales.s)[:, per_column]
    minimum = (scales.e.astype(np.float32)[:, None] * scales.z)[:, per_column]
    assert (scale != 0).all()
    integers, values = layout.levels.nearest((meant + minimum) / scale)
    assert np.array_equal(values * scale - minimum, meant)
    assert np.array_equal(layout.levels.values(integers), values)
    assert np.array_equal(write(layout, scales, integers), data)


@pytest.mark.parametrize("kind", KINDS)
def test_compensation_loses_less_than_ggml_with_importance_in_as_many_bytes(kind: str) -> None:
    weights, hessian = matrix(48, 512), correlated_hessian(512)
    nearest = NearestRounder({NAME: kind}).round(NAME, weights, hessian)
    own = GridRounder({NAME: kind}).round(NAME, weights, hessian)
    assert isinstance(own.encoded, GgufBlocks) and isinstance(nearest.encoded, GgufBlocks)
    assert own.encoded.type == kind
    assert own.encoded.data.shape == nearest.encoded.data.shape
    assert own.encoded.data.dtype == np.uint8
    assert np.array_equal(dequantize(own.encoded.data, GGMLQuantizationType[kind]), own.weights)
    assert own.loss < 0.5 * nearest.loss
    assert own.loss == pytest.approx(quadratic_loss(weights, own.weights, hessian), rel=1e-3)
    assert nearest.loss == pytest.approx(quadratic_loss(weights, nearest.weights, hessian), rel=1e-3)


@pytest.mark.parametrize("kind", ["Q2_K", "Q4_K", "Q4_0", "IQ4_NL"])
def test_sweeps_and_a_second_pass_never_raise_the_loss(kind: str) -> None:
    weights, hessian = matrix(48, 512), correlated_hessian(512)
    losses = [
        GridRounder({NAME: kind}, sweeps=sweeps, passes=passes).round(NAME, weights, hessian).loss
        for sweeps, passes in ((0, 1), (1, 1), (3, 1), (3, 2))
    ]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.9 * losses[0]


def test_without_correlation_compensation_has_nothing_to_make_good_but_does_no_harm() -> None:
    weights = matrix(16, 256)
    hessian = np.diag(np.random.default_rng(3).uniform(0.5, 2, 256)).astype(np.float32)
    nearest = NearestRounder({NAME: "Q4_K"}).round(NAME, weights, hessian)
    own = GridRounder({NAME: "Q4_K"}).round(NAME, weights, hessian)
    assert 0.5 * nearest.loss < own.loss < nearest.loss


def test_columns_that_calibration_never_reached_keep_their_weights_nearby() -> None:
    weights, hessian = matrix(16, 256), correlated_hessian(256)
    dead = [3, 64, 65, 255]
    hessian[dead] = 0
    hessian[:, dead] = 0
    own = GridRounder({NAME: "Q6_K"}).round(NAME, weights, hessian)
    assert np.abs(own.weights - weights)[:, dead].max() < 0.1 * np.abs(weights).max()
    nothing = GridRounder({NAME: "Q6_K"}).round(NAME, weights, np.zeros_like(hessian))
    assert np.abs(nothing.weights - weights).max() < 0.1 * np.abs(weights).max()


def test_rows_of_zeros_stay_zero_in_every_type() -> None:
    weights, hessian = matrix(8, 256), correlated_hessian(256)
    weights[2] = 0
    for kind in KINDS:
        own = GridRounder({NAME: kind}).round(NAME, weights, hessian)
        assert (own.weights[2] == 0).all(), kind
        assert np.isfinite(own.weights).all(), kind


def test_fewer_calibration_tokens_than_columns_are_damped() -> None:
    weights = matrix(16, 256)
    hessian = correlated_hessian(256, samples=40)
    own = GridRounder({NAME: "Q4_K"}).round(NAME, weights, hessian)
    nearest = NearestRounder({NAME: "Q4_K"}).round(NAME, weights, hessian)
    assert own.loss < nearest.loss
    not_definite = GridRounder({NAME: "Q4_K"}, damp=0.0).round(NAME, weights, hessian)
    assert np.isfinite(not_definite.weights).all()


def test_rows_that_do_not_fit_a_type_fall_back_as_in_llama_cpp() -> None:
    assert fitting_type("Q4_K", 512) == "Q4_K"
    assert [fitting_type(kind, 96) for kind in ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS")] == [
        "IQ4_NL", "IQ4_NL", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL",
    ]  # fmt: skip
    assert fitting_type("Q4_K", 40) == fitting_type("Q8_0", 40) == "F16"
    rounder = GridRounder({NAME: "Q4_K"})
    assert rounder.type_of("other", 512) == ""
    with pytest.raises(InternalError, match="other"):
        rounder.round("other", matrix(8, 96), correlated_hessian(96))
    own = rounder.round(NAME, matrix(8, 96), correlated_hessian(96))
    assert isinstance(own.encoded, GgufBlocks)
    assert own.encoded.type == "Q5_0"
    plain = rounder.round(NAME, matrix(8, 40), correlated_hessian(40))
    assert isinstance(plain.encoded, GgufBlocks)
    assert plain.encoded.type == "F16"
    assert np.array_equal(plain.weights, matrix(8, 40).astype(np.float16).astype(np.float32))


def test_nearest_writes_what_ggml_writes_with_an_imatrix() -> None:
    weights, hessian = matrix(8, 512), correlated_hessian(512)
    # An imatrix holds the mean of x², half of the Hessian's diagonal.
    imatrix = (np.diagonal(hessian) / 2).astype(np.float32)
    for kind in ("Q2_K", "Q4_K", "Q6_K", "Q4_0", "IQ4_XS"):
        weighted = NearestRounder({NAME: kind}).round(NAME, weights, hessian)
        plain = NearestRounder({NAME: kind}, weighted=False).round(NAME, weights, hessian)
        assert isinstance(weighted.encoded, GgufBlocks) and isinstance(plain.encoded, GgufBlocks)
        assert np.array_equal(weighted.encoded.data, quantize_rows(kind, weights, imatrix)), kind
        assert np.array_equal(plain.encoded.data, quantize_rows(kind, weights)), kind
        assert not np.array_equal(plain.encoded.data, weighted.encoded.data), kind


def test_types_without_a_grid_of_their_own_are_left_to_ggml() -> None:
    weights, hessian = matrix(8, 256), correlated_hessian(256)
    own = GridRounder({NAME: "IQ3_S"}).round(NAME, weights, hessian)
    nearest = NearestRounder({NAME: "IQ3_S"}).round(NAME, weights, hessian)
    assert isinstance(own.encoded, GgufBlocks) and isinstance(nearest.encoded, GgufBlocks)
    assert np.array_equal(own.encoded.data, nearest.encoded.data)


def test_the_key_tells_settings_apart() -> None:
    keys = {
        GridRounder({NAME: "Q4_K"}).key,
        GridRounder({NAME: "Q5_K"}).key,
        GridRounder({NAME: "Q4_K"}, damp=0.1).key,
        GridRounder({NAME: "Q4_K"}, sweeps=1).key,
        NearestRounder({NAME: "Q4_K"}).key,
        NearestRounder({NAME: "Q4_K"}, weighted=False).key,
    }
    assert len(keys) == 6
    assert GridRounder({NAME: "Q4_K", "b": "Q6_K"}).key == GridRounder({"b": "Q6_K", NAME: "Q4_K"}).key


@pytest.mark.parametrize("rounder", [GridRounder({NAME: "Q4_K"}), NearestRounder({NAME: "Q4_K"})])
def test_what_is_no_number_is_refused_by_name(rounder: GridRounder | NearestRounder) -> None:
    weights, hessian = matrix(8, 256), correlated_hessian(256)
    broken = weights.copy()
    broken[1, 2] = np.nan
    with pytest.raises(ModelError, match=f"{NAME} holds NaN"):
        rounder.round(NAME, broken, hessian)
    endless = hessian.copy()
    endless[3, 3] = np.inf
    with pytest.raises(ModelError, match=f"reach {NAME}"):
        rounder.round(NAME, weights, endless)
    with pytest.raises(ModelError, match="512 inputs, but it has 256"):
        rounder.round(NAME, weights, correlated_hessian(512))


def test_memory_stays_within_a_few_hessians_and_a_few_matrices() -> None:
    rows, columns = 512, 1024
    weights, hessian = matrix(rows, columns), correlated_hessian(columns)
    tracemalloc.start()
    GridRounder({NAME: "Q4_K"}, sweeps=1).round(NAME, weights, hessian)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * (hessian.nbytes * 2) + 12 * weights.nbytes

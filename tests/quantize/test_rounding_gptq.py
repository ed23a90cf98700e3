"""GPTQ in numpy, against a plain transcription of the paper's algorithm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from models.errors import ModelError
from models.gptq.layer import GptqLayer, GptqSettings
from quantize.rounding.gptq import GptqRounder
from quantize.rounding.group_grid import GroupGrid
from quantize.rounding.hessian import damped, factor
from quantize.rounding.passes import Reordered, round_columns
from quantize.rounding.rounder import Floats
from tests.quantize.test_rounding_grids import correlated_hessian, matrix, quadratic_loss

NAME = "blk.0.attn_q.weight"
Doubles = npt.NDArray[np.float64]


def rounded_as_in_the_paper(
    weights: Floats, hessian: Floats, scales: Doubles, zeros: Doubles, length: int, bits: int, damp: float
) -> npt.NDArray[np.uint8]:
    """GPTQ (arXiv 2210.17323, algorithm 1) column by column, with the inverse of H and no blocks, on given scales."""
    columns = weights.shape[1]
    full = hessian.astype(np.float64) + damp * np.mean(np.diagonal(hessian)) * np.eye(columns)
    upper = np.linalg.cholesky(np.linalg.inv(full)).T
    current = weights.astype(np.float64).copy()
    integers = np.zeros(weights.shape, np.uint8)
    for column in range(columns):
        scale, zero = scales[:, column // length], zeros[:, column // length]
        integer = np.clip(np.rint(current[:, column] / scale + zero), 0, (1 << bits) - 1)
        integers[:, column] = integer
        error = (current[:, column] - (integer - zero) * scale) / upper[column, column]
        current[:, column:] -= np.outer(error, upper[column, column:])
    return integers


@pytest.mark.parametrize(("bits", "symmetric"), [(4, True), (4, False), (3, True), (2, False), (8, True)])
def test_one_pass_gives_the_integers_of_the_paper(bits: int, symmetric: bool) -> None:
    weights, hessian = matrix(24, 320), correlated_hessian(320)
    settings = GptqSettings(bits=bits, group_size=64, symmetric=symmetric)
    own = GptqRounder(settings, sweeps=0, passes=1).round(NAME, weights, hessian)
    layer = own.encoded
    assert isinstance(layer, GptqLayer)
    scales, zeros = layer.scales.astype(np.float64), layer.zeros.astype(np.float64)
    expected = rounded_as_in_the_paper(weights, hessian, scales, zeros, 64, bits, settings.damp)
    # A tie that falls the other way in the last digit changes what comes after it in that row, and no other row.
    rows_that_differ = (expected != layer.integers).any(axis=1).sum()
    assert rows_that_differ <= (12 if bits == 8 else 2)
    meant = (expected - zeros[:, np.arange(320) // 64]) * scales[:, np.arange(320) // 64]
    assert own.loss == pytest.approx(quadratic_loss(weights, meant.astype(np.float32), hessian), rel=2e-2)


def nearest(weights: Floats, settings: GptqSettings) -> Floats:
    """AutoGPTQ's grid without compensation: the scale that spans each group."""
    length = weights.shape[1] if settings.group_size == -1 else settings.group_size
    rows, columns = weights.shape
    rounded = np.empty_like(weights)
    highest = (1 << settings.bits) - 1
    for start in range(0, columns, length):
        part = weights[:, start : start + length]
        low, high = np.minimum(part.min(1), 0), np.maximum(part.max(1), 0)
        if settings.symmetric:
            high = np.maximum(-low, high)
            low = -high
        scale = ((high - low) / highest)[:, None]
        zero = np.full((rows, 1), 1 << settings.bits - 1) if settings.symmetric else np.rint(-low[:, None] / scale)
        rounded[:, start : start + length] = (np.clip(np.rint(part / scale + zero), 0, highest) - zero) * scale
    return rounded


@pytest.mark.parametrize(
    "settings",
    [
        GptqSettings(4, 128),
        GptqSettings(4, 32, symmetric=False),
        GptqSettings(3, 128),
        GptqSettings(2, 64, symmetric=False),
        GptqSettings(8, -1),
        GptqSettings(4, 128, act_order=True),
        GptqSettings(4, 128, act_order=True, static_groups=True),
        GptqSettings(4, 100),
    ],
    ids=str,
)
def test_every_setting_loses_less_than_nearest_and_makes_a_sound_matrix(settings: GptqSettings) -> None:
    weights, hessian = matrix(32, 256), correlated_hessian(256)
    own = GptqRounder(settings).round(NAME, weights, hessian)
    layer = own.encoded
    assert isinstance(layer, GptqLayer)
    layer.check(NAME)
    assert layer.bits == settings.bits
    assert layer.scales.shape == layer.zeros.shape == (32, settings.groups(256))
    assert layer.scales.dtype == np.float16 and (layer.scales > 0).all()
    assert layer.integers.max() < 1 << settings.bits
    assert layer.zeros.min() >= 1
    assert layer.symmetric or not settings.symmetric
    assert np.array_equal(layer.weights(), own.weights)
    assert own.loss == pytest.approx(quadratic_loss(weights, own.weights, hessian), rel=1e-3)
    assert own.loss < 0.6 * quadratic_loss(weights, nearest(weights, settings), hessian)
    in_runs = not settings.act_order or settings.static_groups
    assert np.array_equal(layer.group_index, settings.group_index(256)) == in_runs


def test_act_order_puts_the_columns_that_weigh_most_into_the_first_groups() -> None:
    hessian = correlated_hessian(256)
    own = GptqRounder(GptqSettings(4, 64, act_order=True)).round(NAME, matrix(8, 256), hessian)
    assert isinstance(own.encoded, GptqLayer)
    weight = np.diagonal(hessian)
    index = own.encoded.group_index
    assert np.bincount(index).tolist() == [64] * 4
    for group in range(3):
        assert weight[index == group].min() >= weight[index == group + 1].max()


def test_more_bits_lose_less_and_sweeps_help() -> None:
    weights, hessian = matrix(16, 256), correlated_hessian(256)
    losses = [GptqRounder(GptqSettings(bits)).round(NAME, weights, hessian).loss for bits in (2, 3, 4, 8)]
    assert losses == sorted(losses, reverse=True)
    settings = GptqSettings(3)
    plain = GptqRounder(settings, sweeps=0, passes=1).round(NAME, weights, hessian).loss
    swept = GptqRounder(settings, sweeps=3, passes=1).round(NAME, weights, hessian).loss
    twice = GptqRounder(settings, sweeps=3, passes=2).round(NAME, weights, hessian).loss
    assert twice <= swept < 0.9 * plain


def test_every_row_is_as_good_alone_as_among_others() -> None:
    weights, hessian = matrix(12, 256), correlated_hessian(256)
    single = damped(hessian, 0.01)
    upper, second = factor(single.copy()), Reordered.by_weight(single)

    def integers(part: Floats) -> npt.NDArray[np.uint8]:
        by_column = np.ascontiguousarray(part.T)
        grid = GroupGrid(4, True, 256, len(part), 64)
        return round_columns(by_column, single.astype(np.float32), upper, grid, second, 2)

    together = integers(weights)
    apart = np.concatenate([integers(weights[:5]), integers(weights[5:])], axis=1)
    assert (together != apart).any(axis=0).sum() <= 2


def test_zeros_and_tiny_weights_have_a_scale_that_can_be_stored() -> None:
    weights, hessian = matrix(8, 128), correlated_hessian(128)
    weights[0] = 0
    weights[1] *= 1e-7
    for settings in (GptqSettings(4, 32), GptqSettings(4, 32, symmetric=False)):
        own = GptqRounder(settings).round(NAME, weights, hessian)
        assert isinstance(own.encoded, GptqLayer)
        own.encoded.check(NAME)
        assert (own.weights[0] == 0).all()
        assert np.abs(own.weights[1]).max() <= 1e-4


def test_what_is_no_number_is_refused_by_name_and_keys_differ() -> None:
    weights, hessian = matrix(8, 128), correlated_hessian(128)
    weights[0, 0] = np.inf
    with pytest.raises(ModelError, match=NAME):
        GptqRounder(GptqSettings()).round(NAME, weights, hessian)
    usual = GptqSettings()
    variants = [usual, replace(usual, bits=3), replace(usual, group_size=32), replace(usual, symmetric=False)]
    variants += [replace(usual, act_order=True), replace(usual, act_order=True, static_groups=True)]
    variants += [replace(usual, damp=0.05)]
    keys = [GptqRounder(settings).key for settings in variants]
    assert len(set(keys)) == len(keys)
    assert GptqRounder(usual, names=("a",)).type_of("a", 256) == "GPTQ-4"
    assert GptqRounder(usual, names=("a",)).type_of("b", 256) == ""

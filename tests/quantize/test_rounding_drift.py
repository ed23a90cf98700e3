"""Weights fitted to inputs that have changed."""

from __future__ import annotations

import numpy as np

from quantize.rounding.drift import corrected
from tests.quantize.test_rounding_grids import matrix


def test_outputs_on_changed_inputs_come_nearer_to_the_old_ones() -> None:
    rng = np.random.default_rng(0)
    weights = matrix(16, 64)
    inputs = (rng.standard_normal((4000, 64)) @ rng.standard_normal((64, 64))).astype(np.float32)
    # A layer before has shrunk and mixed them, and added noise.
    changed = inputs @ (0.9 * np.eye(64) + 0.02 * rng.standard_normal((64, 64))).astype(np.float32)
    changed += rng.standard_normal(changed.shape).astype(np.float32)
    train, test = slice(0, 3000), slice(3000, None)
    hessian = 2 * changed[train].T @ changed[train] / 3000
    cross = 2 * inputs[train].T @ changed[train] / 3000
    fitted = corrected(weights, hessian, cross, damp=0.001)
    assert fitted.dtype == np.float32
    old = inputs[test] @ weights.T
    before = np.square(changed[test] @ weights.T - old).sum()
    after = np.square(changed[test] @ fitted.T - old).sum()
    assert after < 0.6 * before


def test_inputs_that_have_not_changed_leave_weights_as_they_are() -> None:
    rng = np.random.default_rng(1)
    weights = matrix(8, 32)
    inputs = rng.standard_normal((200, 32)).astype(np.float32)
    hessian = 2 * inputs.T @ inputs / 200
    assert np.array_equal(corrected(weights, hessian, hessian.copy()), weights)
    assert np.array_equal(corrected(weights, np.zeros_like(hessian), np.zeros_like(hessian)), weights)


def test_the_more_damping_the_nearer_to_the_weights() -> None:
    rng = np.random.default_rng(2)
    weights = matrix(8, 32)
    inputs = rng.standard_normal((200, 32)).astype(np.float32)
    changed = (0.8 * inputs).astype(np.float32)
    hessian, cross = 2 * changed.T @ changed / 200, 2 * inputs.T @ changed / 200
    steps = [np.abs(corrected(weights, hessian, cross, damp=damp) - weights).max() for damp in (0.001, 0.1, 1.0, 10.0)]
    assert steps == sorted(steps, reverse=True)
    assert np.allclose(corrected(weights, hessian, cross, damp=1e-6), weights / 0.8, rtol=1e-2, atol=1e-4)


def test_what_the_hidden_state_has_lost_is_made_good_as_far_as_inputs_tell() -> None:
    rng = np.random.default_rng(3)
    weights = matrix(16, 32)
    inputs = rng.standard_normal((2000, 32)).astype(np.float32)
    # Half of what is lost follows from the inputs, half does not.
    lost = 0.05 * inputs @ rng.standard_normal((32, 16)) + 0.2 * rng.standard_normal((2000, 16))
    hessian, behind = 2 * inputs.T @ inputs / 2000, (2 * lost.T @ inputs / 2000).astype(np.float32)
    fitted = corrected(weights, hessian, hessian, behind, damp=0.001)
    wanted = inputs @ weights.T + lost
    left = np.square(wanted - inputs @ fitted.T).sum()
    assert left < 0.6 * np.square(lost).sum()
    assert np.array_equal(corrected(weights, hessian, hessian, np.zeros_like(behind)), weights)

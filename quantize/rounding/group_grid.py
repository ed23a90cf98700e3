"""AutoGPTQ's grid: a 16-bit scale and a whole zero point for each group of columns, found by search.

Where AutoGPTQ and gptqmodel take the scale that spans a group's range, and round it to 16 bits when the integers are
already chosen, here the range is also tried smaller, and all is chosen on the scale as it is stored.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from models.gptq.layer import symmetric_zero
from quantize.rounding.grid import Grid, Integers, Levels, Span, spans
from quantize.rounding.quadratic import Quadratic
from quantize.rounding.rounder import Floats

_SHRINKS: Final = tuple(np.arange(1.0, 0.3, -0.03).tolist())
_SMALLEST: Final = np.float32(2.0**-14)
"""Least scale: the smallest 16-bit float that keeps all its digits."""


class GroupGrid:
    """`scales` float16 and `zeros` uint8 (groups, rows), of groups that are runs of `length` columns. `grid` is kept in
    step with them."""

    def __init__(self, bits: int, symmetric: bool, columns: int, rows: int, length: int) -> None:
        self.bits = bits
        self.symmetric = symmetric
        self.length = length
        self.runs = spans(columns, length)
        groups = np.arange(columns, dtype=np.int32) // np.int32(length)
        self.grid = Grid.empty(Levels(1 << bits), groups, rows)
        self.scales = np.zeros((len(self.runs), rows), np.float16)
        self.zeros = np.full((len(self.runs), rows), symmetric_zero(bits), np.uint8)

    def copy(self) -> GroupGrid:
        """With arrays of its own."""
        columns, rows = len(self.grid.groups), self.scales.shape[1]
        other = GroupGrid(self.bits, self.symmetric, columns, rows, self.length)
        other.grid, other.scales, other.zeros = self.grid.copy(), self.scales.copy(), self.zeros.copy()
        return other

    def take(self, other: GroupGrid, rows: npt.NDArray[np.bool_]) -> None:
        """Take the scales of `other` for some rows."""
        for own, better in (
            (self.scales, other.scales),
            (self.zeros, other.zeros),
            (self.grid.scales, other.grid.scales),
            (self.grid.minima, other.grid.minima),
        ):
            own[:, rows] = better[:, rows]

    def fit(self, run: Span, weights: Floats, costs: Floats) -> None:
        """AutoGPTQ's scale, or the smaller one that costs least (see `grid.Fit`)."""
        highest = (1 << self.bits) - 1
        low, high = np.minimum(weights.min(axis=0), 0), np.maximum(weights.max(axis=0), 0)
        if self.symmetric:
            high = np.maximum(-low, high)
            low = -high
        group = run[0] // self.length
        lowest = np.full(weights.shape[1], np.inf, np.float32)
        values = np.empty_like(weights)
        for shrink in _SHRINKS:
            scale = _stored((high - low) * np.float32(shrink / highest))
            zero = np.full_like(scale, symmetric_zero(self.bits))
            if not self.symmetric:
                # A zero point of 0 cannot be stored in AutoGPTQ's format.
                zero = np.clip(np.rint(-low * np.float32(shrink) / scale), 1, highest)
            np.divide(weights, scale, out=values)
            np.rint(values, out=values)
            np.clip(values, -zero, highest - zero, out=values)
            values *= scale
            values -= weights
            np.square(values, out=values)
            cost = costs @ values
            better = cost < lowest
            np.copyto(lowest, cost, where=better)
            np.copyto(self.scales[group], scale.astype(np.float16), where=better)
            np.copyto(self.zeros[group], zero.astype(np.uint8), where=better)
        self._keep_in_step(group)

    def refit(self, run: Span, integers: Integers, gradient: Floats, hessian: Floats) -> Floats:
        """See `grid.Refit`: the best scale with the zero point as it is or, asymmetric, one to either side."""
        group = run[0] // self.length
        scale = self.scales[group].astype(np.float32)
        zero = self.zeros[group].astype(np.float32)
        values = integers.astype(np.float32) - zero
        quadratic = Quadratic(values, gradient, hessian, has_minima=not self.symmetric)
        lowest = np.zeros_like(scale)
        best_scale, best_zero = scale.copy(), zero.copy()
        for by in (0,) if self.symmetric else (0, -1, 1):
            new_zero = np.clip(zero + np.float32(by), 1, (1 << self.bits) - 1)
            new_scale = _stored(scale + quadratic.best_along(scale, new_zero - zero))
            change = quadratic.change(new_scale - scale, new_scale * (new_zero - zero))
            better = change < lowest
            np.copyto(lowest, change, where=better)
            np.copyto(best_scale, new_scale, where=better)
            np.copyto(best_zero, new_zero, where=better)
        self.scales[group], self.zeros[group] = best_scale, best_zero
        self._keep_in_step(group)
        moved: Floats = values * (best_scale - scale) - best_scale * (best_zero - zero)
        return moved

    def _keep_in_step(self, group: int) -> None:
        scale = self.scales[group].astype(np.float32)
        self.grid.scales[group] = scale
        self.grid.minima[group] = scale * self.zeros[group]


def _stored(scale: Floats) -> Floats:
    """As a 16-bit float keeps it, and no smaller than it can keep well."""
    with np.errstate(over="ignore"):
        kept = np.maximum(scale, _SMALLEST).astype(np.float16).astype(np.float32)
    return np.minimum(kept, np.float32(np.finfo(np.float16).max))

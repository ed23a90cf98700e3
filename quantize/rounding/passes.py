"""A matrix rounded on a grid: error feedback, sweeps of descent, and both again on the scales that came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from quantize.rounding.descent import descend
from quantize.rounding.feedback import BLOCK, feed_back
from quantize.rounding.grid import Grid, Integers, Span, spans
from quantize.rounding.hessian import factor, loss
from quantize.rounding.rounder import Floats

ROWS: Final = 4096
"""Rows worked on at once, for the sake of memory; rows do not know of one another."""


class Scaled(Protocol):
    """A grid whose scales are of some form: `runs` are the columns whose scales are found together; `fit` and `refit`
    as in `quantize.rounding.grid`."""

    grid: Grid
    runs: list[Span]

    def fit(self, run: Span, weights: Floats, costs: Floats) -> None:
        """Find scales for weights."""
        ...

    def refit(self, run: Span, integers: Integers, gradient: Floats, hessian: Floats) -> Floats:
        """Find better ones for integers."""
        ...

    def copy(self) -> Self:
        """With arrays of its own."""
        ...

    def take(self, other: Self, rows: npt.NDArray[np.bool_]) -> None:
        """Take the scales of `other` for some rows."""
        ...


@dataclass(frozen=True, eq=False)
class Reordered:
    """Columns in another order, on a grid that is known: `order` (columns,), and the factor in that order."""

    order: npt.NDArray[np.int64]
    upper: Floats

    @classmethod
    def by_weight(cls, hessian: npt.NDArray[Any]) -> Reordered:
        """Columns that weigh most first, so that all others can make up for them."""
        order = np.argsort(-np.diagonal(hessian), kind="stable")
        return cls(order, factor(hessian[np.ix_(order, order)]))

    def feed_back(self, weights: Floats, grid: Grid) -> tuple[Integers, Floats]:
        """Integers and errors in the columns' own order."""
        own = Grid(grid.levels, grid.groups[self.order], grid.scales, grid.minima)
        runs = spans(len(weights), BLOCK)
        reordered, errors_reordered = feed_back(weights[self.order], self.upper, own, runs, None)
        integers, errors = np.empty_like(reordered), np.empty_like(errors_reordered)
        integers[self.order], errors[self.order] = reordered, errors_reordered
        return integers, errors


AnyScaled = TypeVar("AnyScaled", bound=Scaled)


def round_columns(
    weights: Floats, hessian: Floats, upper: Floats, scaled: AnyScaled, second: Reordered | None, sweeps: int
) -> Integers:
    """The integers (columns, rows) of `weights` (columns, rows); the scales are left in `scaled`.

    `hessian`, damped, and its factor `upper`. `second`: the order of a second pass; each row keeps the better outcome.
    `sweeps`: of descent after each pass.
    """
    integers, errors = feed_back(weights, upper, scaled.grid, scaled.runs, scaled.fit)
    for _ in range(sweeps):
        descend(weights, hessian, scaled.grid, scaled.runs, integers, errors, scaled.refit)
    if second is not None:
        other = scaled.copy()
        other_integers, other_errors = second.feed_back(weights, other.grid)
        for _ in range(sweeps):
            descend(weights, hessian, other.grid, other.runs, other_integers, other_errors, other.refit)
        better = loss(hessian, other_errors) < loss(hessian, errors)
        scaled.take(other, better)
        integers[:, better] = other_integers[:, better]
    return integers

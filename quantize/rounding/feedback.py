"""Columns rounded one after the other, each at the value that makes up for the errors before it.

Method: Frantar et al., GPTQ, arXiv 2210.17323, in the form of Chee et al., QuIP (arXiv 2307.13304, LDLQ), which gives
the same integers: a column is rounded at its weight plus what the errors of the columns before it ask of it. Columns
are taken in blocks, so that almost all of the work is products of matrices.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from quantize.rounding.grid import Fit, Grid, Integers, Span
from quantize.rounding.rounder import Floats

BLOCK: Final = 256
_INNER: Final = 64


def feed_back(
    weights: Floats, factor: Floats, grid: Grid, runs: list[Span], fit: Fit | None
) -> tuple[Integers, Floats]:
    """Integers and errors (weight − rounded), both (columns, rows), of `weights` (columns, rows) in their order.

    `factor`: R of `quantize.rounding.hessian`, of the same order. `runs`: spans of columns whose scales are found
    together by `fit`, on the weights as the errors so far have changed them; without `fit` the grid is taken as it is.
    """
    columns, rows = weights.shape
    integers = np.empty((columns, rows), np.uint8)
    errors = np.empty((columns, rows), np.float32)
    for block in blocks(runs):
        start, end = block[0][0], block[-1][1]
        carried = factor[:start, start:end].T @ errors[:start]
        for run in block:
            first, last = run
            here = carried[first - start : last - start]
            if first > start:
                here += factor[start:first, first:last].T @ errors[start:first]
            if fit is not None:
                fit(run, _as_changed(weights[first:last], factor[first:last, first:last], here), _costs(factor, run))
            _round_run(weights, factor, grid, run, here, integers, errors)
    return integers, errors


def _round_run(
    weights: Floats, factor: Floats, grid: Grid, run: Span, carried: Floats, integers: Integers, errors: Floats
) -> None:
    """Round the columns of `run`; `carried`: e R of the columns before it."""
    first, last = run
    for start in range(first, last, _INNER):
        end = min(start + _INNER, last)
        here = carried[start - first : end - first]
        if start > first:
            here = here + factor[first:start, start:end].T @ errors[first:start]
        # Rows of the transpose are what a column owes to those before it.
        owed = np.ascontiguousarray(factor[start:end, start:end].T)
        for column in range(start, end):
            own = owed[column - start]
            wanted = own[: column - start] @ errors[start:column]
            wanted += here[column - start]
            wanted /= own[column - start]
            wanted += weights[column]
            integers[column], rounded = grid.nearest(column, wanted)
            np.subtract(weights[column], rounded, out=errors[column])


def _as_changed(weights: Floats, factor: Floats, carried: Floats) -> Floats:
    """The weights of a run that would make up for all errors before it: e R = 0 there, solved for the run's own e."""
    if not carried.any():
        return weights
    changed: Floats = weights + np.linalg.solve(factor.T, carried)
    return changed


def _costs(factor: Floats, run: Span) -> Floats:
    """What an error of each column costs when the columns after it make up for it as well as they can."""
    costs: Floats = np.diagonal(factor)[run[0] : run[1]] ** 2
    return costs


def blocks(runs: list[Span]) -> list[list[Span]]:
    """Runs together, up to BLOCK columns (more where a run alone is longer)."""
    together: list[list[Span]] = []
    for run in runs:
        if together and run[1] - together[-1][0][0] <= BLOCK:
            together[-1].append(run)
        else:
            together.append([run])
    return together

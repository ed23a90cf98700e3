"""Rounded columns taken up again, one at a time: each at the integer that is best with all others as they are.

The loss e H eᵀ is quadratic in every column's error, so that the best weight of one column is known in closed form, and
the nearest value of the grid is the best one; the loss never rises. Scales are fitted again by the same rule, group by
group.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from quantize.rounding.feedback import blocks
from quantize.rounding.grid import Grid, Integers, Refit, Span
from quantize.rounding.rounder import Floats

_INNER: Final = 64


def descend(
    weights: Floats,
    hessian: Floats,
    grid: Grid,
    runs: list[Span],
    integers: Integers,
    errors: Floats,
    refit: Refit | None = None,
) -> None:
    """One sweep over all columns; `integers` and `errors` (columns, rows) are changed in place, and by `refit` the
    grid's scales."""
    for block in blocks(runs):
        start, end = block[0][0], block[-1][1]
        gradient = hessian[start:end] @ errors
        if refit is not None:
            for first, last in block:
                own = hessian[first:last, first:last]
                change = refit((first, last), integers[first:last], gradient[first - start : last - start], own)
                errors[first:last] -= change
                gradient -= hessian[start:end, first:last] @ change
        _sweep(weights, hessian, grid, (start, end), gradient, integers, errors)


def _sweep(
    weights: Floats, hessian: Floats, grid: Grid, block: Span, gradient: Floats, integers: Integers, errors: Floats
) -> None:
    first, last = block
    # By how much the errors of this block have changed since the gradient was worked out.
    moved = np.zeros((last - first, weights.shape[1]), np.float32)
    for start in range(first, last, _INNER):
        end = min(start + _INNER, last)
        here = gradient[start - first : end - first]
        if start > first:
            here = here + hessian[start:end, first:start] @ moved[: start - first]
        near = np.ascontiguousarray(hessian[start:end, start:end])
        for column in range(start, end):
            own = near[column - start]
            wanted = own[: column - start] @ moved[start - first : column - first]
            wanted += here[column - start]
            wanted /= own[column - start]
            wanted -= errors[column]
            wanted += weights[column]
            integers[column], rounded = grid.nearest(column, wanted)
            error = weights[column] - rounded
            np.subtract(error, errors[column], out=moved[column - first])
            errors[column] = error

"""The Hessian of a matrix's loss: checked, damped, and factored.

The loss of a row is e H eᵀ, with e the row's error. With H = R Rᵀ and R upper triangular it is |e R|², a sum of one
square a column, each of which depends on that column's error and on those before it: so columns can be rounded one
after the other, each at the value that makes up for what was lost so far. The same as GPTQ's (arXiv 2210.17323) way
through the Cholesky factor of H⁻¹, which is R⁻ᵀ; but nothing has to be inverted.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.errors import ModelError
from quantize.rounding.rounder import Floats, Hessian

_DOUBLE_UP_TO: Final = 4096
"""Columns up to which the factor is worked out in float64; beyond, time and memory count."""
_TRIES: Final = 8


def check(name: str, weights: Floats, hessian: Hessian) -> None:
    """Raises ModelError where the matrix or the Hessian of the tensor `name` cannot be worked with."""
    rows, columns = weights.shape if weights.ndim == 2 else (0, 0)
    if rows == 0 or columns == 0:
        raise ModelError(f"{name} is no matrix (its shape is {weights.shape}); leave it as it is.")
    if hessian.shape != (columns, columns):
        raise ModelError(
            f"The calibration of {name} is for {hessian.shape[0]} inputs, but it has {columns}; calibrate again."
        )
    if not np.isfinite(weights).all():
        raise ModelError(f"{name} holds NaN or infinity: the model is damaged; fetch it again.")
    if not np.isfinite(hessian).all():
        raise ModelError(
            f"The activations that reach {name} hold NaN or infinity: the model overflows on the calibration text; "
            "check that it answers at all, or calibrate on other text."
        )


def damped(hessian: Hessian, damp: float) -> npt.NDArray[Any]:
    """A copy, symmetric, with `damp` × the mean of its diagonal added to the diagonal; float64 up to 4096 columns, else
    float32. All zeros: the identity."""
    columns = len(hessian)
    copy = hessian.astype(np.float64 if columns <= _DOUBLE_UP_TO else np.float32)
    mean = float(np.mean(np.diagonal(copy), dtype=np.float64))
    _add_to_diagonal(copy, damp * mean if mean > 0 else 1.0)
    return copy


def factor(hessian: npt.NDArray[Any]) -> Floats:
    """R, upper triangular, float32, with R Rᵀ = `hessian`; where that is not positive definite, more is added to its
    diagonal, in place, until it is. Raises ModelError if it never is."""
    more = 0.01 * float(np.mean(np.diagonal(hessian), dtype=np.float64))
    for _ in range(_TRIES):
        try:
            # Of the Hessian read backwards, the lower factor read backwards is the upper one.
            lower = np.linalg.cholesky(hessian[::-1, ::-1])
        except np.linalg.LinAlgError:
            lower = None
        if lower is not None and np.isfinite(lower[-1]).all():
            return np.ascontiguousarray(lower[::-1, ::-1], dtype=np.float32)
        _add_to_diagonal(hessian, more)
        more *= 4
    raise ModelError(
        "The calibration of a matrix is no sum of squares, however much it is damped; calibrate again, on more text."
    )


def loss(hessian: Hessian, errors: Floats) -> npt.NDArray[np.float64]:
    """e H eᵀ of each row: `errors` (columns, rows) gives (rows,)."""
    product = hessian.astype(np.float32, copy=False) @ errors
    product *= errors
    total: npt.NDArray[np.float64] = np.sum(product, axis=0, dtype=np.float64)
    return total


def _add_to_diagonal(matrix: npt.NDArray[Any], share: float) -> None:
    np.einsum("ii->i", matrix)[:] += share

"""Weights that make up for inputs which earlier layers, rounded already, have changed.

Rounded parts hand on inputs x̂ in place of x. The weights that come nearest to the old outputs W x on them are
W C (Ĥ + λ)⁻¹ with C the mean of 2 x x̂ᵀ and Ĥ that of 2 x̂ x̂ᵀ: a regression, done before rounding. Idea: Li et al.,
GPTAQ, arXiv 2504.02692 (there within GPTQ's own loop).
"""

from __future__ import annotations

import numpy as np

from quantize.rounding.hessian import damped
from quantize.rounding.rounder import Floats, Hessian


def corrected(
    weights: Floats, hessian: Hessian, cross: Hessian, behind: Hessian | None = None, damp: float = 0.05
) -> Floats:
    """`weights` float32 (rows, columns) fitted to inputs that have changed: float32, of the same shape.

    `hessian` (columns, columns): the mean of 2 x̂ x̂ᵀ; `cross`: that of 2 x x̂ᵀ, the unchanged input first. The same
    tokens in both. `behind` (rows, columns), of matrices whose outputs are added to the hidden state: the mean of
    2 r x̂ᵀ, with r that state, before they are added, as it was, less as it has become; they then make up for that too,
    as far as their inputs tell of it. `damp`: share of the mean of the diagonal that is added to it; the more, the
    nearer to `weights`.
    """
    own = damped(hessian, damp)
    drift = (cross - hessian).astype(own.dtype, copy=False)
    wanted = drift.T @ weights.T.astype(own.dtype, copy=False)
    if behind is not None:
        wanted += behind.T.astype(own.dtype, copy=False)
    # W (C − Ĥ) (Ĥ + λ)⁻¹, transposed: what is added to the weights.
    change = np.linalg.solve(own, wanted)
    fitted: Floats = (weights + change.T).astype(np.float32)
    return fitted

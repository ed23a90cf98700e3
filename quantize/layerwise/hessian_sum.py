"""The Hessian of a matrix's loss, summed up over its inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import ModelError

Floats = npt.NDArray[np.float32]

ROWS = 2048
"""Inputs that are multiplied at once: enough for the arithmetic to outweigh adding up the results."""
_DOUBLE_UP_TO = 4096
"""Columns up to which sums are kept in float64; beyond, memory counts, and a sum of few thousand terms of one sign
loses nothing that damping does not exceed by far."""


class HessianSum:
    """Sum of w x xᵀ over inputs x; `columns` values each."""

    def __init__(self, columns: int) -> None:
        self._total = np.zeros((columns, columns), np.float64 if columns <= _DOUBLE_UP_TO else np.float32)
        self._held: list[Floats] = []
        self._rows = 0
        self._weight = 0.0

    def add(self, inputs: Floats, weights: Floats | None = None) -> None:
        """Add inputs (tokens, columns), each with its weight (tokens,); None: 1."""
        if weights is not None:
            inputs = inputs * np.sqrt(weights)[:, None]
        self._weight += float(len(inputs) if weights is None else weights.sum(dtype=np.float64))
        self._held.append(inputs)
        self._rows += len(inputs)
        if self._rows >= ROWS:
            self._flush()

    def mean(self, name: str) -> npt.NDArray[np.float32] | npt.NDArray[np.float64]:
        """2 × the mean, (columns, columns). Raises ModelError where `name`'s inputs were none, or hold NaN."""
        self._flush()
        if self._weight <= 0:
            raise ModelError(f"No calibration token reached {name}; calibrate on a longer text.")
        self._total *= 2.0 / self._weight
        if not np.isfinite(np.diagonal(self._total)).all():
            raise ModelError(
                f"The activations that reach {name} hold NaN or infinity: the model overflows on the calibration text; "
                "check that it answers at all, or calibrate on other text."
            )
        return self._total

    def _flush(self) -> None:
        if self._held:
            inputs = np.concatenate(self._held) if len(self._held) > 1 else self._held[0]
            self._held, self._rows = [], 0
            self._total += inputs.T @ inputs  # numpy hands the product with its own transpose to syrk


class DriftSum:
    """How inputs, and the states that outputs are added to, differ from those of the unrounded model: the sums of
    w x x̂ᵀ and of w (r − r̂) x̂ᵀ, hats on what the rounded model has. See `quantize.rounding.drift`."""

    def __init__(self, columns: int, rows: int = 0) -> None:
        kind = np.float64 if columns <= _DOUBLE_UP_TO else np.float32
        self._cross = np.zeros((columns, columns), kind)
        self._behind = np.zeros((rows, columns), kind) if rows else None
        self._weight = 0.0

    def add(
        self,
        reference: Floats,
        inputs: Floats,
        states: tuple[Floats, Floats] | None,
        weights: Floats | None = None,
    ) -> None:
        """Add inputs (tokens, columns) of both; `states`: (tokens, rows) of the unrounded and of the rounded model,
        where rows were asked for; `weights` of the tokens (None: 1)."""
        weighted = inputs if weights is None else inputs * weights[:, None]
        self._weight += float(len(inputs) if weights is None else weights.sum(dtype=np.float64))
        self._cross += reference.T @ weighted
        if self._behind is not None and states is not None:
            self._behind += (states[0] - states[1]).T @ weighted

    def means(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
        """2 × the means of both."""
        scale = 2.0 / max(self._weight, 1e-30)
        self._cross *= scale
        if self._behind is not None:
            self._behind *= scale
        return self._cross, self._behind

"""What every way of rounding a matrix takes and gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from models.gptq.layer import GptqLayer

Floats = npt.NDArray[np.float32]
Hessian = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class GgufBlocks:
    """A matrix in a ggml type: `data` uint8 (rows, bytes of a row), as it stands in a GGUF file."""

    type: str
    data: npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Rounded:
    """A matrix after rounding.

    `weights`: float32 (rows, columns), what `encoded` stands for, exactly. `loss`: the sum over rows of e H eᵀ with
    e = weights before − after and H the Hessian as it was given.
    """

    weights: Floats
    encoded: GgufBlocks | GptqLayer
    loss: float


class Rounder(Protocol):
    """A way of rounding."""

    @property
    def key(self) -> str:
        """All that decides the outcome for the same matrix and Hessian, in one line: what was made under another key is
        of no use to this one."""
        ...

    def type_of(self, name: str, columns: int) -> str:
        """The type that the tensor `name`, with rows of `columns`, gets: a ggml type, or GPTQ with its bits. Empty:
        the tensor stays as it is."""
        ...

    def round(self, name: str, weights: Floats, hessian: Hessian) -> Rounded:
        """`weights` float32 (rows, columns) rounded so that what it makes of inputs x changes least; `hessian`
        (columns, columns): the mean of 2 x xᵀ over the calibration tokens. Raises ModelError, which names the tensor,
        where either holds NaN or infinity."""
        ...

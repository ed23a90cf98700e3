"""A GPTQ-quantized matrix, and the settings of the run that made it.

Method: Frantar et al., GPTQ, arXiv 2210.17323. Layout of the checkpoints: AutoGPTQ 0.7.1 (`models.gptq.layout`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from models.errors import ModelError

BITS: Final = (2, 3, 4, 8)


@dataclass(frozen=True, eq=False)
class GptqLayer:
    """One matrix as integers: weight (row, column) = scale of its group × (integer − zero of its group).

    `integers`: uint8 (rows, columns), 0 to 2^bits − 1, in the matrix's own order of columns (outputs × inputs, as
    `nn.Linear.weight`). `scales`: float16 (rows, groups). `zeros`: uint8 (rows, groups), the true zero point, not the
    stored one; 1 to 2^bits − 1, for the layout stores one less and readers disagree on what wraps around. Symmetric:
    2^(bits − 1) everywhere. `group_index`: int32 (columns,), the group of each column.
    """

    bits: int
    integers: npt.NDArray[np.uint8]
    scales: npt.NDArray[np.float16]
    zeros: npt.NDArray[np.uint8]
    group_index: npt.NDArray[np.int32]

    @property
    def rows(self) -> int:
        """Outputs."""
        return int(self.integers.shape[0])

    @property
    def columns(self) -> int:
        """Inputs."""
        return int(self.integers.shape[1])

    @property
    def groups(self) -> int:
        """How many scales a row has."""
        return int(self.scales.shape[1])

    @property
    def symmetric(self) -> bool:
        """Whether every zero point is the middle of the range."""
        return bool((self.zeros == symmetric_zero(self.bits)).all())

    @property
    def run_length(self) -> int:
        """Columns before the second group begins: the group size where groups are runs of columns."""
        others = np.flatnonzero(self.group_index != self.group_index[0])
        return int(others[0]) if len(others) else self.columns

    @property
    def in_order(self) -> bool:
        """Whether groups are runs of columns of one length, the last maybe shorter: no act-order, or static groups."""
        return np.array_equal(self.group_index, np.arange(self.columns) // self.run_length)

    def weights(self) -> npt.NDArray[np.float32]:
        """What the integers stand for, float32 (rows, columns)."""
        index = self.group_index
        centred = self.integers.astype(np.float32) - self.zeros.astype(np.float32)[:, index]
        return centred * self.scales.astype(np.float32)[:, index]

    def check(self, name: str) -> None:
        """Raises ModelError where shapes, ranges or group numbers cannot be those of a GPTQ matrix called `name`."""
        fault = self._fault()
        if fault:
            raise ModelError(f"The GPTQ matrix {name} is unsound: {fault}; fetch or make the checkpoint again.")

    def _fault(self) -> str:
        if self.bits not in BITS:
            return f"it has {self.bits} bits, not 2, 3, 4 or 8"
        if self.integers.ndim != 2 or 0 in self.integers.shape or self.scales.ndim != 2 or self.groups == 0:
            return "its tensors are no matrices"
        if self.scales.shape != self.zeros.shape or self.scales.shape[0] != self.rows:
            return "its scales and zeros do not fit its rows"
        if self.group_index.shape != (self.columns,):
            return "its group numbers do not fit its columns"
        if int(self.group_index.min()) < 0 or int(self.group_index.max()) >= self.groups:
            return "a column names a group that is not there"
        if not np.isfinite(self.scales).all():
            return "a scale is no number"
        if int(self.integers.max()) >= 1 << self.bits:
            return f"an integer does not fit {self.bits} bits"
        return ""


@dataclass(frozen=True)
class GptqSettings:
    """How matrices are rounded. `group_size` in columns, −1: a whole row. `act_order`: columns in falling order of
    activation; `static_groups`: groups are laid out before that order, so that they stay runs of columns.
    `true_sequential`: each part of a layer sees the rounded parts before it. `damp`: share of the mean of the Hessian's
    diagonal that is added to it."""

    bits: int = 4
    group_size: int = 128
    symmetric: bool = True
    act_order: bool = False
    static_groups: bool = False
    true_sequential: bool = True
    damp: float = 0.01

    def groups(self, columns: int) -> int:
        """How many groups a row of so many columns has."""
        return 1 if self.group_size == -1 else -(-columns // self.group_size)

    def group_index(self, columns: int) -> npt.NDArray[np.int32]:
        """The group of each column where groups are runs of columns: int32 (columns,)."""
        size = columns if self.group_size == -1 else self.group_size
        return (np.arange(columns) // size).astype(np.int32)


def symmetric_zero(bits: int) -> int:
    """The zero point in the middle of the range."""
    return 1 << (bits - 1)

"""GPTQ in numpy: matrices rounded to AutoGPTQ's form with the errors made good (Frantar et al., arXiv 2210.17323).

Three things are done beyond the paper: integers are chosen on scales as they are stored, scales are searched and fitted
again to the integers, and all is taken up again in sweeps that never raise the loss (`quantize.rounding.passes`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from models.gptq.layer import GptqLayer, GptqSettings
from quantize.rounding.group_grid import GroupGrid
from quantize.rounding.hessian import check, damped, factor, loss
from quantize.rounding.passes import ROWS, Reordered, round_columns
from quantize.rounding.rounder import Floats, Hessian, Rounded


@dataclass(frozen=True)
class GptqRounder:
    """`settings` as in `models.gptq.layer`; act-order without static groups makes groups of the columns that weigh
    most. `names`: the tensors to round; None: all. `sweeps`, `passes`: see `GridRounder`."""

    settings: GptqSettings
    names: Collection[str] | None = None
    sweeps: int = 2
    passes: int = 2

    @property
    def key(self) -> str:
        """See `Rounder.key`."""
        own = self.settings
        listed = "" if self.names is None else ",".join(sorted(self.names))
        return (
            f"gptq 1 bits={own.bits} group_size={own.group_size} symmetric={own.symmetric} act_order={own.act_order} "
            f"static_groups={own.static_groups} damp={own.damp} sweeps={self.sweeps} passes={self.passes} {listed}"
        )

    def type_of(self, name: str, columns: int) -> str:
        """See `Rounder.type_of`."""
        return f"GPTQ-{self.settings.bits}" if self.names is None or name in self.names else ""

    def round(self, name: str, weights: Floats, hessian: Hessian) -> Rounded:
        """See `Rounder.round`."""
        check(name, weights, hessian)
        settings, (rows, columns) = self.settings, weights.shape
        own = damped(hessian, settings.damp)
        order = np.arange(columns)
        if settings.act_order and not settings.static_groups:
            order = np.argsort(-np.diagonal(own), kind="stable")
            own = own[np.ix_(order, order)]
        upper = factor(own)
        single = own.astype(np.float32, copy=False)
        del own
        second = Reordered.by_weight(single) if self.passes > 1 else None
        length = columns if settings.group_size == -1 else settings.group_size
        group_index = np.empty(columns, np.int32)
        group_index[order] = np.arange(columns, dtype=np.int32) // np.int32(length)
        groups = settings.groups(columns)
        layer = GptqLayer(
            settings.bits,
            np.empty((rows, columns), np.uint8),
            np.empty((rows, groups), np.float16),
            np.empty((rows, groups), np.uint8),
            group_index,
        )
        total = 0.0
        for start in range(0, rows, ROWS):
            part = slice(start, start + ROWS)
            by_column = np.ascontiguousarray(weights[part].T[order], np.float32)
            scaled = GroupGrid(settings.bits, settings.symmetric, columns, by_column.shape[1], length)
            integers = round_columns(by_column, single, upper, scaled, second, self.sweeps)
            layer.integers[part, order] = integers.T
            layer.scales[part], layer.zeros[part] = scaled.scales.T, scaled.zeros.T
            by_column -= scaled.grid.weights(integers)
            errors = np.empty_like(by_column)
            errors[order] = by_column
            total += float(loss(hessian, errors).sum())
        return Rounded(layer.weights(), layer, total)

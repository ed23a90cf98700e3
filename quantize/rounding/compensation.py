"""GPTQ's error compensation on llama.cpp's own grids: files that stock llama.cpp runs, at the same bytes.

Scales and minima are ggml's own choice for each block, made on the weights as the errors before it have changed them;
the integers are then rounded with error feedback. After that scales and integers are taken up again in turns, in sweeps
that never raise the loss (`quantize.rounding.descent`), and once more from the start on the scales that came of it,
with the columns that weigh most first; each row keeps the better outcome, which is written into ggml's blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from quantize.rounding.block_grid import BlockGrid
from quantize.rounding.ggml_layouts import LAYOUTS
from quantize.rounding.hessian import check, damped, factor, loss
from quantize.rounding.nearest import NearestRounder, fitting_type, weights_of
from quantize.rounding.passes import ROWS, Reordered, round_columns
from quantize.rounding.rounder import Floats, GgufBlocks, Hessian, Rounded


@dataclass(frozen=True)
class GridRounder:
    """`types`: GGUF tensor name → ggml type; tensors of types without a grid of their own (F16, IQ1 to IQ3, TQ, MXFP4)
    are rounded by ggml with the diagonal of the Hessian as importance. `damp`: share of the mean of the Hessian's
    diagonal that is added to it. `sweeps`: of descent after each pass. `passes`: 1, or 2 with one from the start on the
    better scales.
    """

    types: Mapping[str, str]
    damp: float = 0.01
    sweeps: int = 3
    passes: int = 2

    @property
    def key(self) -> str:
        """See `Rounder.key`."""
        listed = ",".join(f"{name}={kind}" for name, kind in sorted(self.types.items()))
        return f"compensation 1 damp={self.damp} sweeps={self.sweeps} passes={self.passes} {listed}"

    def type_of(self, name: str, columns: int) -> str:
        """See `Rounder.type_of`; what rows of `columns` cannot be falls back as in llama.cpp."""
        return fitting_type(self.types[name], columns) if name in self.types else ""

    def round(self, name: str, weights: Floats, hessian: Hessian) -> Rounded:
        """See `Rounder.round`."""
        kind = self.type_of(name, weights.shape[1])
        if kind not in LAYOUTS:
            return NearestRounder(self.types).round(name, weights, hessian)
        check(name, weights, hessian)
        own = damped(hessian, self.damp)
        upper = factor(own)
        single = own.astype(np.float32, copy=False)
        del own
        second = Reordered.by_weight(single) if self.passes > 1 else None
        parts = []
        for start in range(0, len(weights), ROWS):
            by_column = np.ascontiguousarray(weights[start : start + ROWS].T, np.float32)
            blocks = BlockGrid(LAYOUTS[kind], *by_column.shape)
            parts.append(blocks.encode(round_columns(by_column, single, upper, blocks, second, self.sweeps)))
        encoded = GgufBlocks(kind, np.concatenate(parts))
        rounded = weights_of(encoded)
        total = sum(
            float(loss(hessian, np.ascontiguousarray((weights[at : at + ROWS] - rounded[at : at + ROWS]).T)).sum())
            for at in range(0, len(weights), ROWS)
        )
        return Rounded(rounded, encoded, total)

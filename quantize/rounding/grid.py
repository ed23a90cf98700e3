"""The values a rounded weight may take: integers times the scale of their group, less its minimum.

Everything here lies with columns first, (columns, rows) and (groups, rows): matrices are rounded column by column, all
rows at once, and a column must be one run of memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quantize.rounding.rounder import Floats

Integers = npt.NDArray[np.uint8]
Span = tuple[int, int]


@dataclass(frozen=True)
class Levels:
    """What an integer stands for before scale and minimum: itself less `offset`, or its entry in `table`, rising."""

    count: int
    offset: int = 0
    table: tuple[int, ...] = ()

    def values(self, integers: Integers) -> Floats:
        """float32, of the same shape."""
        if self.table:
            return np.array(self.table, np.float32)[integers]
        return integers.astype(np.float32) - np.float32(self.offset)

    def nearest(self, wanted: Floats) -> tuple[Integers, Floats]:
        """Integers and values nearest to `wanted`."""
        if self.table:
            table = np.array(self.table, np.float32)
            integers = np.searchsorted((table[1:] + table[:-1]) / 2, wanted).astype(np.uint8)
            return integers, table[integers]
        values = np.rint(wanted)
        np.clip(values, -self.offset, self.count - 1 - self.offset, out=values)
        return (values + np.float32(self.offset)).astype(np.uint8), values


@dataclass(frozen=True, eq=False)
class Grid:
    """`groups`: the group of each column, int (columns,). `scales`, `minima`: float32 (groups, rows), filled in while
    columns are rounded where they are found only then."""

    levels: Levels
    groups: npt.NDArray[np.int32]
    scales: Floats
    minima: Floats

    @classmethod
    def empty(cls, levels: Levels, groups: npt.NDArray[np.int32], rows: int) -> Grid:
        """A grid whose scales are not known yet."""
        shape = (int(groups.max()) + 1, rows)
        return cls(levels, groups, np.zeros(shape, np.float32), np.zeros(shape, np.float32))

    def copy(self) -> Grid:
        """With arrays of its own."""
        return Grid(self.levels, self.groups, self.scales.copy(), self.minima.copy())

    def nearest(self, column: int, wanted: Floats) -> tuple[Integers, Floats]:
        """Integers of a column, and the weights they stand for, nearest to `wanted` (rows,)."""
        group = self.groups[column]
        scale, minimum = self.scales[group], self.minima[group]
        with np.errstate(divide="ignore", invalid="ignore"):
            steps = (wanted + minimum) / scale
        # A scale of 0: all integers stand for the same weight.
        np.nan_to_num(steps, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        integers, values = self.levels.nearest(steps)
        values *= scale
        values -= minimum
        return integers, values

    def weights(self, integers: Integers) -> Floats:
        """What the integers (columns, rows) stand for."""
        values = self.levels.values(integers)
        values *= self.scales[self.groups]
        values -= self.minima[self.groups]
        return values


Fit = Callable[[Span, Floats, Floats], None]
"""Fills in the scales of the groups in a span of columns: from the span, the weights wanted there (columns of the span,
rows), and how much an error of each column costs (columns of the span,)."""
Refit = Callable[[Span, Integers, Floats, Floats], Floats]
"""Better scales of the groups in a span for integers that stay: from the span, its integers (columns of the span,
rows), the gradient H e there, and the span's part of H; gives back by how much the weights there changed."""


def spans(columns: int, length: int) -> list[Span]:
    """Runs of `length` columns, the last perhaps shorter."""
    return [(start, min(start + length, columns)) for start in range(0, columns, length)]

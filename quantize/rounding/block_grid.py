"""A grid whose scales are those of a ggml type: found by ggml, fitted again to integers, written into its blocks."""

from __future__ import annotations

import itertools
from typing import Final

import numpy as np
import numpy.typing as npt

from quantize.rounding.ggml_layouts import BlockScales, Layout, read_scales, write
from quantize.rounding.grid import Grid, Integers, Span, spans
from quantize.rounding.nearest import quantize_rows
from quantize.rounding.quadratic import Quadratic
from quantize.rounding.rounder import Floats

_NEIGHBOURS: Final = tuple(itertools.product((-1, 0, 1), repeat=2))


class BlockGrid:
    """`d`, `e` float16 (blocks of a row, rows); `s`, `z` int16 (groups of a row, rows): see `ggml_layouts`. `grid` is
    kept in step with them."""

    def __init__(self, layout: Layout, columns: int, rows: int) -> None:
        self.layout = layout
        self.runs = spans(columns, layout.block)
        groups = np.arange(columns, dtype=np.int32) // np.int32(layout.group)
        self.grid = Grid.empty(layout.levels, groups, rows)
        self.d = np.zeros((len(self.runs), rows), np.float16)
        self.e = np.zeros_like(self.d)
        self.s = np.ones((columns // layout.group, rows), np.int16)
        self.z = np.ones_like(self.s)

    def copy(self) -> BlockGrid:
        """With arrays of its own."""
        other = BlockGrid(self.layout, len(self.grid.groups), self.d.shape[1])
        other.grid = self.grid.copy()
        other.d, other.e, other.s, other.z = self.d.copy(), self.e.copy(), self.s.copy(), self.z.copy()
        return other

    def take(self, other: BlockGrid, rows: npt.NDArray[np.bool_]) -> None:
        """Take the scales of `other` for some rows."""
        for own, better in (
            (self.d, other.d),
            (self.e, other.e),
            (self.s, other.s),
            (self.z, other.z),
            (self.grid.scales, other.grid.scales),
            (self.grid.minima, other.grid.minima),
        ):
            own[:, rows] = better[:, rows]

    def fit(self, run: Span, weights: Floats, costs: Floats) -> None:
        """ggml's own choice of scales for the block (see `grid.Fit`)."""
        data = quantize_rows(self.layout.name, weights.T, costs)
        scales = read_scales(self.layout, data)
        block = run[0] // self.layout.block
        self.d[block], self.e[block] = scales.d, scales.e
        groups = self._groups(block)
        self.s[groups], self.z[groups] = scales.s.T, scales.z.T
        self._keep_in_step(block)

    def refit(self, run: Span, integers: Integers, gradient: Floats, hessian: Floats) -> Floats:
        """See `grid.Refit`: the scales of groups, then those of the block; each change lowers the loss of its row."""
        block = run[0] // self.layout.block
        values = self.layout.levels.values(integers)
        before = self._weights(block, values)
        gradient = gradient.copy()
        if self.layout.scale_range is not None:
            for number in range(self.layout.groups):
                self._refit_group(block, number, values, gradient, hessian)
        self._refit_block(block, values, gradient, hessian)
        self._keep_in_step(block)
        return self._weights(block, values) - before

    def encode(self, integers: Integers) -> npt.NDArray[np.uint8]:
        """The bytes (rows, bytes of a row) of `integers` (columns, rows)."""
        columns, rows = integers.shape
        layout = self.layout
        blocks = columns // layout.block
        scales = BlockScales(
            self.d.T.reshape(-1),
            self.e.T.reshape(-1),
            np.ascontiguousarray(self.s.T).reshape(-1, layout.groups),
            np.ascontiguousarray(self.z.T).reshape(-1, layout.groups),
        )
        flat = np.ascontiguousarray(integers.T).reshape(-1, layout.block)
        return write(layout, scales, flat).reshape(rows, blocks * layout.bytes)

    def _refit_group(self, block: int, number: int, values: Floats, gradient: Floats, hessian: Floats) -> None:
        """Best whole s and z of a group, of those around the best real ones; `gradient` is brought up to date."""
        layout = self.layout
        columns = slice(number * layout.group, (number + 1) * layout.group)
        group = block * layout.groups + number
        d, e = self.d[block].astype(np.float32), self.e[block].astype(np.float32)
        low, high = layout.scale_range or (1, 1)
        low_z, high_z = layout.minimum_range or (1, 1)
        own = hessian[columns, columns]
        quadratic = Quadratic(values[columns], gradient[columns], own, layout.minimum_range is not None)
        s, z = self.s[group], self.z[group]
        step_s, step_z = quadratic.best()
        with np.errstate(divide="ignore", invalid="ignore"):
            wanted_s = np.nan_to_num(np.rint(step_s / d), nan=0.0, posinf=0.0, neginf=0.0)
            wanted_z = np.nan_to_num(np.rint(step_z / e), nan=0.0, posinf=0.0, neginf=0.0)
        lowest = np.zeros(len(s), np.float32)
        best_s, best_z = s.astype(np.float32), z.astype(np.float32)
        for by_s, by_z in _NEIGHBOURS:
            if by_z and layout.minimum_range is None:
                continue
            new_s = np.clip(s + wanted_s + np.float32(by_s), low, high)
            new_z = np.clip(z + wanted_z + np.float32(by_z), low_z, high_z)
            change = quadratic.change((new_s - s) * d, (new_z - z) * e)
            better = change < lowest
            np.copyto(lowest, change, where=better)
            np.copyto(best_s, new_s, where=better)
            np.copyto(best_z, new_z, where=better)
        moved = values[columns] * ((best_s - s) * d) - (best_z - z) * e
        gradient -= hessian[:, columns] @ moved
        self.s[group], self.z[group] = best_s, best_z

    def _refit_block(self, block: int, values: Floats, gradient: Floats, hessian: Floats) -> None:
        """Best d and e of a block, as 16-bit floats."""
        layout = self.layout
        groups = self._groups(block)
        per_column = np.repeat(np.arange(layout.groups), layout.group)
        directions = values * self.s[groups].astype(np.float32)[per_column]
        minima = -self.z[groups].astype(np.float32)[per_column] if layout.has_minima else None
        quadratic = Quadratic(directions, gradient, hessian, layout.has_minima, minima)
        d, e = self.d[block].astype(np.float32), self.e[block].astype(np.float32)
        step_d, step_e = quadratic.best()
        with np.errstate(over="ignore"):
            new_d = (d + step_d).astype(np.float16)
            new_e = (e + step_e).astype(np.float16)
        change = quadratic.change(new_d.astype(np.float32) - d, new_e.astype(np.float32) - e)
        better = (change < 0) & np.isfinite(new_d) & np.isfinite(new_e)
        np.copyto(self.d[block], new_d, where=better)
        np.copyto(self.e[block], new_e, where=better)

    def _groups(self, block: int) -> slice:
        return slice(block * self.layout.groups, (block + 1) * self.layout.groups)

    def _keep_in_step(self, block: int) -> None:
        groups = self._groups(block)
        self.grid.scales[groups] = self.d[block].astype(np.float32) * self.s[groups]
        self.grid.minima[groups] = self.e[block].astype(np.float32) * self.z[groups]

    def _weights(self, block: int, values: Floats) -> Floats:
        groups = np.repeat(np.arange(self.layout.groups), self.layout.group) + block * self.layout.groups
        weights: Floats = values * self.grid.scales[groups] - self.grid.minima[groups]
        return weights

"""The loss of rows as a function of two numbers each, such as a scale and a minimum."""

from __future__ import annotations

import numpy as np

from quantize.rounding.rounder import Floats


class Quadratic:
    """How the loss of each row changes when its weights move by x × directions + y × minima (y × −1 where `minima` are
    not given): −2 x a − 2 y b + x² A + 2 x y C + y² B."""

    def __init__(
        self,
        directions: Floats,
        gradient: Floats,
        hessian: Floats,
        has_minima: bool,
        minima: Floats | None = None,
    ) -> None:
        product = hessian @ directions
        self.linear_x = np.einsum("kr,kr->r", directions, gradient)
        self.square_x = np.einsum("kr,kr->r", directions, product)
        rows = directions.shape[1]
        self.linear_y = np.zeros(rows, np.float32)
        self.square_y = np.zeros(rows, np.float32)
        self.mixed = np.zeros(rows, np.float32)
        if has_minima and minima is None:
            self.linear_y = -gradient.sum(axis=0)
            self.square_y = np.full(rows, hessian.sum(), np.float32)
            self.mixed = -product.sum(axis=0)
        elif minima is not None:
            self.linear_y = np.einsum("kr,kr->r", minima, gradient)
            self.square_y = np.einsum("kr,kr->r", minima, hessian @ minima)
            self.mixed = np.einsum("kr,kr->r", minima, product)

    def best(self) -> tuple[Floats, Floats]:
        """The x and y that lower the loss most."""
        with np.errstate(divide="ignore", invalid="ignore"):
            determinant = self.square_x * self.square_y - self.mixed**2
            x = (self.linear_x * self.square_y - self.linear_y * self.mixed) / determinant
            y = (self.linear_y * self.square_x - self.linear_x * self.mixed) / determinant
            alone = self.linear_x / self.square_x
        singular = ~(determinant > 1e-6 * self.square_x * self.square_y)
        x = np.where(singular, alone, x)
        y = np.where(singular, 0, y)
        finite = np.isfinite(x) & np.isfinite(y)
        return np.where(finite, x, 0).astype(np.float32), np.where(finite, y, 0).astype(np.float32)

    def change(self, x: Floats, y: Floats) -> Floats:
        """By how much the loss of each row changes."""
        change: Floats = (
            x * (x * self.square_x - 2 * self.linear_x)
            + y * (y * self.square_y - 2 * self.linear_y)
            + 2 * x * y * self.mixed
        )
        return change

    def best_along(self, scale: Floats, shift: Floats) -> Floats:
        """The x that lowers the loss most where y = (scale + x) × shift: a scale changed together with a zero point."""
        linear = self.linear_x + shift * self.linear_y - scale * shift * (shift * self.square_y + self.mixed)
        square = self.square_x + shift * (shift * self.square_y + 2 * self.mixed)
        with np.errstate(divide="ignore", invalid="ignore"):
            x = linear / square
        return np.where(np.isfinite(x), x, 0).astype(np.float32)

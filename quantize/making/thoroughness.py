"""How much work a model's rounding is given: all that helps where it takes minutes, else what fits an hour."""

from __future__ import annotations

from dataclasses import dataclass

from models.gguf_file import GgufFile

LARGE = 500_000_000
"""Weights from which on less is done: there two cores take an hour or more over all of it."""


@dataclass(frozen=True)
class Thoroughness:
    """`tokens` of calibration; `drift`: matrices are fitted to inputs that have changed; `passes` and `sweeps` as in
    `GridRounder`."""

    tokens: int = 60_000
    drift: bool = True
    passes: int = 2
    sweeps: int = 3

    @classmethod
    def of(cls, model: GgufFile) -> Thoroughness:
        """What suits a model of that size."""
        weights = sum(info.elements for name, info in model.tensors.items() if name.startswith("blk."))
        return cls(tokens=16_000, drift=False, passes=1, sweeps=1) if weights >= LARGE else cls()

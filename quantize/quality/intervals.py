"""95 % percentile intervals by the bootstrap (Efron 1979), with a fixed seed: equal figures give equal intervals."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

_RESAMPLES: Final = 2000
_MOST: Final = 1 << 22  # numbers drawn at once
Values = npt.NDArray[np.floating[Any]]


def interval(values: Values) -> tuple[float, float]:
    """Of the mean of `values`, shape (problems,)."""
    return mean_interval(values, np.ones(len(values)))


def mean_interval(sums: Values, counts: Values) -> tuple[float, float]:
    """Of sum / count over all groups, whose sums and counts have the shape (groups,); groups are drawn as a whole."""
    generator = np.random.default_rng(0)
    rows = max(1, min(_RESAMPLES, _MOST // len(sums)))
    means: list[npt.NDArray[np.float64]] = []
    while sum(map(len, means)) < _RESAMPLES:
        draws = generator.integers(0, len(sums), (rows, len(sums)))
        means.append(sums[draws].sum(axis=1) / np.maximum(counts[draws].sum(axis=1), 1))
    low, high = np.percentile(np.concatenate(means), (2.5, 97.5))
    return float(low), float(high)

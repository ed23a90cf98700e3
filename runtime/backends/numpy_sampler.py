"""Samplers over logits in numpy, for backends whose library draws nothing itself: the chain of the `llama` backend
(top-k, top-p, min-p, temperature, draw), or the largest logit alone.

The same seed gives the same draws from the same logits, but not those of another backend: its random numbers differ.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from runtime.request import Sampling

_FIRST_LOOK = 256
"""Largest logits that are sorted first when a sum of probabilities is looked for: most often they hold it."""


class NumpySampler:
    """A chain with a random state of its own."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._random = np.random.Generator(np.random.PCG64(sampling.seed & 0xFFFFFFFF))

    def sample(self, logits: npt.NDArray[np.float32]) -> int:
        """Draw an id from logits of shape (vocabulary size,). At temperature 0 the smallest id of the largest logit."""
        sampling, greedy = self._sampling, int(logits.argmax())
        top = float(logits[greedy])
        if sampling.temperature == 0.0 or sampling.top_k == 1 or not math.isfinite(top):
            return greedy
        ids, values = candidates(logits, sampling)
        weights = np.exp((values.astype(np.float64) - top) / sampling.temperature)
        sums = weights.cumsum()
        at = int(sums.searchsorted(self._random.random() * sums[-1], side="right"))
        return int(ids[min(at, len(ids) - 1)])

    def accept(self, token: int) -> None:
        """Told of a token that was not drawn. Nothing in the chain looks back, so nothing is kept."""


def candidates(
    logits: npt.NDArray[np.float32], sampling: Sampling
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Ids that may be drawn and their logits, as top-k, top-p and min-p leave them, in this order and each before the
    temperature. At least one is left."""
    ids: npt.NDArray[np.int64] = np.arange(len(logits), dtype=np.int64)
    if sampling.top_k and sampling.top_k < len(ids):
        ids = _largest(logits, ids, sampling.top_k)
    if sampling.top_p is not None and sampling.top_p < 1.0:
        ids = _nucleus(logits, ids, sampling.top_p)
    if sampling.min_p:
        values = logits[ids]
        ids = ids[values >= values.max() + math.log(sampling.min_p)]
    return ids, logits[ids]


def _largest(logits: npt.NDArray[np.float32], ids: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """The `count` ids with the largest logits, largest first, the smaller id first among equals."""
    values = logits[ids]
    least = np.partition(values, len(ids) - count)[len(ids) - count]
    above = ids[values > least]
    level = np.sort(ids[values == least])[: count - len(above)]
    above = np.sort(above)
    above = above[np.argsort(-logits[above], kind="stable")]
    return np.concatenate([above, level])


def _nucleus(logits: npt.NDArray[np.float32], ids: npt.NDArray[np.int64], share: float) -> npt.NDArray[np.int64]:
    """The fewest ids, largest first, whose probabilities come to `share` (arXiv 1904.09751); at least one."""
    values = logits[ids].astype(np.float64)
    top = values.max()
    whole = np.exp(values - top).sum()
    count = _FIRST_LOOK
    while True:
        count = min(count, len(ids))
        ranked = _largest(logits, ids, count)
        sums = np.exp(logits[ranked].astype(np.float64) - top).cumsum() / whole
        if count == len(ids) or sums[-1] >= share:
            return ranked[: int(sums.searchsorted(share, side="left")) + 1]
        count *= 8

"""The raw logits of one row, before anything is cut from them: looked at and changed in place, only where asked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from runtime.backends.backend import Backend


class Scores:
    """What the model says of the next token. Nothing is read before a method is called; valid until the next decode.

    Numbers are logits in nats. What is changed here is what the sampler then draws from.
    """

    __slots__ = ("_backend", "_logits", "_row")

    def __init__(self, backend: Backend, row: int) -> None:
        self._backend = backend
        self._row = row
        self._logits: npt.NDArray[np.float32] | None = None

    @property
    def logits(self) -> npt.NDArray[np.float32]:
        """All of them, shape (vocabulary size,): the backend's own memory."""
        if self._logits is None:
            self._logits = self._backend.logits(self._row)
        return self._logits

    def top(self) -> float:
        """The largest logit."""
        logits = self.logits
        return float(logits[logits.argmax()])

    def likeliest(self) -> int:
        """The token with the largest logit."""
        return int(self.logits.argmax())

    def of(self, token: int) -> float:
        """A token's logit."""
        return float(self.logits[token])

    def log_probability(self, token: int) -> float:
        """The natural logarithm of a token's probability at temperature 1.

        The one look that takes an exponential of every logit, so it is asked for by votes that are weighted and by
        trial answers alone. (The C interface offers none that is cheaper: its samplers take these exponentials one by
        one, over 12 bytes a token.)
        """
        logits = self.logits
        top = logits[logits.argmax()]
        rest = logits - top
        np.exp(rest, out=rest)
        return float(logits[token]) - float(top) - math.log(float(rest.sum()))

    def lift(self, token: int, level: float) -> None:
        """Raise a token's logit to `level`, if it is lower."""
        if self.logits[token] < level:
            self.logits[token] = level

    def lower(self, tokens: npt.NDArray[np.int64], by: float) -> None:
        """Take `by` off the logits of tokens, shape (n,)."""
        self.logits[tokens] -= np.float32(by)

    def punish(self, penalties: Mapping[int, float]) -> None:
        """Take each token's penalty off its logit."""
        for token, penalty in penalties.items():
            self.logits[token] -= np.float32(penalty)

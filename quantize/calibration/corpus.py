"""What a model is calibrated on: token ids in chunks, and of each token the part of a reply that it stands in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.errors import InternalError

PROMPT, THINKING, ANSWER = 0, 1, 2
"""Phases. A thought's own tags are part of it, unless the template wrote them; what ends a turn is part of the answer.
A plain text is a prompt throughout."""

Ids = npt.NDArray[np.int32]
Phases = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Corpus:
    """`chunks[i]`: ids, shape (tokens,), decoded from position 0 on; `phases[i]`: of the same shape. `origin` says in a
    few words what it is; `sha256` is that of the ids and phases, so that what was measured on it can be found again."""

    chunks: tuple[Ids, ...]
    phases: tuple[Phases, ...]
    origin: str
    sha256: str

    @classmethod
    def of(cls, chunks: Sequence[npt.ArrayLike], phases: Sequence[npt.ArrayLike], origin: str) -> Corpus:
        """The corpus of these chunks; empty ones are left out. Raises InternalError where the shapes differ."""
        pairs = [
            (np.ascontiguousarray(ids, np.int32), np.ascontiguousarray(own, np.uint8))
            for ids, own in zip(chunks, phases, strict=True)
        ]
        if any(ids.shape != own.shape or ids.ndim != 1 for ids, own in pairs):
            raise InternalError("Each token of a corpus has one phase.")
        pairs = [pair for pair in pairs if len(pair[0])]
        running = hashlib.sha256()
        for ids, own in pairs:
            running.update(len(ids).to_bytes(8, "little") + ids.astype("<i4").tobytes() + own.tobytes())
        return cls(tuple(ids for ids, _ in pairs), tuple(own for _, own in pairs), origin, running.hexdigest())

    @property
    def tokens(self) -> int:
        """Of all chunks."""
        return sum(len(ids) for ids in self.chunks)

    @property
    def longest(self) -> int:
        """Tokens of the longest chunk."""
        return max((len(ids) for ids in self.chunks), default=0)

    def count(self, phase: int) -> int:
        """Tokens of one phase."""
        return sum(int((own == phase).sum()) for own in self.phases)

    def limited(self, tokens: int) -> Corpus:
        """The first whole chunks, as many as hold `tokens` or less; one at least."""
        kept, total = 0, 0
        for ids in self.chunks:
            if kept and total + len(ids) > tokens:
                break
            kept, total = kept + 1, total + len(ids)
        return self if kept == len(self.chunks) else Corpus.of(self.chunks[:kept], self.phases[:kept], self.origin)

    def with_other(self, other: Corpus) -> Corpus:
        """This corpus and another one behind it."""
        both = (*self.chunks, *other.chunks), (*self.phases, *other.phases)
        return Corpus.of(*both, f"{self.origin} + {other.origin}")


def cut(ids: Sequence[int], phases: Sequence[int], longest: int) -> Iterable[tuple[Ids, Phases]]:
    """A sequence in consecutive pieces of at most `longest` tokens."""
    for start in range(0, len(ids), longest):
        end = start + longest
        yield np.asarray(ids[start:end], np.int32), np.asarray(phases[start:end], np.uint8)

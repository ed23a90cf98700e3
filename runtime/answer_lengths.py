"""How long the answers of one responder are, so that a deadline keeps no more time for the next one than it needs."""

from __future__ import annotations

_LEAST = 16  # tokens that are kept in any case
_ENOUGH = 3  # answers that tell of the next one


class AnswerLengths:
    """Learns from each answer of a process; nothing is kept. What is expected only grows, for questions differ."""

    def __init__(self) -> None:
        self._count = self._longest = 0

    def told(self, tokens: int) -> None:
        """An answer had so many tokens; 0: there was none."""
        if tokens > 0:
            self._count += 1
            self._longest = max(self._longest, tokens)

    @property
    def most(self) -> int | None:
        """Tokens to keep for the next answer: twice the longest so far; None: too few were there."""
        return max(_LEAST, 2 * self._longest) if self._count >= _ENOUGH else None

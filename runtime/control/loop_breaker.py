"""What is done about a text that goes in circles: repetitions cost for a while; what that does not turn is given up."""

from __future__ import annotations

from collections import deque

from runtime.control.found_loop import FoundLoop
from runtime.control.loop_guard import LoopGuard, Patience
from runtime.control.repetition import repetition_penalties

_RECENT = 512  # tokens looked back for repetitions
_CALM = 256  # tokens for which repetitions are penalised before a loop is given up
_LEAST_CALM = 32  # of a loop that was found late
_GIVEN_UP = 600  # tokens behind a loop's beginning
_LOOK_AGAIN = 48  # tokens in which a text that goes back to its loop is seen to do so
_ROWS = 640  # tokens for which equal rows of an answer are let be


class LoopBreaker:
    """Watches one text, fed token by token. `hopeless`: it goes in circles, and the penalty did not turn it.

    `answer`: the text is what its reader asked for. Equal rows of a table or of a file of data are then not penalised,
    which would write other rows than those that are meant; only where they do not end by themselves are they given up.
    """

    def __init__(self, patience: Patience, *, answer: bool = False) -> None:
        self.hopeless = False
        self._guard = LoopGuard(patience)
        self._answer = answer
        self._recent: deque[int] = deque(maxlen=_RECENT)
        self._calm = 0
        self._lets_be = False
        self._said = 0
        self._turned_until: int | None = None
        self._within = patience.window

    @property
    def penalises(self) -> bool:
        """Whether repetitions cost just now."""
        return self._calm > 0 and not self._lets_be

    @property
    def found(self) -> tuple[FoundLoop, ...]:
        """All loops that were found; of a hopeless text the last one is what it was given up for."""
        return tuple(self._guard.found)

    def said(self, token: int, text: str, *, prose: bool = True) -> None:
        """A token of the text was drawn; `prose` False: it is code."""
        self._recent.append(token)
        self._said += 1
        if self._calm:
            self._calm -= 1
        self._guard.feed(token, text, prose=prose)
        if not self._guard.looping or self._calm:
            return
        if self._turned_until is not None and self._said - self._turned_until <= self._within:
            self.hopeless = True
            return
        self._calm = self._patient_for(self._guard.found[-1])
        self._turned_until = self._said + self._calm
        self._guard.calm(self._calm)

    def _patient_for(self, loop: FoundLoop) -> int:
        """Tokens until it is looked again whether the text goes in circles."""
        self._lets_be = self._answer and loop.rows
        if self._answer:
            return _ROWS if self._lets_be else _CALM
        return max(_LEAST_CALM, min(_CALM, _GIVEN_UP - _LOOK_AGAIN - (self._said - loop.since)))

    def penalties(self) -> dict[int, float]:
        """What to take off the logits (nats) of the tokens that would carry the repetition on; {}: nothing now."""
        return repetition_penalties(list(self._recent)) if self.penalises else {}

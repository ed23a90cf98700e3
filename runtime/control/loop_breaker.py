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


class LoopBreaker:
    """Watches one text, fed token by token. `hopeless`: it goes in circles, and the penalty did not turn it."""

    def __init__(self, patience: Patience) -> None:
        self.hopeless = False
        self._guard = LoopGuard(patience)
        self._within = patience.window + _CALM
        self._recent: deque[int] = deque(maxlen=_RECENT)
        self._calm = 0
        self._said = 0
        self._turned_at: int | None = None

    @property
    def penalises(self) -> bool:
        """Whether repetitions cost just now."""
        return self._calm > 0

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
        if self._guard.looping and not self._calm:
            if self._turned_at is not None and self._said - self._turned_at <= self._within:
                self.hopeless = True
            else:
                self._turned_at = self._said
                since = self._said - self._guard.found[-1].since
                self._calm = max(_LEAST_CALM, min(_CALM, _GIVEN_UP - _LOOK_AGAIN - since))
                self._guard.calm(self._calm)

    def penalties(self) -> dict[int, float]:
        """What to take off the logits (nats) of the tokens that would carry the repetition on; {}: nothing now."""
        return repetition_penalties(list(self._recent)) if self._calm else {}

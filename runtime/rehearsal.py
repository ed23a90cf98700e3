"""A short run that tells how fast a model is here, through the engine itself, beside whatever else runs."""

from __future__ import annotations

import math
from collections.abc import Callable

from runtime.control.scores import Scores
from runtime.events import Event, Progress
from runtime.pace import Speed
from runtime.reply import Finish
from runtime.sequence import STAY, Move

PROMPT_TOKENS = 64
_DRAWS = 6


class Rehearsal:
    """Implements `Steer`: times a prefill and a few draws of one sequence. `speed` is None until it is over, and stays
    None where it failed, was `cancelled`, or came to `due`, a moment of the clock."""

    paused = False
    patience = math.inf

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        cancelled: Callable[[], bool] = lambda: False,
        due: float = math.inf,
    ) -> None:
        self.speed: Speed | None = None
        self.over = False
        self._cancelled, self._due = cancelled, due
        self._clock = clock
        self._began = self._decoded = clock()
        self._fresh = self._drawn = 0

    @property
    def cancelled(self) -> bool:
        """Whether who asked gave up."""
        return self._cancelled()

    @property
    def overdue(self) -> bool:
        """Whether the deadline of who asked has passed."""
        return self._clock() >= self._due

    def progress(self, done: int, total: int, cached: int) -> None:
        """The prompt is under way, or decoded."""
        if done == cached:
            self._began = self._clock()
        self._fresh = total - cached
        self._decoded = self._clock()

    def before_draw(self, scores: Scores) -> Move:
        """Enough is known after a few draws."""
        return Move(finish="length") if self._drawn >= _DRAWS else STAY

    def permits(self, token: int) -> bool:
        """Any token will do."""
        return True

    def drawn(self, token: int) -> Move:
        """Count it; the first one came with the prompt's own logits."""
        self._drawn += 1
        return STAY

    def ended(self, finish: Finish, error: Exception | None) -> None:
        """Over: the speed, if all went well."""
        self.over = True
        prefill, decode = self._decoded - self._began, self._clock() - self._decoded
        if finish == "length" and self._drawn and not self.overdue and min(prefill, decode) > 0:
            self.speed = Speed(self._fresh / prefill, self._drawn / decode)

    @property
    def has_events(self) -> bool:
        """Whether it is over."""
        return self.over

    def take_events(self) -> list[Event]:
        """One event when it is over, as a turn has."""
        return [Progress(PROMPT_TOKENS, PROMPT_TOKENS)] if self.over else []

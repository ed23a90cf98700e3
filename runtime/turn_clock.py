"""When what happened in a turn: from being asked over its prefill to its last token, in seconds since it was asked."""

from __future__ import annotations

from collections.abc import Callable

from runtime.pace import Pace
from runtime.reply import Timings


class TurnClock:
    """`clock` tells seconds; `asked` is the moment from which they count (None: now); `step`: seconds a token is
    expected to take; `load`, `prepare`: what came before, for the timings."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        asked: float | None = None,
        step: float = 0.0,
        load: float = 0.0,
        prepare: float = 0.0,
    ) -> None:
        self._clock = clock
        self._started = clock() if asked is None else asked
        self._pace = Pace(step)
        self._load, self._prepare = load, prepare
        self._admitted: float | None = None
        self._prefilled: float | None = None
        self._drawn = 0

    @property
    def now(self) -> float:
        """Seconds since the turn was asked."""
        return self._clock() - self._started

    @property
    def step(self) -> float:
        """Seconds that a token takes now."""
        return self._pace.step

    @property
    def begun(self) -> float:
        """When the first token was on its way; 0 before that."""
        return 0.0 if self._prefilled is None else self._prefilled - self._started

    @property
    def prefilled(self) -> bool:
        """Whether the prompt is decoded."""
        return self._prefilled is not None

    def progressed(self, *, done: bool) -> None:
        """The prompt is under way, or `done`."""
        moment = self._clock()
        if self._admitted is None:
            self._admitted = moment
        if done:
            self._prefilled = moment
            self._pace.begin(moment)

    def stood_still(self) -> None:
        """The time since the last token was no token's: a pause, a trial."""
        self._pace.begin(self._clock())

    def drew(self, *, counts: bool) -> None:
        """A token was drawn; `counts`: it is part of the reply, and not its end."""
        self._pace.drew(self._clock())
        self._drawn += counts

    def since(self, moment: float | None) -> float:
        """A moment of the clock as seconds since the turn was asked; 0 for none."""
        return 0.0 if moment is None else moment - self._started

    def timings(self, *, fresh: int, thinking: float | None, answer: float | None) -> Timings:
        """All of it. `fresh`: prompt tokens that were decoded; `thinking`, `answer`: when the first text came."""
        moment = self._clock()
        admitted = moment if self._admitted is None else self._admitted
        prefilled = moment if self._prefilled is None else self._prefilled
        return Timings(
            load_s=self._load,
            prepare_s=self._prepare,
            prefill_s=prefilled - self._started,
            first_thinking_s=self.since(thinking),
            first_answer_s=self.since(answer),
            total_s=moment - self._started,
            prefill_tps=_rate(fresh, prefilled - admitted),
            decode_tps=_rate(self._drawn, moment - prefilled),
        )


def _rate(tokens: int, seconds: float) -> float:
    return tokens / seconds if tokens > 0 and seconds > 0 else 0.0

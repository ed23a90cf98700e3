"""When what happened in a turn: from being asked over its prefill to its last token, in seconds since it was asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from runtime.pace import Pace, PrefillPace, Speed
from runtime.reply import Timings


@dataclass(frozen=True)
class TurnTimes:
    """Where a turn's clock stood when it was kept, in seconds since it was asked; None: that has not happened yet.

    `used`: now; `admitted`: the prefill began; `begun`: the first token was on its way; `thinking`, `answer`: their
    first text was there. `step`: seconds a token takes; `drawn`: tokens of the reply. `stands`: when it went on, and
    after how many seconds in which it stood still: paused, behind a trial answer, or read again by another process.
    """

    used: float
    admitted: float | None = None
    begun: float | None = None
    thinking: float | None = None
    answer: float | None = None
    step: float = 0.0
    drawn: int = 0
    stands: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "stands", tuple((float(at), float(seconds)) for at, seconds in self.stands))  # of JSON

    def stood(self, begin: float, end: float) -> float:
        """Seconds in which it stood still, of those that ended after `begin` and by `end`."""
        return _stood(self.stands, begin, end)


class TurnClock:
    """`clock` tells seconds; `asked` is the moment from which they count (None: now); `speed`: what is
    known of the machine; `load`, `prepare`: what came before, for the timings. `earlier`: the turn is gone on with at
    `asked`, and the time until then does not count.

    The seconds since it was asked run on while the turn stands still, for a deadline does; the rates leave that out."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        asked: float | None = None,
        speed: Speed | None = None,
        load: float = 0.0,
        prepare: float = 0.0,
        earlier: TurnTimes | None = None,
    ) -> None:
        earlier = earlier or TurnTimes(0.0)
        self._clock = clock
        self._started = (clock() if asked is None else asked) - earlier.used
        self._speed = speed
        self._pace = Pace(earlier.step or (0.0 if speed is None else speed.step))
        self._prefill = PrefillPace()
        self._load, self._prepare = load, prepare
        self._admitted = self.moment(earlier.admitted)
        self._prefilled = self.moment(earlier.begun)
        self._drawn = earlier.drawn
        self._stands = list(earlier.stands)
        self._active = None if earlier.begun is None else self._started + earlier.used
        """The moment of the last token or batch; None: before the first."""
        self._read_again = earlier.begun is not None
        """Whether another process has yet to decode again what the one before had drawn."""
        self._stood_still = False
        """Whether it stood still since the last token or batch, and that is not counted yet."""
        self._done, self._token = 0, 0.0 if speed is None else 1.0 / speed.prefill_tps
        """Tokens of the prompt that are decoded, and the seconds that one takes (0: not known)."""

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

    @property
    def prefill_left(self) -> float:
        """Seconds that the prompt takes at least from now on."""
        return 0.0 if self.prefilled else self._prefill.seconds_left

    @property
    def rates(self) -> tuple[float | None, float | None]:
        """Tokens a second of the prefill and of the draws; None: too few to tell by."""
        return self._prefill.tps, self._pace.tps

    def progressed(self, done: int, total: int) -> None:
        """So many of the prompt's tokens are decoded, or found in the cache. A slow prefill tells of slow draws."""
        moment = self._clock()
        if self._admitted is None:
            self._admitted = moment
        if self.prefilled:
            self._stood_still = self._read_again
            self._end_stand()
            self._read_again = self._read_again and done < total
        else:
            self._batch(moment, done)
            self._prefill.told(moment, done, total)
        if done >= total:
            if not self.prefilled and self._speed is not None:
                self._pace.slow(self._prefill.slowness(self._speed.prefill_tps))
            self._prefilled = moment if self._prefilled is None else self._prefilled
            self._pace.begin()

    def stood_still(self) -> None:
        """The time since the last token, or batch of the prompt, was no token's: a pause, a trial."""
        self._stood_still = True
        if self.prefilled:
            self._end_stand()
        self._pace.begin()
        self._prefill.stood_still()

    def drew(self, *, counts: bool) -> None:
        """A token was drawn; `counts`: it is part of the reply, and not its end."""
        self._active = self._clock()
        self._pace.drew(self._active)
        self._drawn += counts

    def _batch(self, moment: float, done: int) -> None:
        """A batch of the prompt is decoded. Where it stood still before, nobody can tell when the batch began: it is
        taken to have been as fast as the one before."""
        fresh, taken = done - self._done, 0.0 if self._active is None else moment - self._active
        if self._stood_still and self._token:
            self._stand(moment, taken - fresh * self._token)
        elif fresh > 0 and taken > 0 and not self._stood_still:
            self._token = taken / fresh
        self._done, self._active, self._stood_still = done, moment, False

    def _end_stand(self) -> None:
        """It draws, or will draw, from now on."""
        moment = self._clock()
        if self._stood_still:
            self._stand(moment, self._idle(moment))
            self._active, self._stood_still = moment, False

    def _idle(self, moment: float) -> float:
        """Seconds since the last token, less those that the next one takes; nothing is taken off what is read again."""
        if self._active is None or not self.prefilled:
            return 0.0
        return moment - self._active - (0.0 if self._read_again else self._pace.step)

    def _stand(self, moment: float, seconds: float) -> None:
        if seconds > 0.0:
            self._stands.append((moment - self._started, seconds))

    def _stands_by(self, moment: float) -> tuple[tuple[float, float], ...]:
        """All stands, with one that has not ended."""
        idle = self._idle(moment)
        return (*self._stands, (moment - self._started, idle)) if idle > 0.0 else tuple(self._stands)

    def since(self, moment: float | None) -> float | None:
        """A moment of the clock as seconds since the turn was asked."""
        return None if moment is None else moment - self._started

    def moment(self, since: float | None) -> float | None:
        """So many seconds since the turn was asked as a moment of the clock."""
        return None if since is None else self._started + since

    def times(self, *, thinking: float | None, answer: float | None) -> TurnTimes:
        """Where it stands. `thinking`, `answer`: the moments when the first text came."""
        moment = self._clock()
        return TurnTimes(
            used=moment - self._started,
            admitted=self.since(self._admitted),
            begun=self.since(self._prefilled),
            thinking=self.since(thinking),
            answer=self.since(answer),
            step=self._pace.step,
            drawn=self._drawn,
            stands=self._stands_by(moment),
        )

    def timings(self, *, fresh: int, thinking: float | None, answer: float | None) -> Timings:
        """All of it; no rate counts the time in which the turn stood still. `fresh`: prompt tokens that were decoded;
        `thinking`, `answer`: when the first text came."""
        moment = self._clock()
        admitted = moment if self._admitted is None else self._admitted
        prefilled = moment if self._prefilled is None else self._prefilled
        stands, begun, end = self._stands_by(moment), prefilled - self._started, moment - self._started
        return Timings(
            load_s=self._load,
            prepare_s=self._prepare,
            prefill_s=prefilled - self._started,
            first_thinking_s=self.since(thinking) or 0.0,
            first_answer_s=self.since(answer) or 0.0,
            total_s=moment - self._started,
            prefill_tps=_rate(fresh, prefilled - admitted - _stood(stands, -math.inf, begun)),
            decode_tps=_rate(self._drawn, end - begun - _stood(stands, begun, end)),
        )


def _stood(stands: Iterable[tuple[float, float]], begin: float, end: float) -> float:
    return sum(seconds for at, seconds in stands if begin < at <= end)


def _rate(tokens: int, seconds: float) -> float:
    return tokens / seconds if tokens > 0 and seconds > 0 else 0.0

"""How fast a turn runs, and what of a deadline is left for its thought: pure arithmetic over seconds and tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass

from models.errors import CannotMeetError

_QUICK, _STEADY = 0.35, 0.05
"""Weights of the newest token in the two averages: one follows a sudden burden, the other forgets a hiccup slowly."""
_CAUTION = 1.15
_SLACK = 0.03  # seconds: what stands between the last token and the reply
_SHOWN = 0.001
"""Fewer seconds than this are told as such."""
_ROOMY, _JITTER = 1.2, 0.2
"""A deadline is advised with a fifth more than was needed, and with seconds more, for short ones waver most."""
_ANSWER_SHARE = 0.25
_LEAST_ANSWER = 8
_LEAST_PROMPT, _LEAST_DRAWS = 32, 8
"""Tokens of a prefill, and steps between drawn ones, by which a turn tells how fast it was."""
_SLOWEST = 4.0
"""A prefill so much slower than expected may have read the file for the first time, which no draw has to do again."""
_BATCHED = 0.5
"""What a token costs that is decoded beside others, of one that is drawn: less than half on all that was measured."""


@dataclass(frozen=True)
class LeastSeconds:
    """What the shortest reply takes, in seconds: to read the prompt, to close the thought and give the least answer,
    and what is kept in reserve, for a token may take longer than the one before."""

    prompt: float
    answer: float
    reserve: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.prompt + self.answer + self.reserve


@dataclass(frozen=True)
class Speed:
    """What a machine did with a model before: tokens a second of a prefill and of a decode of one sequence."""

    prefill_tps: float
    decode_tps: float

    @property
    def step(self) -> float:
        """Seconds a drawn token."""
        return 1.0 / self.decode_tps

    def least(self, prompt: int, closing: int) -> LeastSeconds:
        """What the shortest reply behind so many prompt tokens takes: a closed thought and a short answer."""
        answer = (1 + _LEAST_ANSWER) * self.step
        return LeastSeconds(
            prompt=prompt / self.prefill_tps,
            answer=closing / self.prefill_tps + answer,
            reserve=answer * (_CAUTION - 1.0) + _SLACK,
        )

    def least_seconds(self, prompt: int, closing: int) -> float:
        """`least` in all."""
        return self.least(prompt, closing).total

    def within(self, seconds: float, closing: int) -> int:
        """Prompt tokens that a shortest reply within `seconds` leaves room for; 0 where there is none."""
        return max(0, int((seconds - self.least_seconds(0, closing)) * self.prefill_tps))


class Pace:
    """Seconds a drawn token, now. `expected`: what to think before the first ones are drawn."""

    def __init__(self, expected: float = 0.0) -> None:
        self._quick = self._steady = expected
        self._last: float | None = None
        self._steps, self._seconds = 0, 0.0

    def begin(self) -> None:
        """The logits of the next draw are there, so that it takes no time: only the one after it tells of a step."""
        self._last = None

    def drew(self, now: float) -> None:
        """A token was drawn."""
        if self._last is not None:
            taken = max(0.0, now - self._last)
            known = self._quick > 0.0
            self._quick = taken if not known else self._quick + _QUICK * (taken - self._quick)
            self._steady = taken if not known else self._steady + _STEADY * (taken - self._steady)
            self._steps += 1
            self._seconds += taken
        self._last = now

    def slow(self, factor: float) -> None:
        """A step is expected to take so many times as long; the draws to come tell how long it does."""
        self._quick *= factor
        self._steady *= factor

    @property
    def tps(self) -> float | None:
        """Tokens a second over all steps; None: too few of them."""
        return self._steps / self._seconds if self._steps >= _LEAST_DRAWS and self._seconds > 0 else None

    @property
    def step(self) -> float:
        """Seconds to reckon with for the next token: the slower of both averages."""
        return max(self._quick, self._steady)


class PrefillPace:
    """How fast a prompt is decoded, batch by batch."""

    def __init__(self) -> None:
        self._last = self._seconds = 0.0
        self._fresh = self._done = self._total = 0
        self._batches, self._best = -1, 0.0
        self._still = False

    def told(self, now: float, done: int, total: int) -> None:
        """So many of `total` tokens are decoded; the first time, by what the cache held. Fewer than before: the prompt
        begins anew."""
        if self._batches < 0 or done < self._done:
            self._fresh, self._seconds, self._batches, self._best = 0, 0.0, 0, 0.0
        elif done > self._done and not self._still:
            tokens, seconds = done - self._done, max(now - self._last, 1e-9)
            self._fresh, self._seconds = self._fresh + tokens, self._seconds + seconds
            self._batches += 1
            self._best = max(self._best, tokens / seconds)
        self._last, self._done, self._total, self._still = now, done, total, False

    def stood_still(self) -> None:
        """It was paused: nobody can tell when the next batch began, so that one does not count."""
        self._still = True

    @property
    def tps(self) -> float | None:
        """Tokens a second of the batches that count; None: too few of them."""
        return self._fresh / self._seconds if self._fresh >= _LEAST_PROMPT and self._seconds > 0 else None

    @property
    def seconds_left(self) -> float:
        """What is left takes at least so long, at the rate of the fastest batch so far; 0 before there were two, for
        the first one may have read the model's file."""
        return (self._total - self._done) / self._best if self._batches >= 2 else 0.0

    def slowness(self, expected: float) -> float:
        """How many times slower it was than the tokens a second that were expected: from 1 to `_SLOWEST`."""
        return 1.0 if self.tps is None else min(_SLOWEST, max(1.0, expected / self.tps))


@dataclass(frozen=True)
class Deadline:
    """The seconds of a turn since its start, and the most answer tokens that are kept free within them."""

    seconds: float
    reserve: int
    closing: int = 0
    """Tokens that a forced close puts in."""

    def answer_seconds(self, step: float, begun: float) -> float:
        """Seconds kept for the close and the answer, where the thought began at `begun`.

        The answer gets what is kept for it by tokens, but at most a quarter of what the time holds, so that a short
        deadline is not all answer.
        """
        affordable = (self.seconds - begun) / step if step > 0 else self.reserve
        tokens = min(self.reserve, max(_LEAST_ANSWER, int(_ANSWER_SHARE * affordable)))
        return (tokens + 1 + self.closing * _BATCHED) * step * _CAUTION + _SLACK

    def thinking_left(self, now: float, step: float, begun: float) -> float:
        """Seconds that the thought may still take."""
        return self.seconds - now - self.answer_seconds(step, begun)

    def holds(self, draws: int, forced: int, now: float, step: float, begun: float) -> bool:
        """Whether the thought may stand still for so many draws behind so many forced tokens."""
        return (draws + 1 + forced * _BATCHED) * step * _CAUTION < self.thinking_left(now, step, begun)

    def over(self, now: float, step: float) -> bool:
        """Whether one more token would be late."""
        return now + step * _CAUTION + _SLACK >= self.seconds


def require_time(seconds: float, prompt: int, closing: int, speed: Speed, *, held: int = 0, spent: float = 0.0) -> None:
    """Raises `CannotMeetError` where not even the shortest reply can be there in time: behind `prompt` tokens, of which
    the cache holds `held`, and after the seconds that were `spent` since the turn was asked. It tells what was needed,
    and a deadline that can be kept."""
    least = speed.least(prompt - held, closing)
    if least.total <= seconds - spent:
        return
    room = speed.within(seconds - spent, closing) + held
    shorter = f", or shorten the prompt of {prompt} tokens to about {room}" if 16 <= room < prompt else ""
    needed = spent + least.total
    parts = [f"{_shown(spent)} s that are gone"] if spent >= _SHOWN else []
    parts += [f"{_shown(least.prompt)} s for {prompt - held} tokens of prompt"] if prompt > held else []
    parts += [
        f"{_shown(least.answer)} s for the least answer",
        f"{_shown(least.reserve)} s in reserve",
    ]
    raise CannotMeetError(
        f"A reply within {seconds:g} s cannot be kept: on this machine the shortest one needs {_shown(needed)} s "
        f"({', '.join(parts)}). Give --deadline {_roomy(needed):g} or more{shorter}."
    )


def _shown(seconds: float) -> str:
    """Seconds in two digits, rounded up: what is needed must not look like what was given."""
    if seconds < _SHOWN:
        return f"under {_SHOWN:g}"
    unit = 10.0 ** (math.floor(math.log10(seconds)) - 1)
    return f"{float(f'{math.ceil(seconds / unit - 1e-9) * unit:.12g}'):g}"


def _roomy(needed: float) -> float:
    """A deadline that holds so many seconds also where the machine is a little slower the next time."""
    seconds = needed * _ROOMY + _JITTER
    return math.ceil(seconds) if seconds >= 10.0 else math.ceil(seconds * 10.0) / 10.0

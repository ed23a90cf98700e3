"""How fast a turn runs, and what of a deadline is left for its thought: pure arithmetic over seconds and tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass

from models.errors import CannotMeetError

_QUICK, _STEADY = 0.35, 0.05
"""Weights of the newest token in the two averages: one follows a sudden burden, the other forgets a hiccup slowly."""
_CAUTION = 1.15
_SLACK = 0.03  # seconds: what stands between the last token and the reply
_ANSWER_SHARE = 0.25
_LEAST_ANSWER = 8
_BATCHED = 0.5
"""What a token costs that is decoded beside others, of one that is drawn: less than half on all that was measured."""


@dataclass(frozen=True)
class Speed:
    """What a machine did with a model before: tokens a second of a prefill and of a decode of one sequence."""

    prefill_tps: float
    decode_tps: float

    @property
    def step(self) -> float:
        """Seconds a drawn token."""
        return 1.0 / self.decode_tps

    def least_seconds(self, prompt: int, closing: int) -> float:
        """Seconds of the shortest reply behind so many prompt tokens: a closed thought and a short answer."""
        return (prompt + closing) / self.prefill_tps + (1 + _LEAST_ANSWER) * self.step * _CAUTION + _SLACK

    def within(self, seconds: float, closing: int) -> int:
        """Prompt tokens that a shortest reply within `seconds` leaves room for; 0 where there is none."""
        return max(0, int((seconds - self.least_seconds(0, closing)) * self.prefill_tps))


class Pace:
    """Seconds a drawn token, now. `expected`: what to think before the first ones are drawn."""

    def __init__(self, expected: float = 0.0) -> None:
        self._quick = self._steady = expected
        self._last: float | None = None

    def begin(self, now: float) -> None:
        """The next token is on its way from this moment (the prompt is decoded)."""
        self._last = now

    def drew(self, now: float) -> None:
        """A token was drawn."""
        if self._last is not None:
            taken = max(0.0, now - self._last)
            known = self._quick > 0.0
            self._quick = taken if not known else self._quick + _QUICK * (taken - self._quick)
            self._steady = taken if not known else self._steady + _STEADY * (taken - self._steady)
        self._last = now

    @property
    def step(self) -> float:
        """Seconds to reckon with for the next token: the slower of both averages."""
        return max(self._quick, self._steady)


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

    def over(self, now: float, step: float) -> bool:
        """Whether one more token would be late."""
        return now + step * _CAUTION + _SLACK >= self.seconds


def require_time(seconds: float, prompt: int, closing: int, speed: Speed) -> None:
    """Raises `CannotMeetError` where not even the shortest reply can be there in time."""
    least = speed.least_seconds(prompt, closing)
    if least <= seconds:
        return
    room = speed.within(seconds, closing)
    shorter = f", or shorten the prompt of {prompt} tokens to about {room}" if room >= 16 else ""
    raise CannotMeetError(
        f"A reply within {seconds:g} s cannot be kept: on this machine the shortest one takes about {least:.2g} s. "
        f"Give --deadline {math.ceil(least * 1.2)} or more{shorter}."
    )

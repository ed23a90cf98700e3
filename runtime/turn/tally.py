"""Rules that act on single draws: which of them did, from which token on, and at how many draws."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from runtime.control.thinking_control import Ban
from runtime.turn.log import Drew

Acting = Ban | Literal["hesitation", "ramp"]
"""A ban; the penalty on hesitant words, where it made another word the likeliest; the closer's lift."""


@dataclass(frozen=True)
class Fired:
    """A rule that acted on `count` draws, first behind `token` sampled thinking tokens."""

    rule: Acting
    token: int
    count: int


class Tally:
    """Counts over one turn's draws."""

    def __init__(self) -> None:
        self._fired: dict[Acting, Fired] = {}

    @property
    def fired(self) -> tuple[Fired, ...]:
        """All rules that acted, in the order in which they first did."""
        return tuple(self._fired.values())

    def count(self, step: Drew, token: int) -> None:
        """A draw, behind so many sampled thinking tokens."""
        if step.banned is not None:
            self._add(step.banned, token)
        if step.turned:
            self._add("hesitation", token)
        if step.lifted:
            self._add("ramp", token)

    def _add(self, rule: Acting, token: int) -> None:
        known = self._fired.get(rule, Fired(rule, token, 0))
        self._fired[rule] = replace(known, count=known.count + 1)

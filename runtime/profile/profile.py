"""A profile: what was measured to suit one model file, and what it was measured from, so that a person can audit it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

MOST_SIGNS: Final = 2000
"""Of a closing message: a longer one would take more of the context than the answer."""


@dataclass(frozen=True)
class EffortTokens:
    """Thinking tokens that each effort allows; None: what the context holds. None is the largest."""

    low: int | None
    medium: int | None
    high: int | None

    def __post_init__(self) -> None:
        order = [math.inf if tokens is None else tokens for tokens in (self.low, self.medium, self.high)]
        if min(order) < 1 or order != sorted(order):
            raise ValueError("efforts that do not rise from low to high")


@dataclass(frozen=True)
class Row:
    """One run over all problems. `accuracy` and `ci` (95 %, over problems) are shares; `tokens` (all behind the prompt:
    thoughts, forced messages, trial answers, answers) and `thinking_tokens` are means of a reply; `budget` None:
    unlimited."""

    stage: str
    setting: str
    budget: int | None
    n: int
    accuracy: float
    ci: tuple[float, float]
    tokens: float
    thinking_tokens: float


@dataclass(frozen=True)
class Origin:
    """What a profile was measured on. `sha256` of the model's file (of a split model: of all files, one after another);
    `date` in UTC, ISO 8601."""

    model: str
    sha256: str
    quant: str
    machine: str
    problems: str
    n: int
    seed: int
    date: str


@dataclass(frozen=True)
class Profile:
    """What replaces the defaults of a model that was not calibrated.

    `closing_message`: said before a forced close; None: the family's own. `confidence` and `agreeing`: when trial
    answers end a thought; None: no trial answers. `margin`: of the soft close, in nats; None: off. `least`:
    thinking tokens before either looks, and between two trial answers. `efforts` None: those of the model's size.
    `reserve`: tokens of the context kept for the answer; None: the default. `ramp`: whether the closer is pulled up
    near the end of a budget. `boundary`: whether a thought is closed at a boundary before its budget's end; if not,
    at the very end, wherever that is. `sure`: confidence from which the ladder takes the answer of a thought that
    closed by itself; None: the default. `rungs`: those of the ladder's low rungs that pay where nothing computes an
    answer again; None: by the model's size. `reasons` says for each choice why it was made, or what the data could
    not tell.
    """

    origin: Origin
    least: int
    closing_message: str | None = None
    confidence: float | None = None
    agreeing: int = 2
    margin: float | None = None
    efforts: EffortTokens | None = None
    reserve: int | None = None
    ramp: bool = False
    boundary: bool = True
    sure: float | None = None
    rungs: tuple[str, ...] | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()

    def __post_init__(self) -> None:
        if self.confidence is not None and not 0.0 < self.confidence <= 1.0:
            raise ValueError("a confidence that is no probability")
        if self.sure is not None and not 0.0 < self.sure <= 1.0:
            raise ValueError("a sureness that is no probability")
        if self.rungs is not None and not set(self.rungs) <= {"off", "short"}:
            raise ValueError("a rung that is none")
        if self.margin is not None and not 0.0 <= self.margin < math.inf:
            raise ValueError("a margin that is no number of nats")
        if min(self.agreeing, self.least, 1 if self.reserve is None else self.reserve) < 1:
            raise ValueError("a count below 1")
        if len(self.closing_message or "") > MOST_SIGNS:
            raise ValueError(f"a closing message of more than {MOST_SIGNS} signs")

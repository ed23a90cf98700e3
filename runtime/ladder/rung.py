"""The rungs of the ladder: how much thought each allows, and which of them pay for a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from runtime.backends.backend import ModelFacts
from runtime.control.effort import effort_tokens
from runtime.request import LADDER_VOTES
from runtime.verifiers.verifier import Case, Verifier

LOW: Final = ("off", "short")
"""The rungs below a whole thought."""
SURE: Final = 0.95
"""Confidence from which the answer of a thought that closed by itself stands (arXiv 2504.15895 takes as much)."""
PLACES: Final = 2
"""Most thoughts of a question that are decoded at once: a model that is opened for the ladder needs so many places."""
_SMALL: Final = 100_000_000  # parameters


@dataclass(frozen=True)
class Rung:
    """A step of the ladder: how much thought (tokens; None: what the context holds), and how many thoughts at once."""

    name: str
    tokens: int | None
    thoughts: int = 1


def rungs(facts: ModelFacts) -> tuple[Rung, ...]:
    """All rungs for a model. The votes are drawn a few at a time, so that they end as soon as they are decided
    (arXiv 2401.10480); the long thought has cast the first of them."""
    low, high = effort_tokens("low", facts), effort_tokens("high", facts)
    sizes = [min(PLACES, LADDER_VOTES - cast) for cast in range(1, LADDER_VOTES, PLACES)]
    votes = [Rung("votes", high, size) for size in sizes]
    return (Rung("off", 0), Rung("short", low), Rung("long", high), *votes)


def low_rungs(facts: ModelFacts, *, recomputed: bool) -> tuple[str, ...]:
    """The low rungs that pay. `recomputed`: a verifier can compute the question's answer again.

    A thought that closes by itself within a short budget would have cost the same without it; so a low rung pays only
    where an answer that was cut short can stand: by computing it again, or because the model's profile, or else its
    size, says that its quick answers agree when they are right (Qwen3's report gives a model of 8 billion parameters
    87 % on MATH-500 without a thought; one of some millions knows next to nothing without).
    """
    if recomputed:
        return LOW
    measured = None if facts.profile is None else facts.profile.rungs
    if measured is not None:
        return measured
    return () if facts.parameters < _SMALL else LOW


def sure_from(facts: ModelFacts) -> float:
    """The confidence from which the answer of a thought that closed by itself stands."""
    measured = None if facts.profile is None else facts.profile.sure
    return SURE if measured is None else measured


def recomputes(verifiers: Iterable[Verifier], question: str, options: Mapping[str, Any]) -> bool:
    """Whether one of them can compute the answer again, as far as the question alone tells."""
    return any(one.kind == "truth" and _applies(one, Case(question, "", options=options)) for one in verifiers)


def _applies(verifier: Verifier, case: Case) -> bool:
    try:
        return verifier.applies(case)
    except Exception:  # one that breaks down is told of where it judges
        return False

"""What a vote can be of: how many thoughts, in how many places, and drawn in a way that lets them differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from models.errors import UsageError

MOST_PLACES: Final = 256
"""The library decodes no more sequences at once."""
MOST_VOTES: Final = 256
"""Most thoughts on one question. Accuracy gains little beyond some forty (arXiv 2203.11171), each thought is kept whole
until the vote is over, and each answer is held against the others."""
AT_ONCE: Final = 64
"""Most places that are opened for one question; further thoughts take those that come free. A place takes memory of its
own (a row of logits; of a hybrid model also its state, tens of megabytes), and what waits need not be thought at all
once the vote is decided."""

_SOLE: Final = (("temperature", 0.0), ("top_k", 1), ("top_p", 0.0), ("min_p", 1.0))


def places_for(at_once: int, questions: int, thoughts: int) -> int:
    """Sequences for so many questions at once, each with all of its thoughts; fewer questions where the library has no
    room for them. One whose thoughts have to wait for places would lose the time of its deadline."""
    return max(1, min(at_once, questions, MOST_PLACES // thoughts)) * thoughts


def require_votes(count: int) -> None:
    """Raise UsageError for more votes than are of use."""
    if count > MOST_VOTES:
        raise UsageError(
            f"{count} votes are more than the {MOST_VOTES} that are counted: beyond some forty an answer hardly gains, "
            f"and each thought is kept until the vote is over. Give {MOST_VOTES} or fewer."
        )


def require_draws(count: int, sampling: Mapping[str, float | None]) -> None:
    """Raise UsageError where `count` thoughts would all be the same: sampling (its fields by name, of which any may be
    absent) that leaves one token to draw."""
    if count == 1:
        return
    for name, sole in _SOLE:
        if sampling.get(name) == sole:
            way = "above" if name in ("temperature", "top_k", "top_p") else "below"
            shown = name.replace("_", "-")
            raise UsageError(
                f"{count} votes at {shown} {sole:g} would all be the same; give a {shown} {way} {sole:g}, or no votes."
            )

"""Which type each tensor takes, so that the sum of their losses is least under a limit of bytes. Pure.

Types that lie above the lower convex hull of (bytes, loss) are passed over at first; steps along the hulls are taken by
what they save per byte (Lagrange's condition, as in Shoham and Gersho, 1988), as far as they fit; what is left of the
bytes is filled with whatever still helps most. With steps that all fit this is the least sum; at the limit it is off by
less than one step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from models.errors import CannotMeetError


@dataclass(frozen=True)
class Choice:
    """A type that a tensor may take: the `bytes` it then has, and the `loss` (KL in nats) that it then costs."""

    type: str
    bytes: int
    loss: float


def choose(choices: Mapping[str, Sequence[Choice]], limit: int) -> dict[str, Choice]:
    """A choice for each tensor, together of at most `limit` bytes. Of equal gains per byte the larger step is taken.

    Raises CannotMeetError where even the smallest types take more.
    """
    useful = {name: _undominated(own) for name, own in choices.items()}
    found = {name: own[0] for name, own in useful.items()}
    left = limit - sum(one.bytes for one in found.values())
    if left < 0:
        raise CannotMeetError(
            f"The smallest types together take {limit - left:,} bytes, more than the {limit:,} that the tensors may "
            "have; allow more with --size."
        )
    steps = [(name, *step) for name, own in useful.items() for step in pairwise(_hull(own))]
    for name, before, after in sorted(steps, key=lambda step: _order(step[1], step[2])):
        if found[name] == before and after.bytes - before.bytes <= left:
            left -= after.bytes - before.bytes
            found[name] = after
    while True:
        rest = [
            (name, own)
            for name, choice in found.items()
            for own in useful[name]
            if own.loss < choice.loss and 0 < own.bytes - choice.bytes <= left
        ]
        if not rest:
            return found
        name, best = min(rest, key=lambda one: _order(found[one[0]], one[1]))
        left -= best.bytes - found[name].bytes
        found[name] = best


def least_bytes(choices: Mapping[str, Sequence[Choice]]) -> int:
    """What the smallest types take together."""
    return sum(min(one.bytes for one in own) for own in choices.values())


def _order(before: Choice, after: Choice) -> tuple[float, int]:
    """Best first."""
    step = after.bytes - before.bytes
    return (after.loss - before.loss) / step, -step


def _undominated(own: Sequence[Choice]) -> list[Choice]:
    """By bytes, without those that cost more bytes and save nothing."""
    found: list[Choice] = []
    for one in sorted(own, key=lambda choice: (choice.bytes, choice.loss)):
        if not found or one.loss < found[-1].loss:
            found.append(one)
    return found


def _hull(own: Sequence[Choice]) -> list[Choice]:
    """The lower convex hull of `own`, which is undominated: each step saves less per byte than the one before."""
    found: list[Choice] = []
    for one in own:
        while len(found) > 1 and _order(found[-2], one)[0] <= _order(found[-2], found[-1])[0]:
            found.pop()
        found.append(one)
    return found

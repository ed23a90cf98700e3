"""The budgets that one key goes through, and how a budget is called."""

from __future__ import annotations

from collections.abc import Sequence

_LARGE_CONTEXT = 8192
_SHORTEST, _SHORTEST_IN_LARGE = 16, 256


def budget_steps(context: int, own: int | None = None) -> tuple[int | None, ...]:
    """From much to little: unlimited (None), powers of two from half the context down, off (0); and `own`, what the
    user began with, in its place.

    A context of 0 tokens is one that is not known yet: then there are no steps between.
    """
    steps = {0} if own is None else {0, own}
    step = _SHORTEST_IN_LARGE if context >= _LARGE_CONTEXT else _SHORTEST
    while step <= context // 2:
        steps.add(step)
        step *= 2
    return (None, *sorted(steps, reverse=True))


def budget_name(tokens: int | None) -> str:
    """`off`, `unlimited` or the number of thinking tokens."""
    if tokens is None:
        return "unlimited"
    return str(tokens) if tokens else "off"


def smaller_budget(tokens: int | None, steps: Sequence[int | None]) -> int | None:
    """The largest of `steps` below `tokens`; below the last one comes the first again."""
    return next((step for step in steps if step is not None and (tokens is None or step < tokens)), steps[0])


def larger_budget(tokens: int | None, steps: Sequence[int | None]) -> int | None:
    """The smallest of `steps` above `tokens`; above unlimited comes the last again."""
    if tokens is None:
        return steps[-1]
    return next((step for step in reversed(steps) if step is None or step > tokens), None)

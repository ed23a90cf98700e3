"""The budgets that one key goes through, and how a budget is called."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.backends.backend import ModelFacts
from runtime.control.effort import effort_tokens

_LARGE_CONTEXT = 8192
_SHORTEST, _SHORTEST_IN_LARGE = 16, 256
_SMALL = 100_000_000  # parameters
_LONGER, _SHORTER = 2, 8
"""Few thoughts are twice as long as the mean one; of an eighth of one nothing is left to budget."""


def thought_length(facts: ModelFacts) -> int | None:
    """Tokens of a usual thought that no limit ends: as the model's profile measured them, else, of a model of some
    millions of parameters, what its medium effort allows. None: nobody knows; large models think as long as they may.
    """
    if facts.profile is not None:
        measured = [row.thinking_tokens for row in facts.profile.rows if row.budget is None]
        if measured and max(measured) >= 1.0:
            return round(max(measured))
    return effort_tokens("medium", facts) if facts.parameters < _SMALL else None


def budget_steps(context: int, own: int | None = None, length: int | None = None) -> tuple[int | None, ...]:
    """From much to little: unlimited (None), powers of two from half the context down, off (0); and `own`, what the
    user began with, in its place. `length`: of a usual thought in tokens, where it is known: then the first step is one
    that hardly any thought reaches, and the next ones are felt.

    A context of 0 tokens is one that is not known yet: then there are no steps between.
    """
    steps = {0} if own is None else {0, own}
    largest, step = context // 2, _SHORTEST_IN_LARGE if context >= _LARGE_CONTEXT else _SHORTEST
    if length is not None:
        largest = min(largest, 1 << (_LONGER * length - 1).bit_length())
        step = max(_SHORTEST, 1 << max(0, (length // _SHORTER).bit_length() - 1))
    while step <= largest:
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

"""The budgets that one key goes through, and how a budget is called."""

from __future__ import annotations

STEPS: tuple[int | None, ...] = (0, 16, 32, 64, 128, None)


def budget_name(tokens: int | None) -> str:
    """`off`, `unlimited` or the number of thinking tokens."""
    if tokens is None:
        return "unlimited"
    return str(tokens) if tokens else "off"


def next_budget(tokens: int | None) -> int | None:
    """The step after `tokens`, around; for a number between two steps, the next larger one."""
    if tokens is None:
        return STEPS[0]
    return next((step for step in STEPS if step is None or step > tokens), None)

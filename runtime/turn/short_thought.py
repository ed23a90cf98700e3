"""What is said of a thought that is shorter than the least that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.control.thinking_control import Limits
    from runtime.reply import CloseReason
    from runtime.request import Budget

SHORT = "minimum: "
"""What the flag of such a reply begins with."""


def short_thought_flags(budget: Budget, limits: Limits, thinking: int, close: CloseReason) -> tuple[str, ...]:
    """The flag that names what ended a thought of `thinking` tokens below the budget's minimum; none where its user
    wished for that. `limits`: as they were at its end."""
    if thinking >= budget.minimum or close in ("user", "off"):
        return ()
    tokens = f"{thinking} of at least {budget.minimum} thinking tokens"
    if close == "deadline":
        words = f"the deadline left time for {tokens}"
    elif close == "loop":
        words = f"the thought went in circles, and was closed after {tokens}"
    elif close == "budget" or thinking >= limits.minimum:
        words = f"the context left room for no more, and the thought ended after {tokens}"
    else:
        words = f"the model ended its thought after {tokens}"
    return (f"{SHORT}{words}",)

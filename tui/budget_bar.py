"""How much of a budget is spent, drawn in a line of text. Heavy against light strokes: it reads without colours."""

from __future__ import annotations

from textual.content import Content

WIDTH = 12


def budget_bar(spent: int, budget: int | None, width: int = WIDTH) -> Content:
    """A bar of `width` cells; empty where there is nothing to fill (no budget, or none to spend)."""
    if not budget:
        return Content("")
    filled = min(width, round(width * spent / budget))
    if spent and not filled:
        filled = 1
    style = "$warning" if spent >= budget else "$accent"
    return Content.assemble(("━" * filled, style), ("─" * (width - filled), "dim"))

"""One line above the keys: the budget, the model, how fast it writes, how full its context is."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from models.plural import counted
from tui.budget_steps import budget_name


class BudgetLabel(Static):
    """The budget; a click goes to the next one."""

    class Clicked(Message):
        """The budget was clicked."""

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.post_message(self.Clicked())


class StatusLine(Horizontal):
    """Says what is known; what is not known yet is left out."""

    def __init__(self) -> None:
        super().__init__()
        self._model = ""
        self._speed: float | None = None
        self._context_use: tuple[int, int] | None = None

    def compose(self) -> ComposeResult:
        yield BudgetLabel(markup=False)
        yield Static(id="facts", markup=False)

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    def show_budget(self, tokens: int | None, deadline: float | None = None) -> None:
        """Thinking tokens of the next question, None: unlimited; and within how many seconds its reply is there."""
        name = counted(tokens, "token") if tokens else budget_name(tokens)
        label = Content.assemble("budget ", (name, "bold"))
        if deadline is not None:
            label = Content.assemble(label, " · ", (f"≤ {deadline:g} s", "bold"))
        self.query_one(BudgetLabel).update(label)
        self.call_after_refresh(self._show)  # the label's width says how much is left for the facts

    def show_model(self, words: str) -> None:
        """The model's name and quantization, or how its loading goes."""
        self._model = words
        self._show()

    def show_speed(self, tokens_per_second: float | None) -> None:
        """Tokens per second while decoding; None: not known."""
        self._speed = tokens_per_second
        self._show()

    def show_context(self, used: int, size: int) -> None:
        """Tokens of the context in use."""
        self._context_use = (used, size) if size else None
        self._show()

    def _show(self) -> None:
        speed = context = ""
        if self._speed is not None:
            speed = f"{self._speed:.0f} tok/s" if self._speed >= 10 else f"{self._speed:.1f} tok/s"
        if self._context_use is not None:
            context = f"context {self._context_use[0]}/{self._context_use[1]}"
        facts = self.query_one("#facts", Static)
        facts.update(facts_line((self._model, speed, context), facts.size.width))


def facts_line(facts: tuple[str, str, str], width: int) -> Content:
    """The model, its speed and its context in one line of at most `width` cells (0: not known yet, no limit). Where
    they do not fit, the speed goes first, then the context: none is cut in the middle but the model's name."""
    model, speed, context = facts
    for kept in ((model, speed, context), (model, context), (model,)):
        line = Content(" · ".join(part for part in kept if part))
        if not width or line.cell_length <= width:
            break
    return line

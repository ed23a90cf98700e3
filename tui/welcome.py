"""What an empty conversation shows: a word on how it works and questions to begin with."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Static

ENGLISH = (
    "What is 348 + 275?",
    "A box holds 24 bolts. How many bolts are in 7 boxes?",
    "Divide 97 by 4. What is left over?",
)
JAPANESE = (
    "348+275は？",
    "1箱にボルトが24本入っています。7箱では何本ですか？",
    "97÷4の商と余りは？",
)


class Example(Static, can_focus=True):
    """A question that a click (or Enter) asks."""

    BINDINGS = [Binding("enter", "choose", "Ask", show=False)]  # noqa: RUF012 - Textual's own form

    class Chosen(Message):
        """Ask this."""

        def __init__(self, question: str) -> None:
            super().__init__()
            self.question = question

    def __init__(self, question: str) -> None:
        super().__init__(question, markup=False)
        self._question = question

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.action_choose()

    def action_choose(self) -> None:
        """Ask it."""
        self.post_message(self.Chosen(self._question))


class Welcome(Vertical):
    """Shown until the first question."""

    def compose(self) -> ComposeResult:
        yield Static("考え  Kangae", id="name", markup=False)
        yield Static(
            "It thinks first, then answers, all on this machine. F2 says how long it may think; "
            "F3 ends a thought and asks for the answer; F1 lists the keys.",
            id="hint",
            markup=False,
        )
        yield Static("Choose a question, or write your own below:", id="invitation", markup=False)
        with Horizontal(id="examples"):
            for questions in (ENGLISH, JAPANESE):
                with Vertical():
                    for question in questions:
                        yield Example(question)

"""What an empty conversation shows: a word on how it works and questions to begin with."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Static

ENGLISH = (
    "What is 47 * 8?",
    "There are 320 bolts on the shelf. We ship 145. Then 60 arrive. How many are left?",
    "A shift starts at 06:40 and lasts 7 h 35 min. When does it end?",
)
JAPANESE = (
    "47*8は？",
    "棚にボルトが320個あります。145個出荷しました。60個届きました。残りは何個？",
    "シフトは06:40に始まり7時間35分続きます。終わりは何時？",
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

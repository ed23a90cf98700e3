"""Where the question is written: Enter sends, Ctrl+J breaks the line, up and down go through what was asked before."""

from __future__ import annotations

from textual import events
from textual.binding import Binding
from textual.message import Message
from textual.widgets import TextArea

_ASK = "Ask a question…"
_LINE_KEYS = frozenset({"ctrl+j", "shift+enter", "alt+enter"})


class QuestionBox(TextArea):
    """A text area that sends."""

    BINDINGS = [  # noqa: RUF012 - Textual's own form
        Binding("pageup", "app.scroll_conversation(-1)", "Scroll up", show=False),
        Binding("pagedown", "app.scroll_conversation(1)", "Scroll down", show=False),
        Binding("ctrl+home", "app.scroll_conversation(-1000)", "To the top", show=False),
        Binding("ctrl+end", "app.scroll_conversation(1000)", "To the end", show=False),
    ]

    class Sent(Message):
        """A question is asked."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self) -> None:
        super().__init__(soft_wrap=True, show_line_numbers=False, highlight_cursor_line=False, tab_behavior="focus")
        self.placeholder = _ASK
        self._asked: list[str] = []
        self._place = 0
        self._draft = ""

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            self._send()
        elif event.key in _LINE_KEYS:
            event.stop()
            event.prevent_default()
            self.insert("\n")
        else:
            await super()._on_key(event)

    def action_cursor_up(self, select: bool = False) -> None:
        """Up, and from the first line to the question before."""
        if select or not self.cursor_at_first_line:
            super().action_cursor_up(select)
        else:
            self._recall(self._place - 1)

    def action_cursor_down(self, select: bool = False) -> None:
        """Down, and from the last line to the question after."""
        if select or not self.cursor_at_last_line:
            super().action_cursor_down(select)
        else:
            self._recall(self._place + 1)

    def _send(self) -> None:
        text = self.text.strip()
        if text:
            self.post_message(self.Sent(text))

    def accept(self, text: str) -> None:
        """The question was taken: remember it and empty the box."""
        if not self._asked or self._asked[-1] != text:
            self._asked.append(text)
        self._place, self._draft = len(self._asked), ""
        self.text = ""

    def invite(self, *, busy: bool, thinks: bool) -> None:
        """Say in the empty box what Enter does: while a turn is under way, in its thought or in its answer."""
        self.placeholder = "A hint for the thought…" if thinks else "The answer is coming…" if busy else _ASK

    def _recall(self, place: int) -> None:
        if not 0 <= place <= len(self._asked) or place == self._place:
            return
        if self._place == len(self._asked):
            self._draft = self.text
        self._place = place
        self.text = self._asked[place] if place < len(self._asked) else self._draft
        self.move_cursor(self.document.end)

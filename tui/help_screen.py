"""The keys, on one page."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

KEYS: tuple[tuple[str, str], ...] = (
    ("Enter", "send the question"),
    ("Ctrl+J", "new line (also Shift+Enter, where the terminal tells it apart)"),
    ("Up, Down", "earlier questions"),
    ("PgUp, PgDn", "scroll the conversation"),
    ("F2, Ctrl+B", "thinking budget: off, 16 … 128 tokens, unlimited"),
    ("F3, Ctrl+O", "answer now: end the thought and answer"),
    ("Esc", "stop; what was written is kept"),
    ("Ctrl+T", "show or fold the thought, now and from here on"),
    ("Ctrl+Y", "copy the last answer"),
    ("Ctrl+N", "new conversation"),
    ("Ctrl+P", "all commands, colour themes"),
    ("Ctrl+Q", "quit"),
)


class HelpScreen(ModalScreen[None]):
    """Any of F1, Esc, Enter or q closes it."""

    BINDINGS = [  # noqa: RUF012 - Textual's own form
        Binding("escape,f1,enter,q", "dismiss", "Close", show=False)
    ]

    def compose(self) -> ComposeResult:
        width = max(len(key) for key, _ in KEYS)
        lines = "\n".join(f"{key.ljust(width)}  {words}" for key, words in KEYS)
        page = VerticalScroll(Static(lines, markup=False), id="help")
        page.border_title = "Keys"
        page.border_subtitle = "Esc closes"
        yield page

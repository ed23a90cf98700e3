"""The keys, on one page."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

KEYS: tuple[tuple[str, str], ...] = (
    ("Enter", "send the question"),
    ("Ctrl+J", "new line (in some terminals also Shift+Enter)"),
    ("Up, Down", "earlier questions"),
    ("PgUp, PgDn", "scroll the conversation"),
    ("F2, Ctrl+B", "a smaller thinking budget; after off comes unlimited"),
    ("Shift+F2", "a larger thinking budget"),
    ("F3, Ctrl+O", "answer now: end the thought and answer"),
    ("F4", "raise the budget of the thought by half"),
    ("F5", "pause, and go on; also with an interrupted thought"),
    ("Enter", "while it thinks: a hint for the thought"),
    ("Esc", "stop; what was written is kept"),
    ("Ctrl+T", "show the whole thought or fold it, and those to come"),
    ("Ctrl+N", "new conversation"),
    ("Ctrl+Q", "quit"),
    ("Ctrl+Y", "copy the last answer"),
    ("Ctrl+P", "all commands, colour themes"),
)


class HelpScreen(ModalScreen[None]):
    """Any of F1, Esc, Enter or q closes it."""

    BINDINGS = [  # noqa: RUF012 - Textual's own form
        Binding("escape,f1,enter,q", "dismiss", "Close", show=False)
    ]

    def compose(self) -> ComposeResult:
        rows = (
            Horizontal(Static(key, classes="key", markup=False), Static(words, markup=False)) for key, words in KEYS
        )
        page = VerticalScroll(*rows, id="help")
        page.border_title = "Keys"
        page.border_subtitle = "Esc closes"
        yield page

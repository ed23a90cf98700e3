"""A sentence between the turns: an error, or how a turn ended."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from models.errors import KangaeError
from runtime.plain_text import strip_controls

_TOO_LONG = 7  # the exit code of what cannot be met: a conversation that has outgrown the context


class Note(Static):
    """Plain text, never markup."""

    def __init__(self, text: str = "") -> None:
        super().__init__(markup=False)
        self._text = text

    @classmethod
    def of_error(cls, error: KangaeError) -> Note:
        """What failed and what to do."""
        note = cls(error_sentence(error))
        note.add_class("-error")
        return note

    def on_mount(self) -> None:
        self.update(Content(self._text))


def error_sentence(error: KangaeError) -> str:
    """The title and the detail on one line, and the interface's own way out where it has one."""
    way_out = " Ctrl+N begins a new, empty conversation." if error.exit_code == _TOO_LONG else ""
    return strip_controls(f"{error.title}: {error.detail}{way_out}")

"""A sentence between the turns: an error, or how a turn ended."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from models.errors import KangaeError
from models.plain_text import strip_controls

_TOO_LONG = 7  # the exit code of what cannot be met: a conversation that has outgrown the context or the deadline


class Note(Static):
    """Plain text, never markup."""

    def __init__(self, text: str = "", *, error: bool = False) -> None:
        super().__init__(markup=False)
        self._text = strip_controls(text)
        self.set_class(error, "-error")

    @classmethod
    def of_error(cls, error: KangaeError, *, kept: bool = False, continued: bool = False) -> Note:
        """What failed and what to do. `kept`: something was written before; `continued`: other questions were."""
        text = f"{error.title}: {error.detail}"
        if kept:
            text += " What was written is kept."
        if continued and error.exit_code == _TOO_LONG:
            text += " Ctrl+N begins a new, empty conversation."
        return cls(text, error=True)

    def on_mount(self) -> None:
        self.update(Content(self._text))

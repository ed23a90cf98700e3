"""Plain text that grows. What has settled is not laid out again, so the thousandth line costs what the first did."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

_SETTLED = 1500  # characters that one block gathers before the next begins, at a line's end
_LONGEST = 6000  # a line longer than that is broken into blocks all the same


class LiveText(Vertical):
    """Blocks of text below each other; only the last one changes. Markup in a plain text means nothing."""

    def __init__(self, text: str | Content = "") -> None:
        super().__init__()
        self._open = Content(text) if isinstance(text, str) else text
        self._last = Static(Content(""), markup=False)

    def compose(self) -> ComposeResult:
        yield self._last

    def on_mount(self) -> None:
        self._show()

    def append(self, text: str | Content) -> None:
        """Add to the end."""
        self._open += Content(text) if isinstance(text, str) else text
        self._show()

    def replace(self, text: str) -> None:
        """Show this text alone. For short texts: it is laid out anew."""
        for block in self.query(Static):
            if block is not self._last:
                block.remove()
        self._open = Content(text)
        self._show()

    def _show(self) -> None:
        last = self._last
        if not last.is_attached:  # not composed yet, or removed before it was
            return
        while len(self._open) > _SETTLED:
            cut = self._open.plain.rfind("\n", 0, len(self._open) - 1)
            if cut > 0:
                done, self._open = self._open[:cut], self._open[cut + 1 :]
            elif len(self._open) > _LONGEST:
                done, self._open = self._open[:_LONGEST], self._open[_LONGEST:]
            else:
                break
            self.mount(Static(done, markup=False), before=last)
        last.update(self._open.rstrip("\n"))
        last.display = bool(self._open.plain)

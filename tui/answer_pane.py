"""An answer: Markdown for what has settled, plain text for the paragraph that is still being written."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Markdown

from models.plain_text import one_line
from tui.live_text import LiveText
from tui.markdown_rules import make_parser


def settled_length(text: str) -> int:
    """Characters of `text` up to its last blank line outside an open code fence: more text hardly changes these."""
    settled = place = 0
    fence = ""
    for line in text.splitlines(keepends=True):
        place += len(line)
        mark = line.lstrip()[:3]
        if fence:
            if mark == fence and not line.strip().strip(fence[0]):
                fence = ""
        elif mark in ("```", "~~~"):
            fence = mark
        elif not line.strip():
            settled = place
    return settled


class AnswerPane(Vertical):
    """One answer. `text` is its source, for copying."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self._settled = 0
        self._tail: LiveText | None = None
        self._document = Markdown(parser_factory=make_parser, open_links=False)

    def compose(self) -> ComposeResult:
        yield self._document

    async def add(self, text: str) -> None:
        """More of the answer."""
        self.text += text
        if not self.text.strip():
            return
        settled = settled_length(self.text)
        if settled > self._settled:
            await self._document.append(self.text[self._settled : settled])
            self._settled = settled
            if self._tail is not None:
                self._tail.replace(self.text[settled:])
        elif self._tail is not None:
            self._tail.append(text)
        if self._tail is None:
            self._tail = LiveText(self.text[settled:].lstrip("\n"))
            await self.mount(self._tail)

    async def end(self) -> None:
        """No more comes: read the whole once, so that what was cut into pieces is joined."""
        if self._tail is not None:
            with self.app.batch_update():
                await self._document.update(self.text.strip("\n"))
                await self._tail.remove()
            self._tail = None

    def on_markdown_link_clicked(self, event: Markdown.LinkClicked) -> None:
        """Nothing is opened on a model's word: the address is shown."""
        event.stop()
        self.app.notify(one_line(event.href), title="The link leads to", markup=False)

"""An answer: Markdown for what has settled, plain text for the paragraph that is still being written."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Markdown, Static

from models.plain_text import one_line
from models.plural import counted, plural
from runtime.answers.decline import declines
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


class AnswerTitle(Static):
    """The line above an answer: nobody takes a thought for it."""


class AnswerPane(Vertical):
    """One answer under its title. `text` is its source, for copying."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self._settled = 0
        self._tail: LiveText | None = None
        self._title = AnswerTitle(markup=False)
        self._title.display = False
        self._document = Markdown(parser_factory=make_parser, open_links=False)

    def compose(self) -> ComposeResult:
        yield self._title
        yield self._document

    async def add(self, text: str, tokens: int = 0) -> None:
        """More of the answer, which has so many tokens by now."""
        self.text += text
        if not self.text.strip():
            return
        self._show_title("answering", tokens)
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

    async def end(self, tokens: int = 0, *, hints: int = 0) -> None:
        """No more comes: read the whole once, so that what was cut into pieces is joined. `hints`: how many its user
        put into the thought, which its title tells: they may have turned a right thought wrong."""
        if self.text.strip():
            declined = declines(self.text)
            self._show_title("answer: the model declined" if declined else "answer", tokens, hints)
            self._title.set_class(declined, "-declined")
        if self._tail is not None:
            with self.app.batch_update():
                await self._document.update(self.text.strip("\n"))
                await self._tail.remove()
            self._tail = None

    def _show_title(self, words: str, tokens: int, hints: int = 0) -> None:
        count = f" · {counted(tokens, 'token')}" if tokens else ""
        led = f" · with {plural(hints, 'your hint', f'{hints} hints of yours')}" if hints else ""
        self._title.update(Content.assemble("─ ", (words, "bold"), count, led))
        self._title.display = True

    def on_markdown_link_clicked(self, event: Markdown.LinkClicked) -> None:
        """Nothing is opened on a model's word: the address is shown."""
        event.stop()
        self.app.notify(one_line(event.href), title="The link leads to", markup=False)

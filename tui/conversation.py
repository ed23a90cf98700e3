"""The turns, oldest first, following the newest line until the reader scrolls away."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.widget import Widget

from tui.note import Note
from tui.question_box import QuestionBox
from tui.turn import Turn
from tui.welcome import Welcome

MOST_TURNS = 50
"""Turns that stay on the screen's tree; older ones are in the store alone."""
_OFFER = "-offer"


class Page(Vertical):
    """What is scrolled. It is never shorter than the view: an anchored scroll would sink a short one to the bottom."""


class Conversation(VerticalScroll):
    """Turns and notes in a scroll."""

    def compose(self) -> ComposeResult:
        yield Page(Welcome())

    async def add(self, widget: Widget) -> None:
        """Put a turn or a note at the end and go there."""
        await self.query(Welcome).remove()
        await self.query(f".{_OFFER}").remove()
        turns = list(self.query(Turn))
        for old in turns[: max(0, len(turns) + 1 - MOST_TURNS)]:
            await old.remove()
        await self.query_one(Page).mount(widget)
        self.anchor()

    async def offer(self, note: Note) -> None:
        """Put a note before all else; it goes with the next thing that is added."""
        note.add_class(_OFFER)
        await self.query_one(Page).mount(note, before=0)

    async def reset(self) -> None:
        """Begin anew."""
        page = self.query_one(Page)
        await page.remove_children()
        await page.mount(Welcome())
        self.scroll_home(animate=False)

    def on_key(self, event: events.Key) -> None:
        """Whoever types means the question box."""
        if event.is_printable and event.character:
            box = self.screen.query_one(QuestionBox)
            box.focus()
            box.insert(event.character)
            event.stop()

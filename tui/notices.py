"""What is said in passing (a hint was taken, something is copied): lines of their own above the question box.

Textual's own toasts lie over the screen's lower right corner, where the question box and the status line are.
"""

from __future__ import annotations

from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.notifications import SeverityLevel
from textual.widgets import Static

from models.plain_text import one_line
from runtime.worker.warning_log import WarningLog
from tui.calm_app import CalmApp

_WARNING_S = 30.0  # it says what to do about it: a path is copied, a folder looked at
_MOST = 2  # lines of their own take room from the conversation


class Notice(Static):
    """One of them; it goes by itself, or by a click."""

    def __init__(self, words: Content, severity: SeverityLevel, seconds: float, *, of_turn: bool = False) -> None:
        super().__init__(words, markup=False, classes=f"-{severity}")
        self.words = words
        self.severity: SeverityLevel = severity
        self.of_turn = of_turn
        self._seconds = seconds

    def on_mount(self) -> None:
        self.set_timer(self._seconds, self.remove)

    async def on_click(self) -> None:
        await self.remove()


class Notices(Vertical):
    """The newest notices; where there are none, it takes no room."""

    class Said(Message):
        """Show this for so many seconds; `of_turn`: only while the turn under way goes on."""

        def __init__(self, words: Content, severity: SeverityLevel, seconds: float, *, of_turn: bool = False) -> None:
            super().__init__()
            self.words = words
            self.severity: SeverityLevel = severity
            self.seconds = seconds
            self.of_turn = of_turn

    class TurnEnded(Message):
        """What was said of the turn under way holds no longer."""

    async def show(self, said: Said) -> None:
        """Add one at the end. One that says the same, and of too many the oldest, if it can be one that is no warning,
        make room."""
        kept = [notice for notice in self.query(Notice) if notice.words.plain != said.words.plain]
        while len(kept) >= _MOST:
            kept.remove(next((notice for notice in kept if notice.severity == "information"), kept[0]))
        with self.app.batch_update():
            for notice in self.query(Notice):
                if notice not in kept:
                    await notice.remove()
            await self.mount(Notice(said.words, said.severity, said.seconds, of_turn=said.of_turn))

    async def end_turn(self) -> None:
        """Take away what was said of the turn that has ended."""
        for notice in self.query(Notice):
            if notice.of_turn:
                await notice.remove()


class NoticingApp(CalmApp):
    """An application whose screen holds `Notices`, where all stands that it, or Textual, says in passing, and what
    Kangae logs as a warning."""

    def __init__(self) -> None:
        super().__init__()
        self._warned: dict[str, None] = {}
        self._warning_log = WarningLog(self.warn)

    def on_load(self) -> None:
        self._warning_log.begin()

    async def on_unmount(self) -> None:
        self._warning_log.end()

    @property
    def warned(self) -> tuple[str, ...]:
        """All warnings so far, each text once: also those that came when the screen was no longer there."""
        return tuple(self._warned)

    def warn(self, text: str, *, title: str = "") -> None:
        """Say a warning, from any thread; not one that was said before."""
        text = one_line(text)
        whole = f"{title}: {text}" if title else text
        if whole not in self._warned:
            self._warned[whole] = None
            self.notify(text, title=title, severity="warning", timeout=_WARNING_S, markup=False)

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = True,
    ) -> None:
        """Say something, from any thread, where it covers nothing; `timeout` in seconds."""
        words = Content.from_markup(message) if markup else Content(message)
        if title:
            words = Content.assemble((f"{title}: ", "bold"), words)
        if self.is_running:
            self.post_message(Notices.Said(words, severity, self.NOTIFICATION_TIMEOUT if timeout is None else timeout))

    def say_of_turn(self, words: str) -> None:
        """Say something, as plain text, that holds while the turn under way goes on."""
        if self.is_running:
            said = Notices.Said(Content(words), "information", self.NOTIFICATION_TIMEOUT, of_turn=True)
            self.post_message(said)

    def forget_said_of_turn(self) -> None:
        """The turn has ended. As a message of its own it comes behind all that was said before."""
        if self.is_running:
            self.post_message(Notices.TurnEnded())

    async def on_notices_turn_ended(self) -> None:
        await self.query_one(Notices).end_turn()

    async def on_notices_said(self, event: Notices.Said) -> None:
        await self.query_one(Notices).show(event)

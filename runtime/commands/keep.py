"""Keeping replies in the store without ever losing an answer over it."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import KangaeError, WriteError
from runtime.reply import Reply
from runtime.settings import Settings

if TYPE_CHECKING:
    from runtime.store import Store

_TITLE = 80


class KeptConversation:
    """A conversation in the store; it begins with the first reply that is kept.

    Without a title or a model it takes those of that reply. `linked`: each reply follows the one before; else each
    stands alone. `thinking_days`: thoughts of all conversations, and turns that can be gone on with, are forgotten
    on the way where they are older; 0: none are.
    Blocks on the disk; any thread may add.
    """

    def __init__(
        self,
        *,
        title: str = "",
        system: str = "",
        model: str = "",
        thinking_days: int = 0,
        linked: bool = False,
        path: Path | None = None,
    ) -> None:
        self.thinking_days = thinking_days
        self._title, self._system, self._model = title, system, model
        self._linked = linked
        self._path = path
        self._identity: str | None = None
        self._last: int | None = None
        self._adding = threading.Lock()

    @property
    def identity(self) -> str | None:
        """The conversation's id; None while nothing is kept."""
        return self._identity

    def add(self, replies: Iterable[Reply]) -> None:
        """Keep these replies, but those that were stopped before anything was produced; they may be none. Raises
        KangaeError where the store cannot be written."""
        replies = [reply for reply in replies if reply.thinking or reply.answer or reply.finish != "cancelled"]
        if not replies:
            return
        from models.plain_text import shorten
        from runtime.store import Store

        with self._adding, Store.open(self._path) as store:
            self._forget_old(store)
            if self._identity is None or not store.has_conversation(self._identity):
                self._last = None  # it may have been removed meanwhile: it begins anew
                title = shorten(self._title or replies[0].question, _TITLE)
                model = self._model or replies[0].model.name
                self._identity = store.new_conversation(title, system=self._system, model=model)
            for reply in replies:
                number = store.add_reply(self._identity, reply, parent=self._last)
                if self._linked:
                    self._last = number

    def change(self, reply: Reply) -> None:
        """Keep the reply of a turn that went on: in the place of what was kept of it, if anything was. Raises
        KangaeError where the store cannot be written."""
        from runtime.store import Store

        with self._adding, Store.open(self._path) as store:
            self._forget_old(store)
            before = store.reply_of_turn(reply.id)
            if before is not None and store.change_reply(before.number, reply):
                self._identity = before.conversation
                if self._linked:
                    self._last = before.number
                return
        self.add([reply])

    def _forget_old(self, store: Store) -> None:
        """Thoughts that are older than wanted, also those of turns that did not end."""
        if not self.thinking_days:
            return
        from runtime.turn.kept_turns import KeptTurns

        store.forget_thoughts(self.thinking_days)
        try:
            KeptTurns().forget(self.thinking_days)
        except KangaeError as error:  # the reply is kept all the same
            logging.getLogger("kangae").warning("%s", error.detail)


class Keeper:
    """Keeps the replies of one command as one conversation. A store that cannot be written is told once, on stderr."""

    def __init__(self, settings: Settings, *, wanted: bool, title: str, system: str, model: str) -> None:
        self._wanted = wanted and settings.store
        self._kept = KeptConversation(title=title, system=system, model=model, thinking_days=settings.thinking_days)

    @property
    def session(self) -> str | None:
        """The id of the conversation in which they are; None: nothing is kept."""
        return self._kept.identity

    def keep(self, replies: list[Reply], *, resumed: bool = False) -> int:
        """Keep these replies, but those in which nothing was produced; they may be none. `resumed`: they come in the
        place of what was kept of their turns. Returns the exit code: 0, or that of what cannot be written."""
        if not self._wanted:
            return 0
        try:
            if resumed:
                for reply in replies:
                    self._kept.change(reply)
            else:
                self._kept.add(replies)
        except KangaeError as error:
            self._wanted = False
            with contextlib.suppress(OSError):
                print(f"The reply is not kept: {error.detail}", file=sys.stderr)
            return WriteError.exit_code
        return 0

"""Keeping replies in the store without ever losing an answer over it."""

from __future__ import annotations

import sys

from models.errors import KangaeError
from runtime.reply import Reply
from runtime.settings import Settings


class Keeper:
    """Keeps the replies of one command as one conversation. A store that cannot be written is told once, on stderr."""

    def __init__(self, settings: Settings, *, wanted: bool, title: str, system: str, model: str) -> None:
        self._wanted = wanted and settings.store
        self._thinking_days = settings.thinking_days
        self._title, self._system, self._model = title, system, model

    def keep(self, replies: list[Reply]) -> None:
        """Keep these replies, but those in which nothing was produced; they may be none."""
        replies = [reply for reply in replies if reply.thinking or reply.answer or reply.finish != "cancelled"]
        if not self._wanted or not replies:
            return
        from runtime.plain_text import shorten
        from runtime.store import Store

        try:
            with Store.open() as store:
                if self._thinking_days:
                    store.forget_thoughts(self._thinking_days)
                conversation = store.new_conversation(shorten(self._title, 80), system=self._system, model=self._model)
                for reply in replies:
                    store.add_reply(conversation, reply)
        except KangaeError as error:
            self._wanted = False
            try:
                print(f"The reply is not kept: {error.detail}", file=sys.stderr)
            except OSError:
                return

"""Keeps the conversation in the store. A disk that cannot be written costs the memory, never the conversation."""

from __future__ import annotations

import threading
from pathlib import Path

from models.errors import KangaeError
from runtime.plain_text import shorten
from runtime.reply import Reply
from runtime.store import Store

_TITLE = 60


class SessionLog:
    """Adds replies to one stored conversation after the other. Blocks on the disk: call it from a thread."""

    def __init__(self, path: Path | None = None, *, system: str = "") -> None:
        self._path = path
        self._system = system
        self._conversation: str | None = None
        self._last: int | None = None
        self._lock = threading.Lock()

    def add(self, reply: Reply, *, first: bool) -> KangaeError | None:
        """Keep a reply; `first` begins a conversation. Returns why it could not be kept."""
        with self._lock:
            try:
                with Store.open(self._path) as store:
                    if first or self._conversation is None:
                        title = shorten(reply.question, _TITLE)
                        self._conversation = store.new_conversation(title, system=self._system, model=reply.model.name)
                        self._last = None
                    self._last = store.add_reply(self._conversation, reply, parent=self._last)
            except KangaeError as error:
                return error
        return None

"""The turns of the interface in the store: each in the conversation that was open when it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from models.errors import KangaeError
from runtime.commands.keep import KeptConversation
from tui.fault import fault
from tui.turn_feed import TurnFeed

STOPPING_S = 2.0
"""A stopped turn gives its reply within a decode step; what takes longer is kept as it was shown."""


class TurnKeeper:
    """Stores turns in the background. `begin` makes a conversation that is kept, None: nothing is; `on_error` is
    called, once, with why the store cannot be written."""

    def __init__(self, begin: Callable[[], KeptConversation] | None, on_error: Callable[[KangaeError], None]) -> None:
        self._begin = begin
        self._on_error = on_error
        self._conversation = begin() if begin is not None else None
        # Tasks of their own, not Textual's workers, which quitting would end.
        self._tasks: set[asyncio.Task[None]] = set()
        self._told = False
        self.kept = False
        """Whether anything was stored."""

    @property
    def busy(self) -> bool:
        """Whether something is being stored."""
        return bool(self._tasks)

    def begin_conversation(self) -> None:
        """What is kept from now on belongs to a new conversation."""
        self._conversation = self._begin() if self._begin is not None else None

    def keep(self, feed: TurnFeed, seconds: float) -> None:
        """Store what came of a turn, which has so many seconds left to end."""
        if self._conversation is not None:
            task = asyncio.create_task(self._keep(feed, self._conversation, seconds))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """Wait until all that was given is stored."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _keep(self, feed: TurnFeed, conversation: KeptConversation, seconds: float) -> None:
        try:
            self.kept |= await asyncio.to_thread(_store, feed, conversation, seconds)
        except KangaeError as error:
            self._tell(error)
        except Exception as error:
            self._tell(fault(error, "The conversation goes on."))

    def _tell(self, error: KangaeError) -> None:
        if not self._told:
            self._told = True
            self._on_error(error)


def _store(feed: TurnFeed, conversation: KeptConversation, seconds: float) -> bool:
    """Blocks; whether there was anything to store."""
    reply = feed.last_reply(seconds)
    if reply is None:
        return False
    if feed.resumed:
        conversation.change(reply)
    else:
        conversation.add([reply])
    return bool(reply.thinking or reply.answer)

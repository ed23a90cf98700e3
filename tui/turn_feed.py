"""One turn, run in a thread of its own; its events wait here until the interface takes them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from models.errors import InternalError, KangaeError
from runtime.events import Done, Event
from runtime.request import Request
from runtime.responder import Control, Responder


class TurnFeed:
    """Gathers events with their times; `on_news` is called (in the thread) for what should be seen at once.

    The thread is a daemon: quitting does not wait for a model that is still loading or a decode that is still going.
    """

    def __init__(
        self,
        responder: Callable[[Control], Responder],
        request: Request,
        control: Control,
        on_news: Callable[[], None],
    ) -> None:
        self.request = request
        self.control = control
        self.started = time.monotonic()
        self._responder = responder
        self._on_news = on_news
        self._lock = threading.Lock()
        self._events: list[tuple[float, Event | KangaeError]] = []
        self._thread = threading.Thread(target=self._run, name="turn", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def take(self) -> list[tuple[float, Event | KangaeError]]:
        """All that happened since the last call: (monotonic seconds, event), an error last if the turn failed."""
        with self._lock:
            events, self._events = self._events, []
        return events

    def _run(self) -> None:
        seen: set[type[object]] = set()
        try:
            for event in self._responder(self.control).respond(self.request, self.control):
                self._put(event)
                if type(event) not in seen or isinstance(event, Done):
                    seen.add(type(event))
                    self._on_news()
        except KangaeError as error:
            self._put(error)
        except Exception as error:
            self._put(InternalError(f"{type(error).__name__}: {error}. Asking again may help."))
        self._on_news()

    def _put(self, event: Event | KangaeError) -> None:
        with self._lock:
            self._events.append((time.monotonic(), event))

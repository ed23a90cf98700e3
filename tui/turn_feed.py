"""One turn, run in a thread of its own; its events wait here until the interface takes them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

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
        make_request: Callable[[Responder], Request],
        control: Control,
        on_news: Callable[[], None],
    ) -> None:
        self.control = control
        self.started = monotonic()
        self._responder = responder
        self._make_request = make_request
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
            responder = self._responder(self.control)
            for event in responder.respond(self._make_request(responder), self.control):
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
            self._events.append((monotonic(), event))

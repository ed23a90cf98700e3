"""One turn, run in a thread of its own; its events wait here until the interface takes them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from time import monotonic

from models.errors import InterruptedByUser, KangaeError
from runtime.events import Done, Event, Failed
from runtime.reply import Reply
from runtime.request import Request
from runtime.responder import Control, Responder
from runtime.verification import FLAG, judged
from tui.fault import fault
from tui.reply_so_far import ReplySoFar


class TurnFeed:
    """Gathers events with their times; `on_news` is called (in the thread) for what should be seen at once.

    The thread is a daemon: quitting does not wait for a model that is still loading or a decode that is still going.
    `granted`: the turn goes on, after so many thinking tokens were added to its budget; None: it begins.
    """

    def __init__(
        self,
        responder: Callable[[Control], Responder],
        make_request: Callable[[Responder], Request],
        control: Control,
        on_news: Callable[[], None],
        *,
        granted: int | None = None,
    ) -> None:
        self.control = control
        self.resumed = granted is not None
        self.started = monotonic()
        self.asked: float | None = None
        """When the open model was asked: a deadline counts from then. None while the model is waited for."""
        self._responder = responder
        self._make_request = make_request
        self._on_news = on_news
        self._granted = granted or 0
        self._lock = threading.Lock()
        self._events: list[tuple[float, Event | KangaeError]] = []
        self._so_far: ReplySoFar | None = None
        self._reply: Reply | None = None
        self._error: KangaeError | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="turn", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def take(self) -> list[tuple[float, Event | KangaeError]]:
        """All that happened since the last call: (monotonic seconds, event), an error last if the turn failed."""
        with self._lock:
            events, self._events = self._events, []
        return events

    def last_reply(self, seconds: float = 0.0) -> Reply | None:
        """The reply, waited for at most so long. Where the turn failed or gives none in time: as much as was produced,
        None if that is nothing."""
        self._over.wait(seconds)
        with self._lock:
            if self._reply is None and self._so_far is not None:
                error = self._error
                stopped = error is None or isinstance(error, InterruptedByUser)
                flags = () if error is None or stopped else (f"{error.title}: {error.detail}",)
                passed = monotonic() - (self.asked or self.started)
                granted = self._granted + self.control.granted
                return self._so_far.reply("cancelled" if stopped else "error", passed, flags, granted=granted)
            return self._reply

    def _run(self) -> None:
        seen: set[type[object]] = set()
        try:
            responder = self._responder(self.control)
            request = self._make_request(responder)
            self._so_far = ReplySoFar(request, responder)
            self.asked = monotonic()
            for event in responder.respond(request, self.control):
                if isinstance(event, Failed):
                    raise event.error
                if isinstance(event, Done):
                    event = replace(event, reply=self._judged(event.reply, request))
                self._put(event)
                if type(event) not in seen or isinstance(event, Done):
                    seen.add(type(event))
                    self._on_news()
            if self._reply is None:
                raise RuntimeError("the model ended without a reply")
        except KangaeError as error:
            self._put(error)
        except Exception as error:
            self._put(fault(error, "Asking again may help."))
        self._on_news()

    def _judged(self, reply: Reply, request: Request) -> Reply:
        """The reply, judged by those whom the request names: a turn that was begun elsewhere brings them along."""
        if not request.verifiers or reply.finish not in ("stop", "length"):
            return reply
        from runtime.verifiers.registry import choose

        try:
            verifiers = [one for name in request.verifiers for one in choose(name)]
        except KangaeError as error:  # one that was uninstalled since
            return replace(reply, flags=(*reply.flags, f"{FLAG}the answer was not judged: {error.detail}"))
        options, seconds = request.verifier_options, request.budget.seconds
        return judged(reply, verifiers, seconds, options=options, stopped=lambda: self.control.cancelled)

    def _put(self, event: Event | KangaeError) -> None:
        with self._lock:
            if isinstance(event, KangaeError):
                self._error = event
            elif isinstance(event, Done):
                self._reply = event.reply
            elif self._so_far is not None:
                self._so_far.see(event)
            if isinstance(event, KangaeError | Done):
                self._over.set()
            self._events.append((monotonic(), event))

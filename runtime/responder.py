"""What every front end knows: a responder takes a request and gives events; a control steers the turn."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from runtime.backends.backend import ModelFacts
from runtime.events import Event
from runtime.request import Request


class Control:
    """Steers one turn from any thread: `answer_now` closes the thought, `cancel` ends the turn and keeps what was
    produced."""

    def __init__(self) -> None:
        self._answer_now = threading.Event()
        self._cancelled = threading.Event()
        self._lock = threading.RLock()  # a signal handler may cancel while its own thread is in here
        self._callbacks: list[Callable[[], None]] = []
        self._listeners: list[Callable[[], None]] = []

    def answer_now(self) -> None:
        """Close the thought gracefully and answer."""
        with self._lock:
            first = not self._answer_now.is_set()
            self._answer_now.set()
            listeners = list(self._listeners)
        if first:
            for listener in listeners:
                listener()

    def cancel(self) -> None:
        """Stop within one decode step."""
        with self._lock:
            first = not self._cancelled.is_set()
            self._cancelled.set()
            callbacks = [*self._callbacks, *self._listeners]
        if first:
            for callback in callbacks:
                callback()

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, in the cancelling thread, when the turn is cancelled; at once if it already is."""
        with self._lock:
            self._callbacks.append(callback)
            cancelled = self._cancelled.is_set()
        if cancelled:
            callback()

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` in the steering thread after each first `answer_now` or `cancel`; at once if one came
        before."""
        with self._lock:
            self._listeners.append(callback)
            steered = self._answer_now.is_set() or self._cancelled.is_set()
        if steered:
            callback()

    def forget(self, callback: Callable[[], None]) -> None:
        """The turn is over: `callback` is no longer wanted."""
        with self._lock:
            for callbacks in (self._callbacks, self._listeners):
                if callback in callbacks:
                    callbacks.remove(callback)  # one of them: turns may share a control

    @property
    def wants_answer(self) -> bool:
        return self._answer_now.is_set()

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()


class Responder(Protocol):
    """Implemented by the local engine, in-process or in a worker process, and by remote engines."""

    facts: ModelFacts
    backend_name: str
    context: int

    def respond(self, request: Request, control: Control | None = None) -> Iterator[Event]:
        """Events of one turn; the last one is `Done`. Raises `KangaeError` before the first event if the request
        cannot be met."""

    def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
        """Events of many turns, decoded together; `event.branch` is the request's index. A request that cannot be met
        gives `Failed` in the place of its `Done`; the others go on."""

    def close(self) -> None:
        """Free the model."""

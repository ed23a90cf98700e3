"""What every front end knows: a responder takes a request and gives events; a control steers the turn."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from runtime.backends.backend import ModelFacts
from runtime.events import Event
from runtime.request import Request


@dataclass(frozen=True)
class AnswerNow:
    """Close the thought gracefully and answer, also from a pause."""


@dataclass(frozen=True)
class More:
    """Raise the budget by so many thinking tokens."""

    tokens: int


@dataclass(frozen=True)
class Hint:
    """Put a text into the thought at its next boundary."""

    text: str


@dataclass(frozen=True)
class Pause:
    """Stand still, or go on."""

    still: bool


@dataclass(frozen=True)
class Cancel:
    """Stop within one decode step and keep what was produced; `branch` None: all of them."""

    branch: int | None = None


Wish = AnswerNow | More | Hint | Pause | Cancel


class Control:
    """Steers a turn from any thread: a list of wishes that only grows. Whoever thinks reads it; whoever forwards it
    listens."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal handler may cancel while its own thread is in here
        self._wishes: tuple[Wish, ...] = ()
        self._answer_now = self._cancelled = self._paused = False
        self._stopped: frozenset[int] = frozenset()
        self._granted = 0
        self._hints: tuple[str, ...] = ()
        self._callbacks: list[Callable[[], None]] = []
        self._listeners: list[Callable[[], None]] = []

    def answer_now(self) -> None:
        """Close the thought gracefully and answer; a pause ends."""
        self.tell(AnswerNow())

    def more(self, tokens: int) -> None:
        """Raise the budget while it thinks."""
        self.tell(More(tokens))

    def hint(self, text: str) -> None:
        """Put `text` into the thought at its next boundary; nothing, where it has ended."""
        self.tell(Hint(text))

    def pause(self) -> None:
        """Stand still after the token under way."""
        self.tell(Pause(still=True))

    def resume(self) -> None:
        """Go on."""
        self.tell(Pause(still=False))

    def cancel(self, branch: int | None = None) -> None:
        """Stop within one decode step."""
        self.tell(Cancel(branch))

    def tell(self, wish: Wish) -> None:
        """Add a wish; one that changes nothing is dropped."""
        with self._lock:
            match wish:
                case AnswerNow():
                    changed = not self._answer_now or self._paused
                    self._answer_now, self._paused = True, False
                case Cancel(branch=None):
                    changed, self._cancelled = not self._cancelled, True
                case Cancel(branch=int(branch)):
                    changed, self._stopped = branch not in self._stopped, self._stopped | {branch}
                case Pause(still=still):
                    changed, self._paused = still != self._paused, still
                case More(tokens=tokens):
                    changed, self._granted = tokens > 0, self._granted + max(0, tokens)
                case Hint(text=text):
                    changed = bool(text.strip())
                    self._hints = (*self._hints, text) if changed else self._hints
            if not changed:
                return
            self._wishes = (*self._wishes, wish)
            callbacks = [*(self._callbacks if isinstance(wish, Cancel) else ()), *self._listeners]
        for callback in callbacks:
            callback()

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Call `callback`, in the cancelling thread, when the turn or a branch is cancelled; at once if one already
        is."""
        with self._lock:
            self._callbacks.append(callback)
            cancelled = self._cancelled or bool(self._stopped)
        if cancelled:
            callback()

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` in the steering thread after each wish; at once if one came before."""
        with self._lock:
            self._listeners.append(callback)
            steered = bool(self._wishes)
        if steered:
            callback()

    def forget(self, callback: Callable[[], None]) -> None:
        """The turn is over: `callback` is no longer wanted."""
        with self._lock:
            for callbacks in (self._callbacks, self._listeners):
                if callback in callbacks:
                    callbacks.remove(callback)  # one of them: turns may share a control

    @property
    def wishes(self) -> tuple[Wish, ...]:
        """All wishes so far, in order."""
        return self._wishes

    @property
    def wants_answer(self) -> bool:
        return self._answer_now

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    @property
    def paused(self) -> bool:
        return self._paused and not self._cancelled

    @property
    def granted(self) -> int:
        """Thinking tokens added to the budget so far."""
        return self._granted

    @property
    def hints(self) -> tuple[str, ...]:
        """All hints so far, in order."""
        return self._hints

    def stopped(self, branch: int) -> bool:
        """Whether this branch, or the whole turn, was cancelled."""
        return self._cancelled or branch in self._stopped


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

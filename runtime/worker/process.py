"""The worker's own side: it opens one model and answers until it is told to stop or the parent is gone."""

from __future__ import annotations

import dataclasses
import inspect
import os
import pickle
import queue
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from models.errors import InternalError, KangaeError
from models.report import write_report
from runtime.responder import Control, Responder
from runtime.worker.protocol import Ask, Ended, Happened, Loading, Opened, Start, Steer, Stop, ToParent, Warned
from runtime.worker.warning_log import WarningLog

_LAST_TURNS_S = 2.0
_LAST_WORDS_S = 2.0


def main(descriptor: int) -> None:
    """Serve the parent on the socket `descriptor`. Ends the process at once when the parent's end closes."""
    pipe: Connection[ToParent, Any] = Connection(descriptor)
    start = pipe.recv()
    assert isinstance(start, Start)
    desk = _Desk(pipe)
    WarningLog(desk.warn).begin()
    # The pipe is read while the model loads too: a parent that goes away must not leave a loading orphan.
    threading.Thread(target=desk.read, name="pipe", daemon=True).start()
    try:
        responder: Responder = start.open(start.model, **_progress_option(start.open, desk.send))
    except BaseException as error:
        desk.send(Opened(error=_tellable(error)))
        return
    facts = dataclasses.replace(responder.facts, metadata=dict(responder.facts.metadata))
    desk.serve(responder)
    desk.send(Opened(facts, responder.backend_name, responder.context))
    desk.stopping.wait()
    desk.finish_turns()
    responder.close()
    desk.tell_warnings(_LAST_WORDS_S)


class _Desk:
    """Takes what the parent says: every turn is answered in a thread of its own, so that the engine can batch them."""

    def __init__(self, pipe: Connection[ToParent, Any]) -> None:
        self.stopping = threading.Event()
        self._pipe = pipe
        self._sending = threading.Lock()
        self._warnings: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._responder: Responder | None = None
        self._controls: dict[int, Control] = {}
        self._threads: dict[int, threading.Thread] = {}

    def serve(self, responder: Responder) -> None:
        self._responder = responder

    def send(self, message: ToParent) -> None:
        try:
            with self._sending:
                self._pipe.send(message)
        except OSError:
            os._exit(0)
        self.tell_warnings()

    def warn(self, text: str) -> None:
        """Tell a warning, from any thread. Where a thread is sending, perhaps this one (pickling may warn), or waits
        for a pipe that is full, that thread tells it afterwards: who warns waits for nobody else's message."""
        self._warnings.put(text)
        self.tell_warnings()

    def tell_warnings(self, patience: float = 0.0) -> None:
        """Send what is not told yet. Returns when it is on its way, or when another thread has been sending for so many
        seconds."""
        while self._sending.acquire(timeout=patience):
            try:
                while not self._warnings.empty():  # only who holds the lock takes from it
                    self._pipe.send(Warned(self._warnings.get()))
            except OSError:
                os._exit(0)
            finally:
                self._sending.release()
            if self._warnings.empty():  # what came before the release found the lock taken
                return

    def read(self) -> None:
        """Until the parent is gone."""
        while True:
            try:
                message = self._pipe.recv()
            except (EOFError, OSError):
                os._exit(0)
            if isinstance(message, Ask):
                self._controls[message.turn] = Control()
                thread = threading.Thread(target=self._answer, args=(message,), daemon=True)
                self._threads[message.turn] = thread
                thread.start()
            elif isinstance(message, Steer):
                control = self._controls.get(message.turn)
                if control is not None:
                    control.tell(message.wish)
            elif isinstance(message, Stop):
                self.stopping.set()

    def finish_turns(self) -> None:
        """Cancel what is under way, so that no decode runs while the model is freed."""
        for control in list(self._controls.values()):
            control.cancel()
        until = time.monotonic() + _LAST_TURNS_S
        for thread in list(self._threads.values()):
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                self.tell_warnings(_LAST_WORDS_S)
                os._exit(0)

    def _answer(self, ask: Ask) -> None:
        assert self._responder is not None
        control = self._controls[ask.turn]
        error: KangaeError | None = None
        try:
            if ask.many:
                events = self._responder.respond_many(ask.requests, control)
            else:
                events = self._responder.respond(ask.requests[0], control)
            for event in events:
                self.send(Happened(ask.turn, event))
        except Exception as failure:
            error = _tellable(failure)
        del self._controls[ask.turn], self._threads[ask.turn]
        self.send(Ended(ask.turn, error))


def _progress_option(opener: Callable[..., Any], send: Callable[[ToParent], None]) -> dict[str, Any]:
    """An opener that takes `on_progress` is given one."""
    try:
        wanted = "on_progress" in inspect.signature(opener).parameters
    except (TypeError, ValueError):
        wanted = False
    return {"on_progress": lambda fraction: send(Loading(float(fraction)))} if wanted else {}


def _tellable(error: BaseException) -> KangaeError:
    """An error that can cross the pipe: ours as it is, a fault as a sentence that names its report."""
    if isinstance(error, KangaeError):
        try:
            copy = pickle.loads(pickle.dumps(error))
        except Exception:
            copy = None
        if isinstance(copy, KangaeError):
            return copy
        plain = KangaeError(error.detail, title=error.title)
        plain.exit_code = error.exit_code
        return plain
    summary = "".join(traceback.format_exception_only(error)).strip()
    return InternalError(f"{summary}.{_report(error)}")


def _report(error: BaseException) -> str:
    """Write the traceback where reports are kept; a disk that cannot be written changes nothing for the user."""
    try:
        return f" The report is in {write_report(error)}."
    except (OSError, KangaeError):
        return ""

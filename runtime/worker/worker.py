"""The engine in a process of its own, behind the same protocol, for what must survive a crash of the C library."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO

from models.errors import KangaeError
from models.plain_text import strip_controls
from runtime.backends.backend import ModelFacts
from runtime.events import Event
from runtime.request import Request
from runtime.responder import Cancel, Control, Responder
from runtime.worker.protocol import Ask, Ended, Happened, Loading, Opened, Start, Steer, Stop, ToWorker, Warned
from runtime.worker.warning_log import LOGGER

_CLOSE_S = 4.0
_TAIL_BYTES = 4096
_COMMAND = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from runtime.worker.process import main; main(int(sys.argv[2]))"
)


class WorkerError(KangaeError):
    """The worker process ended by itself."""

    title = "The engine stopped"


class WorkerResponder:
    """A responder whose model lives in a child process.

    `open` is a function of a module, called in the child as `open(model)` (with `on_progress=` if it takes that: a
    function of the fraction loaded). The constructor waits for the model and raises what `open` raised. If the child
    dies, the turns under way raise `WorkerError`, and the next request starts a new one. Many threads may ask at once.

    What the child warns of is logged here too, as soon as it comes, also between turns, and the last of it before
    `close` returns. A front end takes it with a `WarningLog`; without one, logging writes it to stderr.
    """

    facts: ModelFacts
    backend_name: str
    context: int

    def __init__(
        self, open: Callable[..., Responder], model: Any = None, *, on_progress: Callable[[float], None] | None = None
    ) -> None:
        self._start = Start(open, model)
        self._on_progress = on_progress
        self._starting = threading.Lock()
        self._worker: _Worker | None = None
        self._closed = False
        self._live_worker()

    def respond(self, request: Request, control: Control | None = None) -> Iterator[Event]:
        """Events of one turn; the last one is `Done`. Raises `KangaeError`, `WorkerError` if the child died."""
        return self._turn((request,), False, control)

    def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
        """Events of many turns, decoded together; `event.branch` is the request's index."""
        return self._turn(tuple(requests), True, control)

    def close(self) -> None:
        """End the child; turns under way are cancelled. Safe to call twice and from any thread."""
        self._closed = True
        worker = self._worker
        if worker is not None:
            worker.close()

    def _turn(self, requests: tuple[Request, ...], many: bool, control: Control | None) -> Iterator[Event]:
        yield from self._live_worker().turn(requests, many, control if control is not None else Control())

    def _live_worker(self) -> _Worker:
        with self._starting:
            if self._closed:
                raise WorkerError("The model was closed, so it cannot answer. Open it again.")
            if self._worker is None or self._worker.dead:
                worker = self._worker = _Worker(self._start, self._on_progress)
                if self._closed:  # closed between the check and the start
                    worker.close()
                opened = worker.wait_open()
                assert opened.facts is not None
                self.facts, self.backend_name, self.context = opened.facts, opened.backend_name, opened.context
            return self._worker


class _Worker:
    """One child process, and the thread that sorts what it says."""

    def __init__(self, start: Start, on_progress: Callable[[float], None] | None) -> None:
        self.dead = False
        self._on_progress = on_progress
        self._sending = threading.RLock()  # a signal may steer while its own thread is sending
        self._turns: dict[int, SimpleQueue[Event | Ended]] = {}
        self._next_turn = 0
        self._opened: SimpleQueue[Opened] = SimpleQueue()
        self._said = _scratch_file()
        said: BinaryIO | int = subprocess.DEVNULL if self._said is None else self._said
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _COMMAND, json.dumps(_import_path()), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # Ctrl-C is the parent's affair; the pipe's end tells the child to go
            )
        self._pipe: Connection[ToWorker, Any] = Connection(ours.detach())
        self._send(start)
        self._reader = threading.Thread(target=self._read, name="worker pipe", daemon=True)
        self._reader.start()

    def wait_open(self) -> Opened:
        """Wait for the model. Raises what opening it raised."""
        opened = self._opened.get()
        if opened.error is not None:
            self.close()
            raise opened.error
        return opened

    def turn(self, requests: tuple[Request, ...], many: bool, control: Control) -> Iterator[Event]:
        """Send the requests, yield what comes back; a turn that is not listened to any more is cancelled."""
        queue: SimpleQueue[Event | Ended] = SimpleQueue()
        with self._sending:
            turn, self._next_turn = self._next_turn, self._next_turn + 1
            self._turns[turn] = queue
        self._send(Ask(turn, requests, many))
        if self.dead:  # it died before the queue was known to the reader
            queue.put(Ended(turn, self._obituary()))
        told = 0
        telling = threading.RLock()  # wishes may come from several threads and, by a signal, from within

        def steer() -> None:
            nonlocal told
            with telling:
                while told < len(control.wishes):
                    told += 1
                    self._send(Steer(turn, control.wishes[told - 1]))

        control.on_change(steer)
        ended = False
        try:
            while True:
                try:
                    news = queue.get()
                except KeyboardInterrupt:
                    control.cancel()  # what was produced is kept: the turn still gives its Done
                    continue
                if isinstance(news, Ended):
                    ended = True
                    if news.error is not None:
                        raise news.error
                    return
                yield news
        finally:
            control.forget(steer)
            self._turns.pop(turn, None)
            if not ended:
                self._send(Steer(turn, Cancel()))

    def close(self) -> None:
        self._send(Stop())
        try:
            self._process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if threading.current_thread() is not self._reader:
            self._reader.join(_CLOSE_S)

    def _send(self, message: ToWorker) -> None:
        # A pipe that is gone is noticed by the reader, which tells every turn.
        with self._sending, contextlib.suppress(OSError):
            self._pipe.send(message)

    def _read(self) -> None:
        while True:
            try:
                message = self._pipe.recv()
            except Exception:  # the end of the pipe, or bytes that a dying process left half written
                break
            if isinstance(message, Happened | Ended):
                queue = self._turns.get(message.turn)
                if queue is not None:
                    queue.put(message.event if isinstance(message, Happened) else message)
            elif isinstance(message, Opened):
                self._opened.put(message)
            elif isinstance(message, Loading) and self._on_progress is not None:
                self._on_progress(message.fraction)
            elif isinstance(message, Warned):
                with contextlib.suppress(Exception):  # whoever listens badly must not end the turns
                    LOGGER.warning("%s", message.text)
        self._bury()

    def _bury(self) -> None:
        with self._sending:
            self._pipe.close()
        try:
            self._process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.dead = True
        error = self._obituary()
        self._opened.put(Opened(error=error))
        for turn, queue in list(self._turns.items()):
            queue.put(Ended(turn, error))

    def _obituary(self) -> WorkerError:
        code = self._process.returncode
        if code is not None and code < 0:
            try:
                how = f"was ended by the signal {signal.Signals(-code).name}"
            except ValueError:
                how = f"was ended by the signal {-code}"
        else:
            how = f"ended with the code {code}" if code else "ended"
        killed = code == -signal.SIGKILL
        memory = " The system may have run out of memory: a smaller model or context needs less." if killed else ""
        words = self._last_words()
        return WorkerError(
            f"The process that runs the model {how}{f' after saying: {words}' if words else ''}.{memory} "
            "The next question starts a new one."
        )

    def _last_words(self) -> str:
        if self._said is None:
            return ""
        try:
            size = os.fstat(self._said.fileno()).st_size
            tail = os.pread(self._said.fileno(), _TAIL_BYTES, max(0, size - _TAIL_BYTES)).decode("utf-8", "replace")
        except OSError:
            return ""
        lines = [line.strip() for line in tail.splitlines() if line.strip()]
        return strip_controls(lines[-1], lines=False, mark="?")[:300].rstrip(".") if lines else ""


def _scratch_file() -> BinaryIO | None:
    """Where the child's last words go. None where no temporary file can be made: they are lost then, nothing else."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return None


def _import_path() -> list[str]:
    """This process's import path, with our own folder and without relative places."""
    root = str(Path(__file__).absolute().parents[2])
    return [os.path.abspath(place or os.curdir) for place in sys.path] + ([root] if root not in sys.path else [])

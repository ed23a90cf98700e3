"""Ctrl-C, or a terminal that is closed, ends a reply and keeps what was produced; a second Ctrl-C ends the program."""

from __future__ import annotations

import signal
import socket
import threading
from types import FrameType

from runtime.responder import Control


class CancelOnInterrupt:
    """Within it, Ctrl-C and SIGHUP cancel `control`, at once even while the main thread is inside the C library.

    SIGHUP may come twice, from the shell and from the system, and does no more the second time; where it is ignored, as
    under `nohup`, it stays so.

    Python runs a signal's handler only between two of its own instructions, which a long decode puts off. The
    interpreter does write a byte into the wake-up socket at once; a thread that waits there cancels.
    """

    def __init__(self, control: Control) -> None:
        self._control = control
        self._active = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> CancelOnInterrupt:
        if self._active:
            self._reader, self._writer = socket.socketpair()
            self._writer.setblocking(False)
            self._old_handlers = {number: signal.signal(number, self._handle) for number in _signals()}
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
            self._old_wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        if self._active:
            signal.set_wakeup_fd(self._old_wakeup)
            for number, handler in self._old_handlers.items():
                signal.signal(number, handler)
            self._writer.close()
            self._thread.join()
            self._reader.close()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            if self._told:
                raise KeyboardInterrupt
            self._told = True
        self._control.cancel()

    _told = False

    def _watch(self) -> None:
        while received := self._reader.recv(64):
            if not self._old_handlers.keys().isdisjoint(received):
                self._control.cancel()


def _signals() -> list[signal.Signals]:
    """Those that end a reply; Windows has no SIGHUP."""
    hang_up: signal.Signals | None = getattr(signal, "SIGHUP", None)
    heeded = hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN
    return [signal.SIGINT, *([hang_up] if hang_up is not None and heeded else [])]

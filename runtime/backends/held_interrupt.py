"""Ctrl-C while the C library loads: it must not be lost in one of the library's calls back into Python."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class HeldInterrupt:
    """Within it a first Ctrl-C only sets `told`; leaving it raises KeyboardInterrupt then. A second one raises at once.

    An exception in a function that C calls back goes nowhere: ctypes prints it and the load goes on.
    """

    def __init__(self) -> None:
        self.told = False
        self._active = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> HeldInterrupt:
        # Where the signal is ignored, or is somebody else's, it stays so.
        self._active = self._active and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._active:
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._active:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self.told:
            raise KeyboardInterrupt

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self.told:
            raise KeyboardInterrupt
        self.told = True

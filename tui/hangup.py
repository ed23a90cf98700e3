"""The end from outside: the system ends the program (SIGTERM), or the terminal was closed (SIGHUP)."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any, cast

from textual.driver import Driver

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def watch_for_hangup(leave: Callable[[signal.Signals], None]) -> None:
    """Call `leave`, in the running event loop, when one of the signals comes. One that this process was told to ignore
    (nohup) stays ignored; outside the main thread, where Python takes no signals, nothing is done."""
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            with suppress(RuntimeError, ValueError):
                loop.add_signal_handler(number, leave, number)


def let_go_of_closed_terminal() -> None:
    """Where a standard stream led to a terminal that is gone, it leads nowhere from now on: else writing to it fails in
    Textual's own thread, and what waits for that thread waits forever."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    try:
        for stream in (sys.__stdin__, sys.__stdout__, sys.__stderr__):
            if stream is not None and not stream.isatty():
                os.dup2(nowhere, stream.fileno())
    finally:
        os.close(nowhere)


class LastingFile:
    """A terminal's output whose writes never fail: what is written to one that is gone is lost. Textual writes in a
    thread of its own, from a queue; a thread that died by a failed write would let the queue fill, and whoever writes
    wait forever. `gone` is told each time, in that thread."""

    def __init__(self, file: IO[str], gone: Callable[[], None]) -> None:
        self._file = file
        self._gone = gone

    def write(self, text: str) -> int:
        """Write what can be written; returns the number of characters given."""
        try:
            self._file.write(text)
        except OSError:
            self._gone()
        return len(text)

    def flush(self) -> None:
        """Flush, if there is still somewhere to flush to."""
        try:
            self._file.flush()
        except OSError:
            self._gone()

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


def outlasting_its_terminal(driver: type[Driver], gone: Callable[[], None]) -> type[Driver]:
    """The driver, writing to the terminal through a `LastingFile` that calls `gone`."""

    class LastingDriver(driver):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            file = getattr(self, "_file", None)  # the headless one writes nowhere
            if file is not None:
                self._file: Any = LastingFile(file, gone)

    return cast(type[Driver], LastingDriver)

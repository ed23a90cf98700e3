"""The end from outside: the system ends the program (SIGTERM), or the terminal was closed (SIGHUP)."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

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

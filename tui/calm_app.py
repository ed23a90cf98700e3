"""An application whose end, where its user did not choose it, is a sentence of whoever ran it: never a traceback."""

from __future__ import annotations

import signal

from rich.console import RenderableType
from textual.driver import Driver
from textual.worker import WorkerFailed

from models.errors import InternalError, InterruptedByUser
from tui.hangup import let_go_of_closed_terminal, outlasting_its_terminal, watch_for_hangup
from tui.plain_app import PlainApp


class CalmApp(PlainApp):
    """Leaves its screen, restores the terminal and remembers in `failure` what ended it."""

    _left_by: signal.Signals | None = None

    @property
    def failure(self) -> Exception | None:
        """What ended the application, where its user did not: a fault of ours, or the system. After the end."""
        if self._exception is None and self._left_by is not None:
            return InterruptedByUser(f"The interface was ended by the signal {self._left_by.name}.")
        return self._exception

    def get_driver_class(self) -> type[Driver]:
        return outlasting_its_terminal(super().get_driver_class(), self._terminal_gone)

    def _terminal_gone(self) -> None:
        # where SIGHUP is ignored (nohup), nothing else says so
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._leave, signal.SIGHUP)

    def on_mount(self) -> None:
        watch_for_hangup(self._leave)

    def keep_at_once(self) -> None:
        """Called before all else where the system ends the program: it does not wait long."""

    def _leave(self, number: signal.Signals) -> None:
        if self._left_by is None:
            self._left_by = number
            let_go_of_closed_terminal()
            self.keep_at_once()
            self.exit(return_code=InterruptedByUser.exit_code)

    def _handle_exception(self, error: Exception) -> None:
        # Every exception of a handler, a worker, a timer or the drawing comes here. Textual's own way prints a
        # traceback with all local values.
        if self._exception is None:
            inner = error.error if isinstance(error, WorkerFailed) else error
            self._exception = inner if isinstance(inner, Exception) else error
            self._exception_event.set()
        self._return_code = InternalError.exit_code
        self._close_messages_no_wait()

    def panic(self, *renderables: RenderableType) -> None:
        """Textual calls this, with a traceback to print, where its thread that reads the terminal failed."""
        traces = [trace for one in renderables if (trace := getattr(one, "trace", None)) is not None]
        told = "; ".join(f"{stack.exc_type}: {stack.exc_value}" for trace in traces for stack in trace.stacks)
        self._handle_exception(RuntimeError(f"the terminal can no longer be read ({told or 'no reason given'})"))

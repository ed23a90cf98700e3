"""The responder that the interface asks: opened in the background, opened again after a failure, closed at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable

from models.errors import InterruptedByUser, KangaeError
from runtime.responder import Control, Responder
from tui.fault import fault

Opener = Callable[[Callable[[float], None]], Responder]


class ModelSlot:
    """Holds one responder. `on_change` is called, from any thread, when `responder`, `error` or `loaded` changed."""

    def __init__(self, opener: Opener, on_change: Callable[[], None]) -> None:
        self.responder: Responder | None = None
        self.error: KangaeError | None = None
        self.loaded = 0.0
        """The part of the model that is loaded, 0 to 1, where the opener tells."""
        self._opener = opener
        self._on_change = on_change
        self._changed = threading.Condition()
        self._opening = False
        self._closed = False

    def open(self) -> None:
        """Begin to open, unless that is done or under way."""
        with self._changed:
            if self._opening or self.responder is not None or self._closed:
                return
            self._opening, self.error, self.loaded = True, None, 0.0
        threading.Thread(target=self._open, name="model", daemon=True).start()
        self._on_change()

    def wait(self, control: Control) -> Responder:
        """The responder, as soon as it is there; a failed opening is tried again. Raises what opening raised, and
        `InterruptedByUser` if the turn is cancelled while it waits."""
        self.open()
        control.on_change(self._wake)
        try:
            with self._changed:
                self._changed.wait_for(lambda: not self._opening or control.cancelled)
                if self.responder is not None and not control.cancelled:
                    return self.responder
                raise self.error or InterruptedByUser("Stopped before the model was loaded.")
        finally:
            control.forget(self._wake)

    def close(self) -> None:
        """Free the model; one that is still loading is freed as soon as it is there."""
        with self._changed:
            self._closed = True
            responder, self.responder = self.responder, None
        if responder is not None:
            responder.close()

    def _open(self) -> None:
        responder: Responder | None = None
        error: KangaeError | None = None
        try:
            responder = self._opener(self._progress)
        except KangaeError as failure:
            error = failure
        except Exception as failure:
            error = fault(failure, "`kangae doctor` checks the installation.")
        with self._changed:
            self._opening = False
            self.error = error
            if not self._closed:
                self.responder, responder = responder, None
            self._changed.notify_all()
        if responder is not None:
            responder.close()
        self._on_change()

    def _progress(self, fraction: float) -> None:
        self.loaded = fraction
        self._on_change()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

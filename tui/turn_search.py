"""The search for a turn that was interrupted: in a thread of its own, once, when the model is open."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from models.errors import KangaeError
from tui.fault import fault
from tui.interrupted_turn import InterruptedTurn

if TYPE_CHECKING:
    from runtime.turn.kept_turns import KeptTurns


class TurnSearch:
    """Finds the newest turn that is kept of a model. `turns` gives the place where turns are kept (None: none are);
    `on_end` is called, in the thread, when `found` or `error` is set."""

    def __init__(self, turns: Callable[[], KeptTurns] | None, on_end: Callable[[], None]) -> None:
        self.found: InterruptedTurn | None = None
        """What can be gone on with; None: nothing, or nothing any more."""
        self.error: KangaeError | None = None
        self._turns = turns
        self._on_end = on_end
        self._lock = threading.Lock()
        self._begun = self._over = False

    def begin(self, file: str, context: int | None = None) -> None:
        """Look for a turn of the model in this file that goes on in `context` tokens (None: in whatever it needs); the
        first call alone does."""
        if self._turns is not None and not self._begun and not self._over:
            self._begun = True
            looked_for = (self._turns, file, context)
            threading.Thread(target=self._look, args=looked_for, name="kept turns", daemon=True).start()

    def end(self) -> InterruptedTurn | None:
        """It is not wanted any more, also while it goes on; what was found. The turn stays kept."""
        with self._lock:
            found, self.found, self.error, self._over = self.found, None, None, True
        return found

    def _look(self, turns: Callable[[], KeptTurns], file: str, context: int | None) -> None:
        found: InterruptedTurn | None = None
        error: KangaeError | None = None
        try:
            offers = (InterruptedTurn(turn) for turn in turns().all())
            found = next((offer for offer in offers if offer.goes_on(file, context)), None)
        except KangaeError as failure:
            error = failure
        except Exception as failure:
            error = fault(failure, "What was interrupted before cannot be gone on with now; all else can be done.")
        with self._lock:
            if not self._over:
                self.found, self.error = found, error
        if found is not None or error is not None:
            self._on_end()

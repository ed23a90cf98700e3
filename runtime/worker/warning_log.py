"""The warnings that Kangae logs, for who has a place for them: the worker, which sends them on, and front ends."""

from __future__ import annotations

import logging
from collections.abc import Callable

from models.plain_text import shorten

LOGGER = logging.getLogger("kangae")
"""Where all warnings go: in the process where they arise, and from a worker also in its parent."""
_MOST = 1000  # signs: names of files and words of templates are as long as they like


class WarningLog(logging.Handler):
    """Gives the text of each warning, and of what is worse, to `tell`, in the thread that warns: one line of at most
    1000 signs, without controls. While `tell` waits, so does whoever warned, and who waits for a worker's events."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def begin(self) -> None:
        """Take what is warned of from now on; it no longer goes to stderr."""
        LOGGER.addHandler(self)

    def end(self) -> None:
        """Take no more."""
        LOGGER.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._tell(shorten(record.getMessage(), _MOST))
        except Exception:  # one that cannot be put together, or told: logging's own way to say so
            self.handleError(record)

"""How far a long piece of work is: one line on a terminal."""

from __future__ import annotations

import sys
import time

_BAR = 20
_LEAST_SHARE = 0.02
"""Below it, what is left cannot be told from what is done."""


class Progress:
    """One line on stderr, on a terminal only, cleared at the end."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._step = ""
        self._start = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._write("")

    def tell(self, step: str, share: float) -> None:
        """What is being done, and what share of that step (0 to 1)."""
        stem = step.split(": ", 1)[0]
        if stem != self._step:
            self._step, self._start = stem, time.monotonic()
        self._write(f"{self._label}: {progress_text(step, share, time.monotonic() - self._start)}")

    def step(self, text: str) -> None:
        """What is being done."""
        self._write(text)

    def _write(self, text: str) -> None:
        if self._terminal:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()


def progress_text(step: str, share: float, seconds: float) -> str:
    """A step with its bar, its share, and the time left, by what it took so far."""
    share = min(1.0, max(0.0, share))
    full = int(share * _BAR)
    left = ""
    if _LEAST_SHARE <= share < 1.0:
        left = f", {duration(seconds / share - seconds)} left"
    return f"{step} [{'#' * full}{'.' * (_BAR - full)}] {share:.0%}{left}"


def duration(seconds: float) -> str:
    """A time as people say it: "40 s", "3 min", "2 h 5 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"

"""When a turn stood still: its own clocks leave that out."""

from __future__ import annotations


class Pauses:
    """Spans of time in seconds of one clock; where they overlap, they count once."""

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []
        self._since: float | None = None

    def begin(self, moment: float) -> None:
        """It stands still from now on; nothing, where it already does."""
        if self._since is None:
            self._since = moment

    def end(self, moment: float) -> None:
        """It goes on; nothing, where it does not stand."""
        if self._since is not None:
            self.add(self._since, moment)
            self._since = None

    def add(self, begin: float, end: float) -> None:
        """A span that is known as a whole."""
        if end > begin:
            self._spans = sorted([*self._spans, (begin, end)])

    def between(self, begin: float, end: float) -> float:
        """Seconds of it from `begin` to `end`; a pause that has not ended reaches to `end`."""
        spans = self._spans if self._since is None else sorted([*self._spans, (self._since, max(self._since, end))])
        stood, reached = 0.0, begin
        for first, last in spans:
            first, last = max(first, reached), min(last, end)
            if last > first:
                stood, reached = stood + last - first, last
        return stood

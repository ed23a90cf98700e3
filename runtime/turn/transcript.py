"""What a turn has said so far: its thought, its answer, when each began, and the events that nobody has taken yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from runtime.events import AnswerDelta, Closed, Done, Event, ThinkingDelta, joined
from runtime.phase import Phase, PhaseTracker, Piece
from runtime.reply import CloseReason


class Transcript:
    """Pieces of text in, events out. Events are added by the thread that steps the engine and taken by the one that
    asked."""

    def __init__(self, tracker: PhaseTracker, branch: int, clock: Callable[[], float]) -> None:
        self.over = False
        """Whether `Done` was taken."""
        self._tracker = tracker
        self._branch = branch
        self._clock = clock
        self._outbox: deque[Event] = deque()
        self._thinking: list[str] = []
        self._answer: list[str] = []
        self._announced = False
        self._first: dict[str, float] = {}

    @property
    def thinking(self) -> str:
        """The thought, without the newlines around it."""
        return "".join(self._thinking).strip("\r\n")

    @property
    def answer(self) -> str:
        """The answer, trimmed."""
        return "".join(self._answer).strip()

    @property
    def has_events(self) -> bool:
        """Whether any wait to be taken."""
        return bool(self._outbox)

    def began(self, kind: str) -> float | None:
        """When the first text of a kind ("thinking", "answer") was there, by the clock; None: never."""
        return self._first.get(kind)

    def began_at(self, moments: Mapping[str, float | None]) -> None:
        """When each kind really began, where it was said again from a log; None: not yet."""
        self._first = {kind: moment for kind, moment in moments.items() if moment is not None}

    def add(self, event: Event) -> None:
        """One event more."""
        self._outbox.append(event)

    def say(self, pieces: Sequence[Piece], close: CloseReason | None) -> None:
        """Events of one decode step: adjacent pieces of one kind are one delta; `Closed` (with the reason, or
        "natural") stands before the first answer."""
        merged: list[Piece] = []
        for piece in pieces:
            if merged and (merged[-1].kind, merged[-1].forced) == (piece.kind, piece.forced):
                merged[-1] = replace(piece, text=merged[-1].text + piece.text)
            else:
                merged.append(piece)
        for piece in merged:
            self._first.setdefault(piece.kind, self._clock())
            if piece.kind == "thinking":
                self._thinking.append(piece.text)
                self._outbox.append(
                    ThinkingDelta(piece.text, self._tracker.thinking_tokens, piece.forced, self._branch)
                )
            else:
                self.announce(close)
                self._answer.append(piece.text)
                self._outbox.append(AnswerDelta(piece.text, self._tracker.answer_tokens, self._branch))
        if self._tracker.phase is Phase.ANSWER and pieces:
            self.announce(close)

    def announce(self, close: CloseReason | None) -> None:
        """Tell once that the thought has ended."""
        if not self._announced:
            self._announced = True
            self._outbox.append(Closed(close or "natural", self._tracker.thinking_tokens, self._branch))

    def take_events(self) -> list[Event]:
        """All events since the last call; what stacked up of one kind becomes one delta."""
        events: list[Event] = []
        while self._outbox:
            event = self._outbox.popleft()
            self.over = self.over or isinstance(event, Done)
            one = joined(events[-1], event) if events else None
            if one is not None:
                events[-1] = one
            else:
                events.append(event)
        return events

"""A turn that was kept before it ended, as the interface offers it and goes on with it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.content import Content

from models.plain_text import one_line
from runtime.request import Message, Resumable
from runtime.responder import More

if TYPE_CHECKING:
    from runtime.turn.kept_turn import KeptTurn

_QUESTION_CELLS = 32  # with the words around it, this is one line of 80 columns


@dataclass(frozen=True)
class InterruptedTurn:
    """What the interface tells of one kept turn."""

    kept: KeptTurn

    def goes_on(self, file: str, context: int | None) -> bool:
        """Whether it can with the model in this file, open with `context` tokens (None: as many as it takes)."""
        same = os.path.realpath(self.kept.model.file) == os.path.realpath(file)
        return same and (context is None or self.kept.context <= context)

    @property
    def offer(self) -> str:
        """The sentence that offers it: one line of 80 columns."""
        what = "A thought" if self.kept.earlier.times.answer is None else "An answer"
        question = Content(one_line(self.question)).truncate(_QUESTION_CELLS, ellipsis=True)
        return f"{what} was interrupted: {question.plain} · F5 goes on."

    @property
    def request(self) -> Resumable:
        """What asks for the rest of it."""
        return Resumable.of(self.kept.request, resumed=True)

    @property
    def question(self) -> str:
        """What was asked."""
        return self.kept.question

    @property
    def earlier(self) -> tuple[Message, ...]:
        """Questions and answers that went with the question."""
        return tuple(one for one in self.kept.request.messages if one.role != "system")[:-1]

    @property
    def granted(self) -> int:
        """Thinking tokens that its user added to the budget."""
        return sum(wish.tokens for wish in self.kept.earlier.wishes if isinstance(wish, More))

    @property
    def budget(self) -> int | None:
        """Thinking tokens that it may take in all; None: unlimited."""
        tokens = self.kept.request.budget.tokens
        return None if tokens is None else tokens + self.granted

    @property
    def seconds_left(self) -> float | None:
        """Of its deadline, for which the time that it lay still does not count; None: it has none."""
        seconds = self.kept.request.budget.seconds
        return None if seconds is None else max(0.0, seconds - self.kept.earlier.times.used)

    @property
    def thought_for(self) -> float:
        """Seconds of thought so far, pauses left out."""
        times = self.kept.earlier.times
        if times.thinking is None:
            return 0.0
        end = times.used if times.answer is None else times.answer
        return max(0.0, end - times.thinking - times.stood(times.thinking, end))

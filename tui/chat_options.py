"""What holds for every turn of a conversation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runtime.commands.options import fitting_minimum
from runtime.request import Budget, Message, Request, Sampling
from runtime.responder import Responder


@dataclass(frozen=True)
class ChatOptions:
    """`budget` in thinking tokens, None: unlimited; the key F2 changes it. `effort` stands in its place until it is
    known what it means for the model. `deadline`: in seconds, for the whole reply.

    `sampling` says how the open model draws, with (True) or without a thought; None: the model's own defaults.
    """

    budget: int | None = None
    effort: str | None = None
    minimum: int = 0
    deadline: float | None = None
    max_answer: int | None = None
    system: str = ""
    sampling: Callable[[Responder, bool], Sampling | None] | None = None

    def request(
        self, responder: Responder, said: Sequence[Message], tokens: int | None, effort: str | None, identity: str
    ) -> Request:
        """What is asked of an open model: `said`, with the question last, may be thought about for so many tokens, or
        with that effort."""
        system = [Message("system", self.system)] if self.system else []
        budget = Budget(
            tokens,
            seconds=self.deadline,
            effort=effort,
            answer_reserve=self.max_answer,
            minimum=fitting_minimum(self.minimum, responder, tokens=tokens, effort=effort, reserve=self.max_answer),
        )
        sampling = self.sampling(responder, not budget.off) if self.sampling is not None else None
        return Request((*system, *said), budget, sampling, id=identity)

"""What tests of the ladder share: answers by question and rung, a verifier that nods, and a climb with its replies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from runtime.backends.backend import ModelFacts
from runtime.events import Climbed, Done, Event
from runtime.ladder.ladder import LadderResponder
from runtime.reply import CloseReason, ModelLabel, Reply, SpentBudget, Timings, Usage
from runtime.request import Message, Request
from runtime.responder import Control
from runtime.verifiers.registry import choose
from runtime.verifiers.verifier import Case, Kind, Verdict
from tests.fakes.answering_responder import FACTS

BARE = Reply(
    id="", question="How many?", model=ModelLabel("fake", "fake.gguf", "F32", "fake"), thinking="", answer="5",
    close="natural", finish="stop", usage=Usage(), budget=SpentBudget(), timings=Timings(),
)  # fmt: skip
SUM = "What is 2 + 3?"
LARGE = replace(FACTS, parameters=8_000_000_000)
"""Of such a model all rungs are asked: it knows something without a thought."""

Said = str | tuple[str, float]
"""An answer, and how sure the model is of it (else half)."""


class ByRung:
    """Answers by question and rung (off, short, long, four votes), and takes a second for each rung."""

    backend_name = "fake"
    context = 1024

    def __init__(self, answers: Mapping[str, Sequence[Said]], facts: ModelFacts = LARGE) -> None:
        self.facts = facts
        self._answers = answers
        self.asked: list[list[tuple[str, int | None]]] = []
        self.requests: list[Request] = []

    def respond(self, request: Request, control: Control | None = None) -> Iterator[Event]:
        yield from self.respond_many((request,), control)

    def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
        self.asked.append([(one.question, one.budget.tokens) for one in requests])
        self.requests += requests
        for branch, request in enumerate(requests):
            yield self.end(request, branch)

    def end(self, request: Request, branch: int) -> Event:
        """What a branch ends with; a test may tell it otherwise."""
        tokens = request.budget.tokens
        if request.sampling is not None and request.sampling.temperature > 0.0:
            rung = 2 + request.sampling.seed % 100
        else:
            rung = 0 if tokens == 0 else 1 if tokens is not None else 2
        said = self._answers[request.question][rung]
        answer, confidence = said if isinstance(said, tuple) else (said, 0.5)
        closes: tuple[CloseReason, ...] = ("off", "budget")
        reply = replace(
            BARE,
            question=request.question,
            answer=answer,
            close=closes[rung] if rung < 2 else "natural",
            confidence=confidence if request.confidence else None,
            usage=Usage(thinking_tokens=10 * min(rung, 3), answer_tokens=2),
            timings=Timings(total_s=1.0),
            budget=SpentBudget(seconds=request.budget.seconds),
        )
        return Done(reply, branch)

    def close(self) -> None: ...


class Nodding:
    """A verifier that passes or fails everything."""

    name = "nodding"

    def __init__(self, kind: Kind, *, passed: bool) -> None:
        self.kind = kind
        self._passed = passed

    def applies(self, case: Case) -> bool:
        return True

    def check(self, case: Case) -> Verdict:
        return Verdict(self.name, self.kind, self._passed, "as it likes")


def request(question: str = "How many?", **more: object) -> Request:
    """One question, with the fields of its request that matter."""
    return Request((Message("user", question),), **more)  # type: ignore[arg-type]


def climb(fake: ByRung, *requests: Request, verifier: str = "none") -> tuple[list[Reply], list[Event]]:
    """The replies, in the order of their requests, and all events on the way to them."""
    events = list(LadderResponder(fake, choose(verifier)).respond_many(requests))
    done = {event.branch: event.reply for event in events if isinstance(event, Done)}
    return [done[branch] for branch in sorted(done)], events


def climbed(events: Sequence[Event]) -> list[str]:
    """The rungs that were climbed to."""
    return [event.rung for event in events if isinstance(event, Climbed)]

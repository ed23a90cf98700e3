"""A ladder under a deadline: what judging takes is the deadline's as well, and a climb that is left leaves nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from runtime.events import Done, Event
from runtime.ladder.ladder import LadderResponder
from runtime.request import Budget, Message, Request
from runtime.responder import Control
from runtime.verification import verified
from runtime.verifiers.verifier import Case, Kind, Verdict
from tests.fakes.answering_responder import FACTS, AnsweringResponder, Said


class SlowJudge:
    """Takes two seconds and accepts nothing."""

    name = "slow"
    kind: Kind = "form"

    def __init__(self) -> None:
        self.now = 0.0
        self.left: list[float | None] = []

    def applies(self, case: Case) -> bool:
        return True

    def check(self, case: Case) -> Verdict:
        self.left.append(case.options.get("seconds_left"))
        self.now += 2.0
        return Verdict.of(self, False, "not this")


def test_judging_is_part_of_the_deadline() -> None:
    inner, judge = AnsweringResponder(facts=replace(FACTS, parameters=8_000_000_000)), SlowJudge()  # a second a rung
    ladder = LadderResponder(inner, [judge], clock=lambda: judge.now)
    *_, last = ladder.respond(Request((Message("user", "How many?"),), Budget(seconds=10.0)))
    assert isinstance(last, Done)
    # each rung leaves time for a judging as long as the longest before it; a fourth would not be in time
    assert [request.budget.seconds for request in inner.requests] == [10.0, 5.0, 2.0]
    assert last.reply.budget.seconds == 10.0
    assert judge.left == [9.0, 6.0, 3.0]  # what judging may take, from the first one on
    assert any(flag.startswith("unsure: ") for flag in last.reply.flags)


def test_a_climb_that_is_left_forgets_its_control() -> None:
    control = Control()
    events = LadderResponder(AnsweringResponder(), []).respond(Request((Message("user", "How many?"),)), control)
    next(events)
    assert control._listeners
    events.close()  # type: ignore[attr-defined]
    assert not control._listeners


def test_verifiers_share_what_is_left() -> None:
    judge = SlowJudge()
    events = AnsweringResponder().respond(Request((Message("user", "How many?"),)))
    *_, last = events
    assert isinstance(last, Done)
    verified(last.reply, [judge, judge, judge], seconds=5.0, clock=lambda: judge.now)
    verified(last.reply, [judge])
    assert judge.left == [5.0, 3.0, 1.0, None]


def test_comparing_answers_is_judging() -> None:
    class Comparing:
        now = 0.0

        def same(self, one: str, other: str) -> bool:
            self.now += 2.0
            return False

    inner, clock = AnsweringResponder(said_anew, replace(FACTS, parameters=8_000_000_000)), Comparing()
    ladder = LadderResponder(inner, [], same=clock.same, clock=lambda: clock.now)
    *_, last = ladder.respond(Request((Message("user", "How many?"),), Budget(seconds=9.0)))
    assert isinstance(last, Done)
    # off has nothing to be held against; short takes two seconds to compare, and as many are kept for the long thought
    assert [request.budget.seconds for request in inner.requests] == [9.0, 8.0, 3.0]


def said_anew(request: Request, allowed: int) -> Said:
    """Another answer with each budget."""
    return Said("one two three", f"answer {min(allowed, 99)}")


class Overshooting(AnsweringResponder):
    """Thinks beyond its budget on the rung that is asked first alone."""

    def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
        first = not self.requests
        for event in super().respond_many(requests, control):
            if isinstance(event, Done):
                budget = replace(event.reply.budget, overshoot_tokens=7 if first else 0)
                event = replace(event, reply=replace(event.reply, budget=budget))
            yield event


def test_the_worst_overshoot_of_all_rungs_is_told() -> None:
    *_, last = LadderResponder(Overshooting(), []).respond(Request((Message("user", "How many?"),)))
    assert isinstance(last, Done)
    assert last.reply.usage.thinking_tokens > 0
    assert last.reply.budget.overshoot_tokens == 7

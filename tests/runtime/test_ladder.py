"""From no thought to several: which answers stand, and what the climb costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pytest

from models.errors import UsageError
from runtime.events import Climbed, Done, Event
from runtime.ladder import LadderResponder, judge, rungs
from runtime.reply import Check, ModelLabel, Reply, SpentBudget, Timings, Usage, Vote
from runtime.request import Budget, Message, Request, Sampling, Voting
from runtime.responder import Control
from runtime.verification import verified
from runtime.verifiers.registry import choose
from runtime.verifiers.verifier import Case, Kind, Verdict
from tests.fakes.answering_responder import FACTS

BARE = Reply(
    id="", question="How many?", model=ModelLabel("fake", "fake.gguf", "F32", "fake"), thinking="", answer="5",
    close="natural", finish="stop", usage=Usage(), budget=SpentBudget(), timings=Timings(),
)  # fmt: skip
SUM = "What is 2 + 3?"


class ByRung:
    """Answers by question and rung (off, short, long, votes), and takes a second for each."""

    facts = FACTS
    backend_name = "fake"
    context = 1024

    def __init__(self, answers: Mapping[str, Sequence[str]]) -> None:
        self._answers = answers
        self.asked: list[list[tuple[str, int | None, int]]] = []

    def respond(self, request: Request, control: Control | None = None) -> Iterator[Event]:
        yield from self.respond_many((request,), control)

    def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
        self.asked.append(
            [(one.messages[-1].content, one.budget.tokens, one.voting.count if one.voting else 1) for one in requests]
        )
        for branch, request in enumerate(requests):
            question = request.messages[-1].content
            rung = 3 if request.voting else min(2, len(self.asked) - 1)
            answer = self._answers[question][rung]
            votes = tuple(Vote(one, 0.6, "natural", 9) for one in (answer, answer, "other")) if rung == 3 else ()
            yield Done(
                replace(
                    BARE,
                    question=question,
                    answer=answer,
                    votes=votes,
                    usage=Usage(thinking_tokens=10 * rung, answer_tokens=2),
                    timings=Timings(total_s=1.0),
                    budget=SpentBudget(seconds=request.budget.seconds),
                ),
                branch,
            )

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
    return Request((Message("user", question),), **more)  # type: ignore[arg-type]


def climb(fake: ByRung, *requests: Request, verifier: str = "none") -> tuple[list[Reply], list[Event]]:
    events = list(LadderResponder(fake, choose(verifier)).respond_many(requests))
    done = {event.branch: event.reply for event in events if isinstance(event, Done)}
    return [done[branch] for branch in sorted(done)], events


def test_what_stands() -> None:
    assert not judge(BARE, ()).accepted
    assert judge(BARE, ("4", " 5.")).accepted
    assert not judge(replace(BARE, finish="length"), ("5",)).accepted
    assert not judge(replace(BARE, answer=""), ("",)).accepted
    truth = Check("arithmetic", True, "", "truth")
    assert judge(replace(BARE, checks=(truth,)), ()).accepted
    assert not judge(replace(BARE, checks=(Check("units", True, "", "form"),)), ()).accepted
    assert not judge(replace(BARE, checks=(truth, Check("units", False, "mm were asked for"))), ("5",)).accepted
    half = (Vote("5", 0.5, "natural", 1), Vote("6", 0.5, "natural", 1))
    assert not judge(replace(BARE, votes=half), ("5",)).accepted
    assert judge(replace(BARE, votes=(*half, Vote("5", 0.1, "natural", 1))), ()).accepted
    cut = (Vote("5", 0.9, "natural", 1), Vote("", 0.0, "deadline", 1), Vote("", 0.0, "deadline", 1))
    assert not judge(replace(BARE, votes=cut), ()).accepted


def test_a_sum_that_can_be_computed_again_needs_no_thought() -> None:
    fake = ByRung({SUM: ["5", "-", "-", "-"]})
    (reply,), events = climb(fake, request(SUM), verifier="auto")
    assert (reply.answer, reply.usage.thinking_tokens, reply.flags) == ("5", 0, ())
    assert fake.asked == [[(SUM, 0, 1)]]
    assert not any(isinstance(event, Climbed) for event in events)


def test_a_wrong_sum_climbs_until_it_is_right() -> None:
    fake = ByRung({SUM: ["6", "7", "5", "-"]})
    (reply,), events = climb(fake, request(SUM), verifier="auto")
    assert (reply.answer, reply.flags) == ("5", ())
    assert [event.rung for event in events if isinstance(event, Climbed)] == ["short", "long"]
    # all rungs are billed: the answers that did not stand as trials
    assert (reply.usage.thinking_tokens, reply.usage.probe_tokens, reply.usage.answer_tokens) == (10 + 20, 4, 2)
    assert (reply.timings.total_s, reply.budget.effort) == (3.0, "auto")


def test_two_rungs_that_agree_are_enough() -> None:
    (reply,), _ = climb(ByRung({"How many?": ["7", "5", "5", "-"]}), request())
    assert (reply.answer, reply.usage.thinking_tokens) == ("5", 30)


def test_votes_decide_at_the_top_and_doubt_is_flagged() -> None:
    (reply,), _ = climb(ByRung({"How many?": ["7", "8", "9", "5"]}), request())
    assert (reply.answer, reply.flags, len(reply.votes)) == ("5", (), 3)
    (reply,), _ = climb(ByRung({SUM: ["7", "8", "9", "6"]}), request(SUM), verifier="arithmetic")
    assert reply.answer == "6"
    assert [flag.split(":")[0] for flag in reply.flags] == ["verify", "unsure"]
    assert "7, 8, 9, 6" in reply.flags[-1]


def test_many_questions_climb_together() -> None:
    fake = ByRung({SUM: ["5", "-", "-", "-"], "How many?": ["1", "1", "-", "-"], "Which?": ["1", "2", "2", "-"]})
    replies, _ = climb(fake, request("Which?"), request(SUM), request(), verifier="arithmetic")
    assert [reply.answer for reply in replies] == ["2", "5", "1"]
    assert [[question for question, _, _ in batch] for batch in fake.asked] == [
        ["Which?", SUM, "How many?"], ["Which?", "How many?"], ["Which?"],
    ]  # fmt: skip


def test_a_budget_bounds_every_rung_and_a_deadline_the_whole() -> None:
    fake = ByRung({"How many?": ["1", "2", "3", "4"]})
    climb(fake, request(budget=Budget(tokens=24)))
    # the long rung would only repeat the short one
    assert [(tokens, votes) for batch in fake.asked for _, tokens, votes in batch] == [(0, 1), (24, 1), (24, 5)]
    fake = ByRung({"How many?": ["1", "2", "3", "4"]})
    (reply,), _ = climb(fake, request(budget=Budget(seconds=2.5)))
    assert len(fake.asked) == 2
    assert (reply.answer, reply.budget.seconds) == ("2", 2.5)
    assert reply.flags and reply.flags[-1].startswith("unsure")


def test_the_rungs_rise() -> None:
    names = [(rung.name, rung.tokens, rung.votes) for rung in rungs(FACTS)]
    assert names[0] == ("off", 0, 1) and names[-1] == ("votes", None, 5)
    assert names[1][1] is not None and names[2][1] is None


def test_votes_and_the_ladder_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="votes of its own"):
        climb(ByRung({}), request(voting=Voting(3)))


def test_the_vote_draws_even_where_the_rungs_below_are_greedy() -> None:
    seen: list[Sampling | None] = []

    class Watching(ByRung):
        def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
            seen.extend(one.sampling for one in requests)
            yield from super().respond_many(requests, control)

    climb(Watching({"How many?": ["1", "2", "3", "4"]}), request(sampling=Sampling(seed=3)))
    assert seen == [Sampling(seed=3)] * 3 + [Sampling(seed=3, temperature=0.8)]


def test_verdicts_become_checks_and_flags() -> None:
    judged = verified(BARE, [Nodding("truth", passed=True), Nodding("form", passed=False)])
    assert judged.checks == (
        Check("nodding", True, "as it likes", "truth"), Check("nodding", False, "as it likes", "form"),
    )  # fmt: skip
    assert judged.flags == ("verify: nodding: as it likes",)
    assert verified(BARE, ()) is BARE


def test_a_verifier_that_cannot_judge_fails_the_reply() -> None:
    judged = verified(BARE, choose("units"), options={"limits": {"minimum": "many"}})
    assert not judged.checks[0].passed and judged.flags

"""What a climb tells of itself: each rule that fired on any rung, in order, and times that are those of the request."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

from models.errors import CannotMeetError
from runtime.events import Done, Event, Failed
from runtime.ladder.ladder import LadderResponder
from runtime.ladder.thought import Thought
from runtime.reply import Decision, Reply, Timings
from runtime.request import Budget, Message, Request, Sampling
from runtime.responder import Control
from runtime.verifiers.verifier import Case, Kind, Verdict
from tests.fakes.answering_responder import FACTS
from tests.fakes.rung_responder import BARE, LARGE, SUM, ByRung, Nodding, climb, request
from tests.fakes.scripted_model import model, reply_of, responder

FORCING = {"opened", "hint", "forced"}


def forced_in(decisions: Sequence[Decision]) -> float:
    return sum(one.number or 0 for one in decisions if one.rule in FORCING)


def climbed_by_force() -> Reply:
    """All rungs, each of which is closed at its budget, for no answer passes its check."""
    inner = responder(model("<think>\n" + "x" * 200 + "</think>\n\n2", sequences=2))
    inner.facts = replace(inner.facts, parameters=LARGE.parameters)
    asked = Request((Message("user", "1+1?"),), Budget(24), Sampling(temperature=0.01))  # as its script says
    return reply_of(LadderResponder(inner, [Nodding("form", passed=False)]).respond(asked))


def test_the_decisions_of_all_rungs_and_votes_add_up_to_what_was_put_in() -> None:
    reply = climbed_by_force()
    assert len(reply.votes) == 5 and [vote.chosen for vote in reply.votes].count(True) == 1
    beside = sum(forced_in(vote.decisions) for vote in reply.votes if not vote.chosen)
    assert beside > 0 and forced_in(reply.decisions) > 0
    assert forced_in(reply.decisions) + beside == reply.usage.forced_tokens


def test_decisions_tell_their_rung_and_rise() -> None:
    reply = climbed_by_force()
    rungs = [name for name, _ in itertools.groupby(one.rung for one in reply.decisions)]
    assert rungs == ["off", "short", "votes"]
    tokens = [one.token for one in reply.decisions]
    assert tokens == sorted(tokens) and tokens[-1] == reply.usage.thinking_tokens == 5 * 24
    assert [one["rung"] for one in reply.as_json()["decisions"]] == [one.rung for one in reply.decisions]
    assert "rung" not in reply.as_json()["votes"][1]["decisions"][0]
    assert [one.rule for one in reply.decisions if one.rung == "short"] == ["opened", "budget", "forced", "rung"]


def test_the_decisions_of_a_thought_stand_behind_the_tokens_of_the_rungs_before() -> None:
    spent = Decision(24, "budget", 24, 24, "the budget was spent")
    told = Thought(replace(BARE, decisions=(spent,)), "long", begun=2.0, tokens=30)
    assert told.decisions == (replace(spent, token=54, rung="long"),)


def test_votes_of_a_climb_tell_their_seeds_and_which_is_told() -> None:
    fake = ByRung({"How many?": ["-", "-", "6", ("5", 0.9), ("5", 0.9), "-", "-"]}, FACTS)
    (reply,), _ = climb(fake, request(sampling=Sampling(seed=100)))
    told = [(vote.answer, vote.seed, vote.agrees, vote.chosen) for vote in reply.votes[:3]]
    assert told == [("6", None, False, False), ("5", 101, True, True), ("5", 102, True, False)]


def test_a_vote_that_cannot_be_asked_leaves_the_seeds_of_the_others() -> None:
    class Refusing(ByRung):
        def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
            for event in super().respond_many(requests, control):
                assert isinstance(event, Done)
                if len(requests) == 1 or event.branch == 1:
                    yield event
                else:
                    yield Failed(CannotMeetError("There is no time for it."), event.branch)

    fake = Refusing({"How many?": ["-", "-", "5", "5", "5", "5", "5"]}, FACTS)
    (reply,), _ = climb(fake, request(sampling=Sampling(seed=100)))
    assert [vote.seed for vote in reply.votes] == [None, 102, 104]


def test_a_climb_that_has_no_time_for_another_rung_says_so() -> None:
    ladder = LadderResponder(ByRung({"How many?": ["1", "2"]}), [], clock=lambda: 0.0)
    last = reply_of(ladder.respond(request(budget=Budget(seconds=2.5)))).decisions[-1]
    assert (last.rule, last.number, last.limit, last.rung) == ("deadline", 2.0, 2.5, "short")


class Timed(ByRung):
    """In the second of a rung: reads its prompt for a quarter, thinks from a half on, answers after three quarters."""

    def end(self, request: Request, branch: int) -> Event:
        done = super().end(request, branch)
        assert isinstance(done, Done)
        thinking = 0.0 if request.budget.tokens == 0 else 0.5
        times = Timings(load_s=9.0, prefill_s=0.25, first_thinking_s=thinking, first_answer_s=0.75, total_s=1.0)
        return replace(done, reply=replace(done.reply, timings=times))


class Judging:
    """Takes two seconds for each answer, of its own clock, and passes "5" alone."""

    name = "slow"
    kind: Kind = "truth"

    def __init__(self) -> None:
        self.now = 0.0

    def applies(self, case: Case) -> bool:
        return True

    def check(self, case: Case) -> Verdict:
        self.now += 2.0
        return Verdict.of(self, case.answer == "5", "as it counts")


def test_times_are_those_of_the_request_and_judging_is_among_them() -> None:
    def times(*answers: str) -> tuple[float, float, float, float]:
        verifier = Judging()
        ladder = LadderResponder(Timed({SUM: answers}), [verifier], clock=lambda: verifier.now)
        told = reply_of(ladder.respond(request(SUM))).timings
        assert told.load_s == 9.0
        return told.prefill_s, told.first_thinking_s, told.first_answer_s, told.total_s

    assert times("5") == (0.25, 0.0, 0.75, 3.0)  # without a thought
    assert times("6", "5") == (3.25, 3.5, 3.75, 6.0)  # the second rung began when the first was judged
    assert times("6", "7", "5") == (6.25, 6.5, 6.75, 9.0)

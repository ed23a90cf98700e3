"""From no thought to several: which answers stand, and what the climb costs."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from models.errors import CannotMeetError, UsageError
from runtime.events import Climbed, Done, Event, Failed, Voted
from runtime.ladder.judgement import judge, judge_vote
from runtime.ladder.ladder import LadderResponder
from runtime.ladder.rung import SURE, low_rungs, rungs, sure_from
from runtime.reply import Check, CloseReason, Reply
from runtime.request import Budget, Polled, Request, Sampling, Voting
from runtime.responder import Control
from runtime.verification import shortfall, verified
from runtime.verifiers.registry import choose
from runtime.verifiers.verifier import Case, Kind, Verdict
from runtime.votes import same_text
from tests.fakes.answering_responder import FACTS
from tests.fakes.rung_responder import BARE, LARGE, SUM, ByRung, Nodding, climb, climbed, request
from tests.runtime.test_profile_store import PROFILE


def test_what_stands() -> None:
    def stands(reply: Reply, *previous: str) -> bool:
        return judge(reply, previous, same_text, SURE).accepted

    assert not stands(BARE)
    assert stands(BARE, "4", " 5.")
    assert not stands(replace(BARE, finish="length"), "5")
    assert not stands(replace(BARE, answer=""), "")
    truth = Check("arithmetic", True, "", "truth")
    assert stands(replace(BARE, checks=(truth,)))
    assert not stands(replace(BARE, checks=(Check("units", True, "", "form"),)))
    assert not stands(replace(BARE, checks=(truth, Check("units", False, "mm were asked for"))), "5")


@pytest.mark.parametrize(
    ("close", "confidence", "stands"),
    [
        ("natural", 0.98, True), ("probe", 0.98, True), ("soft", 0.98, True), ("natural", 0.9, False),
        ("budget", 0.98, False), ("loop", 0.98, False), ("deadline", 0.98, False), ("user", 0.98, False),
        ("off", 0.98, False), ("natural", None, False),
    ],
)  # fmt: skip
def test_a_thought_that_ended_by_itself_stands_where_the_model_is_sure(
    close: CloseReason, confidence: float | None, stands: bool
) -> None:
    verdict = judge(replace(BARE, close=close, confidence=confidence), (), same_text, SURE)
    assert verdict.accepted is stands
    if stands:
        assert verdict.check is not None
        assert verdict.check.kind == "form" and "confidence 0.980" in verdict.check.detail
        assert (verdict.number, verdict.limit) == (0.98, SURE)


def vote(*said: tuple[str, float], outstanding: int = 0) -> tuple[bool, bool, str]:
    replies = [replace(BARE, answer=answer, confidence=weight) for answer, weight in said]
    verdict, leader = judge_vote(replies, outstanding, same_text)
    return verdict.accepted, verdict.open, leader.answer


def test_a_vote_needs_a_majority_and_two_thoughts() -> None:
    assert vote(("5", 0.5), ("6", 0.5)) == (False, False, "5")
    assert vote(("5", 0.5), ("6", 0.5), ("5", 0.1)) == (True, False, "5")
    assert vote(("5", 0.9)) == (False, False, "5")
    assert vote(("5", 0.9), ("", 0.0), ("", 0.0)) == (False, False, "5")
    assert vote(("5", 0.9), ("5", 0.9), ("5", 0.9), outstanding=2) == (True, False, "5")
    assert vote(("5", 0.9), ("5", 0.9), ("6", 0.9), outstanding=2) == (True, True, "5")
    wrong = replace(BARE, answer="6", confidence=1.0, checks=(Check("units", False, "mm were asked for"),))
    right = replace(BARE, confidence=0.4)
    verdict, leader = judge_vote([wrong, wrong, wrong, right, right], 0, same_text)
    assert verdict.accepted and leader.answer == "5"  # what failed a check has no vote
    truth = replace(right, answer="7", checks=(Check("arithmetic", True, "", "truth"),))
    verdict, leader = judge_vote([right, right, truth], 2, same_text)
    assert verdict.by == "truth" and leader.answer == "7"


def test_a_sum_that_can_be_computed_again_needs_no_thought() -> None:
    fake = ByRung({SUM: ["5"]}, FACTS)
    (reply,), events = climb(fake, request(SUM), verifier="auto")
    assert (reply.answer, reply.usage.thinking_tokens, reply.flags) == ("5", 0, ())
    assert fake.asked == [[(SUM, 0)]]
    assert not climbed(events)


def test_a_wrong_sum_climbs_until_it_is_right() -> None:
    fake = ByRung({SUM: ["6", "7", "5"]})
    (reply,), events = climb(fake, request(SUM), verifier="auto")
    assert (reply.answer, reply.flags) == ("5", ())
    assert climbed(events) == ["short", "long"]
    # all rungs are billed: the answers that did not stand as trials
    assert (reply.usage.thinking_tokens, reply.usage.probe_tokens, reply.usage.answer_tokens) == (10 + 20, 4, 2)
    assert reply.timings.total_s >= 3.0 and reply.budget.effort == "auto"


def test_right_sums_beside_a_wrong_answer_do_not_end_the_climb() -> None:
    class Summing(ByRung):
        def end(self, request: Request, branch: int) -> Event:
            done = super().end(request, branch)
            assert isinstance(done, Done)
            return replace(done, reply=replace(done.reply, thinking="85 * 7 = 595"))

    story = "Line 3 makes 85 parts per hour for 7 hours. 12 are scrap. How many good parts?"
    fake = Summing({story: ["99999", "1", "583", ("583", 0.9), ("583", 0.9)]})
    (reply,), _ = climb(fake, request(story), verifier="arithmetic")
    assert reply.answer == "583" and len(fake.asked) == 4
    assert not any(check.kind == "truth" for check in reply.checks)


def test_two_rungs_that_agree_are_enough() -> None:
    (reply,), _ = climb(ByRung({"How many?": ["7", "5", "5"]}), request())
    assert (reply.answer, reply.usage.thinking_tokens) == ("5", 30)


def test_the_words_around_an_answer_do_not_matter() -> None:
    (reply,), _ = climb(ByRung({"How many?": ["There are 5 bolts.", "5 bolts"]}), request())
    assert (reply.answer, reply.flags) == ("5 bolts", ())


def test_a_sure_long_thought_is_the_only_one_where_quick_answers_are_worth_nothing() -> None:
    fake = ByRung({"How many?": ["-", "-", ("5", 0.998)]}, FACTS)
    (reply,), events = climb(fake, request(), verifier="auto")
    assert fake.asked == [[("How many?", None)]] and not climbed(events)
    assert (reply.answer, reply.flags, reply.usage.thinking_tokens) == ("5", (), 20)
    assert reply.checks == (Check("confidence", True, "Its thought closed by itself, confidence 0.998.", "form"),)
    assert [(one.rule, one.number, one.limit) for one in reply.decisions] == [("rung", 0.998, SURE)]


def test_the_long_thought_casts_the_first_vote_and_the_vote_ends_when_decided() -> None:
    fake = ByRung({"How many?": ["-", "-", "5", ("5", 0.9), ("5", 0.9), "-", "-"]}, FACTS)
    (reply,), events = climb(fake, request(sampling=Sampling(seed=100)))
    # 0.5 + 0.9 + 0.9 is more than the two that are left could outweigh
    assert [len(batch) for batch in fake.asked] == [1, 2]
    assert (reply.answer, reply.flags, len(reply.votes)) == ("5", (), 3)
    assert [check.detail for check in reply.checks] == ["3 of 3 thoughts agree."]
    assert [(event.done, event.total) for event in events if isinstance(event, Voted)] == [(2, 5), (3, 5)]
    assert reply.usage.thinking_tokens == 20 + 30 + 30
    assert climbed(events) == ["votes"]
    drawn = [one.sampling for one in fake.requests[1:]]
    assert drawn == [Sampling(temperature=0.8, seed=101), Sampling(temperature=0.8, seed=102)]
    assert all(isinstance(one, Polled) for one in fake.requests[1:])
    assert fake.requests[1].poll == fake.requests[2].poll  # type: ignore[attr-defined]


def test_an_open_vote_draws_two_more_and_doubt_is_flagged() -> None:
    fake = ByRung({"How many?": ["-", "-", "5", "6", "5", "7", "5"]}, FACTS)
    (reply,), events = climb(fake, request())
    assert [len(batch) for batch in fake.asked] == [1, 2, 2]
    assert (reply.answer, reply.flags, len(reply.votes)) == ("5", (), 5)
    assert climbed(events) == ["votes"]
    (reply,), _ = climb(ByRung({SUM: ["7", "8", "9", "6", "6", "6", "6"]}), request(SUM), verifier="arithmetic")
    assert reply.answer == "6"
    assert [flag.split(":")[0] for flag in reply.flags] == ["verify", "unsure"]
    assert '"7", "8", "9", "6"' in reply.flags[-1]
    (reply,), _ = climb(ByRung({"How many?": ["-", "-", *"12345"]}, FACTS), request())
    assert reply.flags[0].startswith('unsure: 1 of 5 thoughts agree, with 20% of the weight; the rungs said: "1", "2",')


def test_a_thought_of_the_vote_that_is_computed_again_ends_it() -> None:
    fake = ByRung({SUM: ["7", "8", "9", "6", "5", "-", "-"]})
    (reply,), _ = climb(fake, request(SUM), verifier="arithmetic")
    assert (reply.answer, reply.flags) == ("5", ())
    assert [len(batch) for batch in fake.asked] == [1, 1, 1, 2]
    assert [one.weight for one in reply.votes] == [0.0, 0.0, 0.5]


def test_a_thought_of_the_vote_that_cannot_be_asked_leaves_the_others() -> None:
    class Refusing(ByRung):
        def end(self, request: Request, branch: int) -> Event:
            if branch == 1:
                return Failed(CannotMeetError("There is no time for it."), branch)
            return super().end(request, branch)

    fake = Refusing({"How many?": ["-", "-", "5", "5", "-", "5", "-"]}, FACTS)
    (reply,), _ = climb(fake, request())
    assert (reply.answer, reply.flags, len(reply.votes)) == ("5", (), 3)


def test_many_questions_climb_together() -> None:
    fake = ByRung({SUM: ["5"], "How many?": ["1", "1"], "Which?": ["1", "2", "2"]})
    replies, _ = climb(fake, request("Which?"), request(SUM), request(), verifier="arithmetic")
    assert [reply.answer for reply in replies] == ["2", "5", "1"]
    assert [[question for question, _ in batch] for batch in fake.asked] == [
        ["Which?", SUM, "How many?"], ["Which?", "How many?"], ["Which?"],
    ]  # fmt: skip


def test_a_budget_bounds_every_rung_and_a_deadline_the_whole() -> None:
    fake = ByRung({"How many?": ["1", "2", "3", "4", "5", "6", "7"]})
    climb(fake, request(budget=Budget(tokens=24)))
    # the long rung would only repeat the short one, which therefore casts the first vote
    assert [[tokens for _, tokens in batch] for batch in fake.asked] == [[0], [24], [24, 24], [24, 24]]
    fake = ByRung({"How many?": ["1", "2", "3", "4", "5", "6", "7"]})
    (reply,), _ = climb(fake, request(budget=Budget(seconds=2.5)))
    assert len(fake.asked) == 2
    assert (reply.answer, reply.budget.seconds) == ("2", 2.5)
    assert reply.flags and reply.flags[-1].startswith("unsure")


def test_the_rungs_rise_and_the_profile_says_which_pay() -> None:
    names = [(rung.name, rung.tokens, rung.thoughts) for rung in rungs(FACTS)]
    assert names[0] == ("off", 0, 1) and names[-2:] == [("votes", None, 2)] * 2
    assert names[1][1] is not None and names[2][1] is None
    assert low_rungs(LARGE, recomputed=False) == low_rungs(FACTS, recomputed=True) == ("off", "short")
    assert low_rungs(FACTS, recomputed=False) == ()
    measured = replace(LARGE, profile=replace(PROFILE, rungs=("short",), sure=0.99))
    assert low_rungs(measured, recomputed=False) == ("short",)
    assert (sure_from(measured), sure_from(LARGE)) == (0.99, SURE)


def test_votes_and_the_ladder_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="votes of its own"):
        climb(ByRung({}), request(voting=Voting(3)))


def test_verdicts_become_checks_and_flags() -> None:
    judged = verified(BARE, [Nodding("truth", passed=True), Nodding("form", passed=False)])
    assert judged.checks == (
        Check("nodding", True, "as it likes", "truth"), Check("nodding", False, "as it likes", "form"),
    )  # fmt: skip
    assert judged.flags == ("verify: nodding: as it likes",)
    assert verified(BARE, ()) is BARE


def test_what_stands_by_agreement_alone_says_so() -> None:
    (reply,), _ = climb(ByRung({"How many?": ["7", "5", "5"]}), request(), verifier="auto")
    assert reply.checks == (Check("agreement", True, "2 rungs agree.", "agreement"),)
    assert shortfall(reply, choose("auto")) == "2 rungs agree; nothing recomputed it."
    (reply,), _ = climb(ByRung({"How many?": [*"789", "5", "5", "5", "5"]}), request(), verifier="auto")
    assert [check.kind for check in reply.checks] == ["agreement"]
    assert shortfall(reply, ()) == "4 of 5 thoughts agree, with 80% of the weight; nothing recomputed it."
    (reply,), _ = climb(ByRung({SUM: ["5"]}), request(SUM), verifier="auto")
    assert [check.kind for check in reply.checks] == ["truth"] and shortfall(reply, ()) == ""
    (reply,), _ = climb(ByRung({SUM: [*"789", *"6666"]}), request(SUM), verifier="auto")
    assert not any(check.kind == "agreement" for check in reply.checks)  # a failed check outweighs all votes


def test_what_a_check_quotes_of_a_thought_is_no_word_of_the_trace() -> None:
    (reply,), _ = climb(ByRung({SUM: ["6", "5"]}), request(SUM), verifier="arithmetic")
    first, second = reply.decisions
    assert first.words == "the answer of the rung off does not stand: the check arithmetic failed"
    assert "5" in first.quote and not second.quote
    assert second.words == "the answer of the rung short stands: computed again by arithmetic"


class Waiting:
    """Judges "5" for as long as nobody has opened the gate."""

    name = "waiting"
    kind: Kind = "truth"

    def __init__(self) -> None:
        self.gate = threading.Event()

    def applies(self, case: Case) -> bool:
        return True

    def check(self, case: Case) -> Verdict:
        return Verdict.of(self, case.answer != "5" or self.gate.wait(20), "as the gate stands")


def test_a_slow_verifier_does_not_hold_up_the_decoding_of_the_others() -> None:
    judge_of_all = Waiting()

    class Opening(ByRung):
        def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
            for event in super().respond_many(requests, control):
                if isinstance(event, Done) and event.reply.answer == "6":
                    judge_of_all.gate.set()  # decoded while the answer before it is being judged
                yield event

    fake = Opening({SUM: ["5"], "How many?": ["6"]})
    ladder = LadderResponder(fake, [judge_of_all])
    done = [event for event in ladder.respond_many([request(SUM), request()]) if isinstance(event, Done)]
    assert {event.branch: event.reply.checks[0].passed for event in done} == {0: True, 1: True}
    assert len(fake.asked) == 1


def test_a_climb_that_is_cancelled_between_rungs_keeps_what_was_said() -> None:
    control = Control()

    class Stopped(ByRung):
        def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
            if control is not None and control.cancelled:
                return  # as the engine's responder leaves out what it has not begun
            yield from super().respond_many(requests, control)

    replies = []
    fake = Stopped({"How many?": ["1", "2", "3", "4"], "Which?": ["5", "6", "7", "8"]})
    for event in LadderResponder(fake, []).respond_many([request(), request("Which?")], control):
        if isinstance(event, Climbed):
            control.cancel()
        elif isinstance(event, Done):
            replies.append(event.reply)
    assert [(reply.answer, reply.finish, reply.flags) for reply in replies] == [
        ("1", "cancelled", ()), ("5", "cancelled", ()),
    ]  # fmt: skip


def test_a_verifier_that_cannot_judge_fails_the_reply() -> None:
    judged = verified(BARE, choose("units"), options={"limits": {"minimum": "many"}})
    assert not judged.checks[0].passed and judged.flags

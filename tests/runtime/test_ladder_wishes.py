"""Wishes on the ladder: whoever wants the answer now gets that of the rung under way, and a hint confirms nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runtime.backends.fake import FakeBackend
from runtime.events import Climbed, Done, Event, ThinkingDelta
from runtime.ladder.judgement import cast_votes, hinted, judge, judge_vote, others
from runtime.ladder.ladder import LadderResponder
from runtime.ladder.rung import SURE
from runtime.reply import Decision, Reply
from runtime.request import Request, Sampling
from runtime.responder import Control
from runtime.votes import same_text
from tests.fakes.answering_responder import FACTS
from tests.fakes.rung_responder import BARE, ByRung, Said, climb, climbed, request
from tests.fakes.scripted_model import VOCABULARY, ask, model, reply_of, responder
from tests.runtime.test_live_control import hinted as hinted_model

LEFT = "its user asked for the answer: no other rung is asked"
HINT = Decision(4, "hint", 8, None, "a hint was put in", "so 99 parts")
LEFT_OUT = replace(HINT, number=0, words="a hint was left out, for the context has no room for it")


def with_hint(answer: str, confidence: float = 0.9) -> Reply:
    return replace(BARE, answer=answer, confidence=confidence, decisions=(HINT,))


def test_who_wants_the_answer_now_gets_that_of_the_rung_under_way() -> None:
    control, events = Control(), []
    ladder = LadderResponder(responder(model("<think>\n" + "x" * 60 + "</think>\n\n2", sequences=2)), [])
    for event in ladder.respond(ask(), control):
        events.append(event)
        if isinstance(event, ThinkingDelta) and event.tokens == 5:
            control.answer_now()
    reply = reply_of(events)
    assert not climbed(events)
    assert (reply.close, reply.usage.thinking_tokens, reply.votes) == ("user", 5, ())
    assert reply.flags == ('unsure: nothing confirms it; the rungs said: "It is 2"',)
    last = reply.decisions[-1]
    assert (last.rule, last.token, last.words, last.rung) == ("user", 5, LEFT, "long")


def test_the_answer_that_is_asked_for_between_two_rungs_is_that_of_the_lower_one() -> None:
    control, fake = Control(), ByRung({"How many?": ["1", "2"], "Which?": ["3", "4"]})
    replies = []
    for event in LadderResponder(fake, []).respond_many([request(), request("Which?")], control):
        if isinstance(event, Climbed) and event.branch == 1:
            control.answer_now()
        elif isinstance(event, Done):
            replies.append(event.reply)
    assert len(fake.asked) == 1
    assert [(reply.answer, reply.finish, reply.decisions[-1].words) for reply in replies] == [
        ("1", "stop", LEFT), ("3", "stop", LEFT),
    ]  # fmt: skip


def test_an_answer_that_is_asked_for_before_there_is_one_is_still_given() -> None:
    control, fake = Control(), ByRung({"How many?": ["-", "-", ("5", 0.3)]}, FACTS)
    control.answer_now()
    reply = reply_of(LadderResponder(fake, []).respond(request(), control))
    assert (reply.answer, len(fake.asked)) == ("5", 1)


def test_an_answer_that_stands_ends_the_climb_by_itself() -> None:
    control, fake = Control(), ByRung({"How many?": ["-", "-", ("5", 0.999)]}, FACTS)
    control.answer_now()
    reply = reply_of(LadderResponder(fake, []).respond(request(), control))
    assert [one.rule for one in reply.decisions] == ["rung"] and reply.flags == ()


def test_a_hint_that_was_left_out_is_none() -> None:
    assert hinted(with_hint("5"))
    assert not hinted(replace(BARE, decisions=(LEFT_OUT,))) and not hinted(BARE)


def test_rungs_that_were_told_the_same_do_not_confirm_each_other() -> None:
    def stands(reply: Reply, *previous: Reply) -> bool:
        return judge(reply, others(reply, previous, same_text), same_text, SURE).accepted

    assert not stands(with_hint("99"), with_hint("99"))
    assert not stands(BARE, with_hint("99"), with_hint("99"))  # which says something else
    assert stands(with_hint("5"), BARE) and stands(BARE, with_hint("5"), with_hint("5"))
    assert judge(BARE, others(BARE, [with_hint("5")] * 3, same_text), same_text, SURE).number == 2  # one voice, and it
    sure = judge(with_hint("99", 0.999), (), same_text, SURE)
    assert not sure.accepted and sure.reason == "its thought was hinted, and nothing else confirms it"


@pytest.mark.parametrize("others_say", ["85", "99"])
def test_thoughts_that_were_told_the_same_have_one_voice(others_say: str) -> None:
    replies = [with_hint("99", 0.6), with_hint("99", 0.9), with_hint("99", 0.7)]
    own = replace(BARE, answer=others_say, confidence=0.4)
    verdict, leader = judge_vote([*replies, own], 0, same_text)
    assert verdict.accepted is (others_say == "99") and leader.answer == "99"
    assert verdict.reason.endswith("; 2 hinted thoughts only repeat another hinted one, and count for nothing")
    assert [one.weight for one in cast_votes([*replies, own], same_text)] == [0.0, 0.9, 0.0, 0.4]
    alone, _ = judge_vote(replies, 0, same_text)
    assert not alone.accepted and alone.number == 1.0
    assert judge_vote([replace(one, decisions=()) for one in replies], 0, same_text)[0].accepted


class Hinting(ByRung):
    """Puts the hint into every thought, and is told by it what to say."""

    def end(self, request: Request, branch: int) -> Event:
        done = super().end(request, branch)
        assert isinstance(done, Done)
        return replace(done, reply=replace(done.reply, decisions=(HINT,)))


def test_a_hint_is_no_agreement_of_all_thoughts_that_were_given_it() -> None:
    said: list[Said] = ["-", "-", "99", "99", "99", "98", "99"]
    (reply,), _ = climb(ByRung({"How many?": said}, FACTS), request())
    assert (reply.answer, reply.flags) == ("99", ())  # the same without a hint
    fake = Hinting({"How many?": said}, FACTS)
    (reply,), _ = climb(fake, request())
    assert reply.answer == "99" and len(reply.votes) == 5 and reply.checks == ()
    (flag,) = reply.flags
    assert flag.startswith("unsure: 4 of 5 thoughts agree, with 50% of the weight; 3 hinted thoughts only repeat")


def test_a_hint_that_was_replayed_into_each_rung_is_seen() -> None:
    control, events = Control(), []
    ladder = LadderResponder(responder(FakeBackend(hinted_model(VOCABULARY), VOCABULARY, sequences=2)), [])
    drawn = replace(ask(), sampling=Sampling(temperature=0.01))  # as its script says
    for event in ladder.respond(drawn, control):
        events.append(event)
        if isinstance(event, ThinkingDelta) and event.tokens == 4:
            control.hint("use ten")
    reply = reply_of(events)
    assert reply.answer == "HINTED" and [one.answer for one in reply.votes] == ["HINTED"] * 5
    assert sum(vote.weight > 0 for vote in reply.votes) == 1
    assert reply.flags and "hinted" in reply.flags[0]

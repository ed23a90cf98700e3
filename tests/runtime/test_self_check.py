"""A thought's own checks: when they put its answer in doubt, and what settles that."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from models.family import families
from models.tiny.problem import SKILLS, Language, draw
from models.tiny.thought import PHRASES, Mistake, think
from runtime.commands.reply_end import exit_code_of
from runtime.control.self_check import own_objection
from runtime.events import Done, Event
from runtime.ladder.judgement import cast_votes, judge, judge_vote
from runtime.ladder.ladder import LadderResponder
from runtime.ladder.rung import SURE
from runtime.reply import Reply
from runtime.request import Message, Request, Sampling, Voting
from runtime.turn.outcome import own_check_flags
from runtime.verification import OWN_OBJECTION, doubts, own_doubt, verified
from runtime.verifiers.registry import choose
from runtime.votes import same_text
from runtime.voting import VotingResponder
from tests.fakes.answering_responder import FACTS
from tests.fakes.rung_responder import BARE, SUM, ByRung, Nodding
from tests.fakes.scripted_model import FAMILY, ask, model, reply_of, responder

LANGUAGES: tuple[Language, ...] = ("en", "ja")
MISTAKES: tuple[Mistake, ...] = ("none", "step", "reading")
FIRST = "12+30\n12+30:2+0=2,2;1+3=5,52\nso 52"
CHECK = "\nWait, check\n12+30 ok\n52-30:2-0=2,2;5-3=2,22=22\n22~12"
AGAIN = "\n12+30:2+0=2,2;1+3=5,52\nso 52"
MENDED = "\n12+30:2+0=2,2;1+3=4,42\nso 42"
UNREPAIRED = "check said no, and nothing was repaired"
UNCHANGED = "check said no, and its repair changed nothing"


def objection(thinking: str, answer: str = "52") -> str:
    assert FAMILY.self_check is not None
    return own_objection(thinking, answer, FAMILY.self_check)


def test_the_form_is_the_teachers_own() -> None:
    form = FAMILY.self_check
    assert form is not None
    for place, phrases in enumerate(PHRASES[language] for language in LANGUAGES):
        known = (form.opens[place], form.agrees[place], form.disagrees[place], form.repairs[place], form.states[place])
        taught = (phrases.check, phrases.ok, phrases.differs, phrases.redo, phrases.so)
        assert known == tuple(text.strip("\n") for text in taught)
    assert [one.name for one in families() if one.self_check] == ["kangae-tiny"]


@pytest.mark.parametrize(
    ("thinking", "answer", "said"),
    [
        (FIRST, "52", ""),
        (f"{FIRST}{CHECK} ok\nso 52", "52", ""),
        (f"{FIRST}{CHECK} no", "52", UNREPAIRED),
        (f"{FIRST}{CHECK} no\nRedo\n12+30:2+0", "42", UNREPAIRED),  # cut in its repair
        (f"{FIRST}{CHECK} no\nRedo{AGAIN}", "52", UNCHANGED),
        (f"{FIRST}{CHECK} no\nso 52", "52", UNCHANGED),
        (f"{FIRST}{CHECK} no\nRedo{MENDED}", "42", ""),
        (f"{FIRST}{CHECK} no\nRedo{MENDED}", "52", "check said no to this answer"),
        (f"{FIRST}{CHECK} no\nRedo{MENDED}{CHECK} ok\nso 42", "42", ""),
        (f"{FIRST}{CHECK} no\nRedo{MENDED}{CHECK} no", "42", UNREPAIRED),
        (f"{FIRST}{CHECK} no\nRedo{MENDED}{CHECK} no\nRedo{AGAIN}", "52", "check said no to this answer"),
        (f"{FIRST}{CHECK} no\nRedo{AGAIN}{CHECK} ok\nso 52", "52", ""),  # a later check settles it
        (f"{FIRST}{CHECK} no\nRedo{AGAIN}\nWait, check\n12+30 ok", "52", UNCHANGED),  # no whole check
        # what is asked for may be the same with the slip and without
        ("17<=9\n26?09:2>0\nso no\nWait, check\n26~17 no\nRedo\n17?09:1>0\nso no", "no", ""),
        ("17<=9\n17?09:1>0\nso no\nWait, check\n17<=9 ok\n9<17 ok\nso no", "no", ""),
        ("the answer is no\nso no", "no", ""),  # no check
        ("12+30\nよって、52 個\n待て、検算\n12+30 違う\nやり直し\n12+30\nよって、52 個", "52 個", UNCHANGED),
        ("", "52", ""),
        (FIRST, "25", "result is another than this answer"),
        (f"{FIRST}{CHECK} ok\nso 52", "2 left", "result is another than this answer"),
        ("12+30\n12+30:2+0", "42", ""),  # cut before it came to a result
    ],
)  # fmt: skip
def test_what_a_thought_has_against_its_answer(thinking: str, answer: str, said: str) -> None:
    assert objection(thinking, answer) == said


@pytest.mark.parametrize("skill", SKILLS)
def test_a_slip_that_was_mended_is_no_doubt(skill: str) -> None:
    rng, mistaken = random.Random(skill), 0
    for number in range(36):
        problem = draw(rng, skill, LANGUAGES[number % 2], held_out=False)
        thought = think(problem, rng, checks=1 + number % 2, mistake=MISTAKES[number % 3])
        mistaken += thought.mistaken
        assert objection(thought.text, thought.answer) == "", thought.text
        check, _, _ = thought.text.rpartition(PHRASES[problem.language].redo)
        if thought.mistaken:
            assert objection(check, thought.answer) == UNREPAIRED
    assert mistaken > 10


DOUBTED = f"{FIRST}{CHECK} no\nRedo{AGAIN}"


def test_a_plain_reply_is_flagged_and_only_where_the_family_has_a_form_of_checks() -> None:
    text = f"<think>\n{DOUBTED}\n</think>\n\n52"
    reply = reply_of(responder(model(text, "52")).respond(ask("12+30?")))
    assert reply.answer == "52" and reply.close == "natural"
    assert reply.flags == (f"unsure: the thought's own {UNCHANGED}",)
    assert exit_code_of(reply) == 8
    unknown = replace(FAMILY, self_check=None)
    assert reply_of(responder(model(text, "52"), unknown).respond(ask("12+30?"))).flags == ()
    mended = f"<think>\n{FIRST}{CHECK} no\nRedo{MENDED}\n</think>\n\n42"
    reply = reply_of(responder(model(mended, "42")).respond(ask("12+30?")))
    assert (reply.answer, reply.flags, exit_code_of(reply)) == ("42", (), 0)


def test_an_answer_that_was_cut_is_no_other_result() -> None:
    form = FAMILY.self_check
    assert own_check_flags("stop", FIRST, "5", form) == (f"{OWN_OBJECTION}result is another than this answer",)
    assert own_check_flags("length", FIRST, "5", form) == ()
    assert own_check_flags("length", f"{FIRST}{CHECK} no", "5", form) == (f"{OWN_OBJECTION}{UNREPAIRED}",)


DOUBT = f"{OWN_OBJECTION}{UNCHANGED}"


def doubted(reply: Reply) -> Reply:
    return replace(reply, flags=(*reply.flags, DOUBT))


def test_an_answer_that_is_computed_again_is_in_no_doubt() -> None:
    reply = doubted(replace(BARE, question=SUM))
    assert doubts(verified(reply, choose("arithmetic"))) == ()
    assert doubts(verified(replace(reply, answer="6"), choose("arithmetic")))[0] == DOUBT
    assert own_doubt(verified(reply, [Nodding("form", passed=True)]))


def test_neither_sureness_nor_a_rung_that_says_the_same_outweighs_the_own_check() -> None:
    sure = replace(BARE, confidence=0.999)
    assert judge(sure, (), same_text, SURE).accepted and judge(BARE, ("5",), same_text, SURE).accepted
    for verdict in (judge(doubted(sure), (), same_text, SURE), judge(doubted(BARE), ("5",), same_text, SURE)):
        assert not verdict.accepted and verdict.reason == f"the thought's own {UNCHANGED}"


def test_a_thought_that_objects_to_its_own_answer_has_no_vote() -> None:
    wrong, right = doubted(replace(BARE, answer="6", confidence=0.9)), replace(BARE, confidence=0.4)
    verdict, leader = judge_vote([wrong, wrong, right, right], 0, same_text)
    assert verdict.accepted and leader.answer == "5"
    assert [one.weight for one in cast_votes([wrong, right])] == [0.0, 0.4]
    verdict, leader = judge_vote([wrong, wrong], 0, same_text)
    assert not verdict.accepted and leader is wrong and verdict.reason.startswith("the thought's own check")


class Doubting(ByRung):
    """Of its thoughts, those that answer so object to their own answers."""

    def __init__(self, answers: Sequence[str], objects: str) -> None:
        super().__init__({"How many?": [(answer, 0.999) for answer in answers]}, FACTS)
        self._objects = objects

    def end(self, request: Request, branch: int) -> Event:
        done = super().end(request, branch)
        assert isinstance(done, Done)
        return replace(done, reply=doubted(done.reply)) if done.reply.answer in self._objects else done


def climbed(answers: Sequence[str], objects: str) -> tuple[Reply, int]:
    fake = Doubting(answers, objects)
    return reply_of(LadderResponder(fake, []).respond(Request((Message("user", "How many?"),)))), len(fake.asked)


def test_the_ladder_goes_on_from_an_answer_that_its_own_thought_rejected() -> None:
    assert climbed("--5", objects="")[1] == 1  # else such a sure thought is the only one
    reply, rungs = climbed("--65555", objects="6")
    assert (reply.answer, reply.flags) == ("5", ()) and rungs > 1
    assert reply.decisions[0].words.endswith(f"does not stand: the thought's own {UNCHANGED}")
    reply, _ = climbed("--66666", objects="6")
    assert reply.answer == "6" and exit_code_of(reply) == 8
    (flag,) = reply.flags  # once, with what the rungs said
    assert flag == f'{DOUBT}; the rungs said: "6"'


def test_of_votes_that_agree_one_without_an_objection_speaks() -> None:
    def told(*objecting: int) -> Reply:
        class Some(ByRung):
            def end(self, request: Request, branch: int) -> Event:
                done = super().end(request, branch)
                assert isinstance(done, Done)
                return replace(done, reply=doubted(done.reply)) if branch in objecting else done

        fake = Some({"How many?": ["-", "-", "5", "5", "5"]}, FACTS)
        asked = Request((Message("user", "How many?"),), voting=Voting(3))
        return reply_of(VotingResponder(fake, Sampling).respond(asked))

    assert (told(0).answer, told(0).flags) == ("5", ())
    assert told(0, 1, 2).flags == (DOUBT,)

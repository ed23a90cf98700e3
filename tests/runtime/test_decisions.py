"""A turn's log told as decisions: every rule that can fire, with its token and its numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runtime.control.found_loop import FoundLoop
from runtime.control.thinking_control import Limits
from runtime.control.trial_answers import TrialAnswer
from runtime.phase import Phase
from runtime.reply import CloseReason, Decision
from runtime.request import Budget, Endings, Probing
from runtime.turn.decisions import Course, decisions_of
from runtime.turn.log import AskedTrial, ForcedClose, GotTrial, LookedAt, PutHint, RaisedBudget

LIMITS = Limits(thinking=64, reserve=16, room=400)
COURSE = Course(LIMITS, "natural", thinking_tokens=40, answer_tokens=3, budget=Budget(64))
NEAR = Endings(margin=0.25)
PROBING = Endings(probing=Probing(confidence=0.95, agreeing=2))


def closed(reason: CloseReason, token: int, retract: int = 0) -> tuple[int, ForcedClose]:
    return token, ForcedClose((1, 2, 3), reason, retract)


def figures(course: Course) -> list[tuple[int, str, float | None, float | None]]:
    return [(one.token, one.rule, one.number, one.limit) for one in decisions_of(course)]


def the(rule: str, course: Course) -> Decision:
    (found,) = [one for one in decisions_of(course) if one.rule == rule]
    return found


@pytest.mark.parametrize(
    ("start", "opened", "thought", "number", "words"),
    [
        (Phase.BEFORE, 0, True, None, "the model opened the thought"),
        (Phase.BEFORE, 2, True, 2, "the thought was opened by force"),
        (Phase.THINKING, 0, True, None, "the prompt had opened the thought"),
        (Phase.THINKING, 7, True, 7, "the prompt had opened the thought, and a beginning of it was put in"),
    ],
)
def test_how_the_thought_was_opened(start: Phase, opened: int, thought: bool, number: int | None, words: str) -> None:
    first, last = decisions_of(replace(COURSE, start=start, opened=opened, thought=thought))
    assert first == Decision(0, "opened", number, None, words)
    assert last == Decision(40, "natural", 40, None, "the model closed the thought")


def test_a_turn_without_a_thought() -> None:
    off = replace(COURSE, close="off", start=Phase.ANSWER, thinking_tokens=0, thought=False, budget=Budget(0))
    assert decisions_of(off) == (Decision(0, "off", None, None, "no thought was asked for"),)
    straight = replace(COURSE, thinking_tokens=0, thought=False)
    assert decisions_of(straight) == (Decision(0, "natural", 0, None, "the model answered without a thought"),)


@pytest.mark.parametrize(
    ("budget", "limit", "token", "words"),
    [
        (64, 64, 64, "the budget was spent"),
        (64, 64, 58, "the budget was spent; closed at a boundary before its end"),
        (900, 64, 64, "the context holds no more beside the answer's room, though 900 were given"),
        (None, 64, 64, "the context holds no more beside the answer's room"),
    ],
)
def test_a_spent_budget_tells_its_numbers(budget: int | None, limit: int, token: int, words: str) -> None:
    course = replace(COURSE, close="budget", budget=Budget(budget), marks=(closed("budget", token, retract=2),))
    assert decisions_of(course)[1:] == (
        Decision(token, "budget", token, limit, words),
        Decision(token, "forced", 3, None, "put in to close the thought; taken back before that: 2 tokens"),
    )


def test_a_full_context_closes_nothing_by_force() -> None:
    course = replace(COURSE, close="budget", answer_tokens=0, finish="length")
    assert figures(course)[1:] == [(40, "budget", 40, 64)]
    assert the("budget", course).words == "the context was full"


def test_a_raised_budget_is_held_against_the_new_sum() -> None:
    course = replace(
        COURSE,
        limits=replace(LIMITS, thinking=84),
        close="budget",
        marks=((10, RaisedBudget(16)), (20, RaisedBudget(4)), closed("budget", 84)),
    )
    assert figures(course)[1:4] == [(10, "more", 16, 80), (20, "more", 4, 84), (84, "budget", 84, 84)]
    assert the("budget", course).words == "the budget was spent"
    unlimited = replace(course, budget=Budget(), marks=((10, RaisedBudget(16)),), close="natural")
    assert figures(unlimited)[1] == (10, "more", 16, None)


def test_a_deadline_tells_its_seconds() -> None:
    course = replace(COURSE, close="deadline", budget=Budget(seconds=5.0), marks=(closed("deadline", 30),))
    assert the("deadline", course).limit == 5.0
    late = replace(COURSE, close="deadline", budget=Budget(seconds=5.0), finish="length", late=True, answer_tokens=0)
    assert figures(late)[1:] == [(40, "deadline", None, 5.0), (40, "length", 0, None)]


def test_margins_that_counted_and_the_soft_close() -> None:
    marks = ((10, LookedAt(3.0)), (20, LookedAt(0.12)), (30, LookedAt(0.20004)), closed("soft", 30))
    course = replace(COURSE, close="soft", endings=NEAR, marks=marks)
    assert figures(course)[1:] == [
        (20, "margin", 0.12, 0.25), (30, "margin", 0.2, 0.25), (30, "soft", 0.2, 0.25), (30, "forced", 3, None),
    ]  # fmt: skip
    early = replace(course, limits=replace(LIMITS, minimum=25))
    assert [one[:2] for one in figures(early)][1:3] == [(30, "margin"), (30, "soft")]


def test_a_closer_that_was_made_likelier() -> None:
    assert figures(replace(COURSE, close="soft"))[1:] == [(40, "soft", 40, 64)]


def trial(text: str, sure: float, tokens: int = 9, whole: bool = True) -> GotTrial:
    return GotTrial(TrialAnswer(text, sure, tokens, whole))


def test_trial_answers_with_their_confidence_and_cost() -> None:
    marks = (
        (20, AskedTrial()), (20, trial("7", 0.5)), (30, trial("8", 0.0, tokens=0)), (35, trial("9", 0.6, whole=False)),
        (38, trial("7", 0.97)), closed("probe", 38),
    )  # fmt: skip
    course = replace(COURSE, close="probe", endings=PROBING, marks=marks)
    told = decisions_of(course)[1:]
    assert [(one.token, one.rule, one.number, one.limit, one.quote) for one in told[:5]] == [
        (20, "trial", 0.5, 0.95, "7"), (30, "trial", 0.0, 0.95, "8"), (35, "trial", 0.6, 0.95, "9"),
        (38, "trial", 0.97, 0.95, "7"), (38, "probe", 0.97, 0.95, ""),
    ]  # fmt: skip
    assert [one.words for one in told[:5]] == [
        "a trial answer, for 9 tokens", "a trial answer failed",
        "a trial answer, for 9 tokens, that did not come to its end",
        "a trial answer, for 9 tokens", "a trial answer was sure",
    ]  # fmt: skip
    alike = replace(course, marks=((20, trial("7", 0.5)), closed("probe", 20)))
    assert the("probe", alike).words == "trial answers running were alike"


def test_loops_are_told_with_the_length_of_a_round() -> None:
    first, second = FoundLoop(96, "cycle", 20, 12), FoundLoop(380, "lines", 352, 7)
    course = replace(COURSE, close="loop", loops=(first, second), marks=((50, PutHint()), closed("loop", 380)))
    assert figures(course)[1:] == [
        (50, "hint", 0, None), (96, "repetition", 12, None), (380, "loop", 7, None), (380, "forced", 3, None),
    ]  # fmt: skip
    assert the("repetition", course).words.startswith("it goes in circles, by a cycle of 12 tokens since token 20")
    assert the("loop", course).words == "it went in circles again, by a line of 7 tokens since token 352"
    turned = replace(course, close="natural", loops=(first,), marks=(), thinking_tokens=200)
    assert figures(turned)[1:] == [(96, "repetition", 12, None), (200, "natural", 200, None)]


def test_an_answer_that_goes_in_circles() -> None:
    loops = (FoundLoop(400, "cycle", 1, 5), FoundLoop(900, "cycle", 500, 5))
    course = replace(COURSE, answer_loops=loops, answer_tokens=900, finish="length", circles=True)
    assert figures(course)[2:] == [(40, "repetition", 5, None), (40, "length", 900, None)]
    assert "circles" in the("length", course).words
    assert len(figures(replace(course, circles=False, finish="stop"))) == 4


def test_hints_quote_what_was_put_in_and_words_never_do() -> None:
    course = replace(COURSE, marks=((12, PutHint("\nuse ten\n", (4, 5))), (13, PutHint())))
    put, left = decisions_of(course)[1:3]
    assert (put.rule, put.number, put.quote) == ("hint", 2, "use ten")
    assert (left.rule, left.number, left.quote) == ("hint", 0, "")
    assert all("use ten" not in one.words for one in decisions_of(course))


@pytest.mark.parametrize("reason", ["user", "natural"])
def test_closes_by_a_person_and_at_the_end_of_sequence(reason: CloseReason) -> None:
    course = replace(COURSE, close=reason, marks=(closed(reason, 40, retract=1),))
    assert figures(course)[1:] == [(40, reason, 40, None), (40, "forced", 3, None)]
    by_itself = replace(COURSE, close=reason)
    assert the(reason, course).words != the(reason, by_itself).words


def test_why_an_answer_was_cut_off() -> None:
    cut = replace(COURSE, finish="length", answer_tokens=16, limits=replace(LIMITS, answer=16))
    assert figures(cut)[-1] == (40, "length", 16, 16)
    full = replace(cut, answer_tokens=9)
    assert figures(full)[-1] == (40, "length", 9, None)
    assert figures(replace(cut, finish="stop"))[-1][1] == "natural"


def test_forced_tokens_add_up() -> None:
    marks = ((5, PutHint("x", (1, 2))), closed("budget", 64))
    told = decisions_of(replace(COURSE, close="budget", opened=4, marks=marks))
    assert sum(one.number or 0 for one in told if one.rule in ("opened", "hint", "forced")) == 4 + 2 + 3

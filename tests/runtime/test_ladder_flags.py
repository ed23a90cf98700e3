"""What the ladder says of an answer that does not stand: in one line, and in words that fit the votes shown."""

from __future__ import annotations

from dataclasses import replace

from runtime.ladder.judgement import judge_vote
from runtime.votes import same_text
from tests.fakes.answering_responder import FACTS
from tests.fakes.rung_responder import BARE, ByRung, climb, request


def test_an_answer_of_many_lines_is_quoted_on_one_and_shortened() -> None:
    (reply,), _ = climb(ByRung({"How many?": ["-", "-", "9, 9", "1 r\n\n4", "7" * 200, "3", "2"]}, FACTS), request())
    said = reply.flags[0].partition("; the rungs said: ")[2]
    assert said == f'"9, 9", "1 r 4", "{"7" * 59}…", "3", "2"'


def test_thoughts_without_a_vote_are_told_apart_from_those_that_disagree() -> None:
    def told(empty: int) -> str:
        thoughts = [replace(BARE, answer=answer) for answer in "5556"]
        return judge_vote([*thoughts, *[replace(BARE, answer="")] * empty], 0, same_text)[0].reason

    assert told(0) == "3 of 4 thoughts agree, with 75% of the weight"
    assert told(1) == (
        "3 of the 4 thoughts with a vote agree, with 75% of the weight "
        "(1 more has none: it was stopped, failed a check, doubts itself, or gave no answer)"
    )
    assert "(2 more have none: they were stopped, failed a check, doubt themselves, or gave no answer)" in told(2)

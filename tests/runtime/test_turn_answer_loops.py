"""Answers that go in circles: repetitions are made unlikely, and what that does not turn is ended and told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from runtime.backends.fake import IM_END, THINK, FakeBackend, Script
from runtime.control.thinking_control import Limits, Ruling, ThinkingControl, View
from runtime.phase import Phase
from runtime.reply import Reply
from runtime.request import Budget, Endings
from tests.fakes.scripted_model import VOCABULARY, ask, reply_of, responder

LINE = b"so it goes on. "
FLAG = "loop: the answer went in circles and was ended"


def circles(ids: tuple[int, ...]) -> Sequence[int]:
    """Goes in circles, whatever else is drawn in between."""
    return LINE[len(ids) % len(LINE)], ord("~")


def thinks_in_circles(ids: tuple[int, ...]) -> Sequence[int]:
    return circles(ids) if THINK in ids else (THINK, ord("~"))


def says(text: str) -> Script:
    """An answer without a thought."""
    plan = [*VOCABULARY.tokenize(text, markers=False), IM_END]

    def follow(ids: tuple[int, ...]) -> Sequence[int]:
        said = VOCABULARY.text(ids).rsplit("</think>\n\n", 1)[1]
        return plan[min(len(said.encode()), len(plan) - 1)], ord("~")

    return follow


def answered(script: Script, *, loops: bool = True, tokens: int | None = None) -> Reply:
    backend = FakeBackend(script, VOCABULARY, context=2048)
    return reply_of(
        responder(backend).respond(replace(ask(), budget=Budget(tokens=tokens), endings=Endings(loops=loops)))
    )


def test_an_answer_in_circles_is_ended_and_told() -> None:
    reply = answered(circles, tokens=0)
    assert (reply.close, reply.finish, reply.flags) == ("off", "length", (FLAG,))
    assert 384 + 256 < reply.usage.answer_tokens < 1100
    assert reply.answer.startswith(LINE.decode().strip())
    free = answered(circles, tokens=0, loops=False)
    assert (free.finish, free.flags) == ("length", ())
    assert free.usage.answer_tokens > 1900, "to the end of the context"


def test_a_thought_and_its_answer_in_circles_are_both_ended() -> None:
    reply = answered(thinks_in_circles)
    assert (reply.close, reply.finish, reply.flags) == ("loop", "length", (FLAG,))
    assert reply.usage.thinking_tokens <= 600
    assert reply.usage.answer_tokens < 1100


def test_a_thought_in_circles_says_nothing_of_its_answer() -> None:
    def follow(ids: tuple[int, ...]) -> Sequence[int]:
        said = VOCABULARY.text(ids).rsplit("assistant\n", 1)[1]
        if "</think>" in said:
            return (IM_END if said.endswith("2") else ord("2"), ord("~"))
        return thinks_in_circles(ids)

    reply = answered(follow)
    assert (reply.close, reply.answer, reply.finish, reply.flags) == ("loop", "2", "stop", ())


def test_an_answer_that_can_be_turned_goes_on() -> None:
    def follow(ids: tuple[int, ...]) -> Sequence[int]:
        return (IM_END, ord("~")) if ids[-1] == ord("~") else circles(ids)

    reply = answered(follow, tokens=0)
    turned = "loop: the answer went in circles, and was turned by making repetitions unlikely"
    assert (reply.finish, reply.flags) == ("stop", (turned,))
    assert reply.answer.endswith("~") and 384 <= reply.usage.answer_tokens <= 512


@pytest.mark.parametrize(
    "answer",
    [
        "Here it is:\n\n```python\n" + "    counter.increment()\n" * 30 + "```\n\nThat is all.",
        "Use `" + "ab" * 250 + "` for it.",
        "| part | done |\n|---|---|\n" + "| bolt | yes |\n" * 55 + "\nAll of them.",
        "".join(f"{number}. Check the machine and write it down.\n" for number in range(1, 21)),
        "I must not run in the hall.\n" * 12 + "I wrote it.",
        "station,state,verdict\n" + "press,normal operation,passed\n" * 32,
        "Labels:\n" + "Handle with care, this side up\n" * 32 + "That is all.",
    ],
    ids=["code", "code span", "table", "list", "lines", "records", "labels"],
)
def test_what_only_looks_like_a_loop_is_not_touched(answer: str) -> None:
    reply = answered(says(answer), tokens=0)
    assert (reply.answer, reply.finish, reply.flags) == (answer.strip(), "stop", ())


def test_equal_rows_without_end_are_ended_as_they_are() -> None:
    row = "press,normal operation,passed\n"
    reply = answered(says(row * 200), tokens=0)
    assert (reply.finish, reply.flags) == ("length", (FLAG,))
    assert 384 + 640 <= reply.usage.answer_tokens < 1100
    assert (row * 200).startswith(reply.answer), "none of them was changed"


def test_the_rule_tells_thought_and_answer_apart() -> None:
    def decided(phase: Phase) -> Ruling:
        return ThinkingControl(Limits(64, 16)).decide(View(phase, 9, 9, looping=True))

    assert decided(Phase.THINKING) == Ruling(close="loop")
    assert decided(Phase.ANSWER) == Ruling(finish="length") == decided(Phase.BEFORE)

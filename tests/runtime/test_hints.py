"""Hints to a thought under way: put in at a boundary before its budget's end has it, or told as left out."""

from __future__ import annotations

import pytest

from runtime.backends.fake import FakeBackend
from runtime.local_responder import LocalResponder
from runtime.reply import Decision, Reply
from runtime.request import Budget, Endings, Message, Request
from runtime.responder import Control
from tests.fakes.scripted_model import FAMILY, ask, model, reply_of, responder
from tests.fakes.timed_backend import TimedBackend, known_speed

LINES = "<think>\n" + "one two three four five six seven eight nine t.\n" + "and so on it goes.\n" * 20


def hinted(text: str, request: Request, *hints: str, at: int = 8, **more: object) -> Reply:
    """The reply of a scripted model that is given hints at its decode number `at`."""
    control = Control()

    def steer(backend: FakeBackend) -> None:
        if len(backend.batches) == at:
            for hint in hints:
                control.hint(hint)

    return reply_of(responder(model(text, on_decode=steer, **more)).respond(request, control))  # type: ignore[arg-type]


def of_hints(reply: Reply) -> list[Decision]:
    return [one for one in reply.decisions if one.rule == "hint"]


def test_a_hint_has_the_boundary_that_the_budget_would_close_at() -> None:
    alone = hinted(LINES, ask(tokens=60))
    reply = hinted(LINES, ask(tokens=60), "use ten")
    (found,) = of_hints(reply)
    assert alone.close == reply.close == "budget"
    assert 45 <= alone.usage.thinking_tokens == found.token < reply.usage.thinking_tokens <= 60
    assert found.number and "\nuse ten\n" in reply.thinking
    last = next(one for one in reply.decisions if one.rule == "budget")
    assert last.token == reply.usage.thinking_tokens  # the thought went on behind the hint
    assert not of_hints(alone)


def test_two_hints_at_one_boundary_are_both_put_in() -> None:
    reply = hinted(LINES, ask(tokens=60), "use ten", "and two")
    assert "\nuse ten\nand two\n" in reply.thinking
    assert [bool(one.number) for one in of_hints(reply)] == [True, True]


@pytest.mark.parametrize("text", ["<think>\n" + "x" * 60, "<think>\nno end in sight</think>\n\n2"])
def test_a_hint_whose_place_never_came_is_told_as_left_out(text: str) -> None:
    reply = hinted(text, ask(tokens=30), "use ten", "and two")
    told = Decision(reply.usage.thinking_tokens, "hint", 0, None, "a hint was left out, for the thought ended first")
    assert of_hints(reply) == [told, told]
    assert "use ten" not in reply.thinking


def test_without_a_thought_there_is_no_place_for_a_hint() -> None:
    reply = hinted("It is 2, and so on.", ask(tokens=0), "use ten", at=3)
    assert [one.words for one in of_hints(reply)] == ["a hint was left out, for there was no thought"]


def test_a_hint_takes_of_the_thoughts_room_and_not_of_the_answers() -> None:
    hint = "y" * 60
    asked = ask(tokens=5000, answer_reserve=100)
    reply = hinted(LINES, asked, hint, context=400, answer="word " * 60)
    usage = reply.usage
    assert hint in reply.thinking
    assert usage.prompt_tokens + usage.thinking_tokens + usage.forced_tokens + usage.answer_tokens <= 400
    assert (usage.answer_tokens, reply.finish, reply.close) == (100, "length", "budget")


def test_a_hint_that_would_cost_the_deadline_is_left_out() -> None:
    backend, control = TimedBackend(answer="It is 2"), Control()
    local = LocalResponder(backend, FAMILY, clock=backend.clock)
    known_speed(local)
    control.hint("y" * 1500)
    start = backend.now
    request = Request((Message("user", "1+1?"),), Budget(seconds=12.0), endings=Endings(loops=False))
    reply = reply_of(local.respond(request, control))
    assert [one.words for one in of_hints(reply)] == ["a hint was left out, for the deadline leaves no time for it"]
    assert (reply.close, reply.answer, backend.now - start <= 12.0) == ("deadline", "It is 2", True)

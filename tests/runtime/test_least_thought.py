"""A least thought that was not kept to: never without a word, and refused where it was firm."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import kangae
from models.errors import CannotMeetError
from runtime import opening
from runtime.control.thinking_control import Limits
from runtime.events import ThinkingDelta
from runtime.local_responder import LocalResponder
from runtime.reply import CloseReason
from runtime.request import Budget, Endings, Message, Request
from runtime.responder import Control
from runtime.turn.short_thought import short_thought_flags
from tests.fakes.scripted_model import ask, model, reply_of, responder

COUNTING = "<think>\n" + "\n".join(map(str, range(500)))


@pytest.mark.parametrize(
    ("close", "thinking", "held", "words"),
    [
        ("deadline", 7, 9, "the deadline left time for 7 of at least 9 thinking tokens"),
        ("loop", 7, 9, "the thought went in circles, and was closed after 7 of at least 9 thinking tokens"),
        ("budget", 7, 9, "the context left room for no more, and the thought ended after 7 of at least 9"),
        ("natural", 7, 6, "the context left room for no more, and the thought ended after 7 of at least 9"),
        ("natural", 7, 9, "the model ended its thought after 7 of at least 9 thinking tokens"),
        ("user", 7, 9, ""),
        ("loop", 9, 9, ""),
    ],
)
def test_what_is_said_of_a_short_thought(close: CloseReason, thinking: int, held: int, words: str) -> None:
    limits = Limits(thinking=40, reserve=10, minimum=held)
    flags = short_thought_flags(Budget(minimum=9), limits, thinking, close)
    assert len(flags) == bool(words) and all(flag.startswith(f"minimum: {words}") for flag in flags)


def test_a_thought_in_circles_is_closed_below_its_least_and_says_so() -> None:
    reply = reply_of(responder(model("<think>\n" + "so it goes on. " * 120, context=4096)).respond(ask(minimum=1500)))
    (flag,) = [flag for flag in reply.flags if flag.startswith("minimum: ")]
    assert reply.close == "loop" and reply.usage.thinking_tokens < 1500
    assert flag.startswith("minimum: the thought went in circles") and "of at least 1500" in flag


def test_a_context_that_holds_less_says_so_or_refuses() -> None:
    local = responder(model(COUNTING, context=400))
    request = replace(ask(minimum=5000), endings=Endings(loops=False))
    reply = reply_of(local.respond(request))
    assert reply.close == "budget" and 0 < reply.usage.thinking_tokens < 400
    assert [flag for flag in reply.flags if flag.startswith("minimum: the context left room")] == list(reply.flags)
    with pytest.raises(CannotMeetError, match=r"at least 5000 tokens .* of the context's 400 tokens") as failure:
        list(local.respond(replace(request, budget=Budget(minimum=5000, firm=True))))
    room = reply.usage.thinking_tokens
    assert f"so {room} are left" in failure.value.detail
    assert not reply_of(local.respond(replace(request, budget=Budget(minimum=room, firm=True)))).flags


def test_what_its_user_wished_for_is_no_fault() -> None:
    control, events = Control(), []
    for event in responder(model(COUNTING)).respond(ask(minimum=60), control):
        events.append(event)
        if isinstance(event, ThinkingDelta) and event.tokens == 9:
            control.answer_now()
    reply = reply_of(events)
    assert (reply.close, reply.flags) == ("user", ())
    given = Request((Message("user", "1+1?"),), Budget(minimum=60), thinking="One.", thinking_closed=True)
    assert not reply_of(responder(model("2")).respond(given)).flags


def test_the_command_refuses_what_the_prompt_leaves_no_room_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def open_model(name: str, **options: object) -> LocalResponder:
        return responder(model(COUNTING, context=400))

    monkeypatch.setattr(opening, "open_model", open_model)
    asked = ["ask", "1+1?", "--json", "--no-store"]
    assert kangae.main([*asked, "--min-thinking", "290"]) == 7  # 300 beside the answer, but for the prompt
    assert "at least 290 tokens cannot be kept" in json.loads(capsys.readouterr().out)["error"]["detail"]
    assert kangae.main([*asked, "--min-thinking", "150"]) == 0
    assert json.loads(capsys.readouterr().out)["usage"]["thinking_tokens"] >= 150
    monkeypatch.setenv("KANGAE_MIN_THINKING", "5000")  # a setting gives way
    assert kangae.main(asked) == 0
    (flag,) = json.loads(capsys.readouterr().out)["flags"]
    assert flag.startswith("minimum: the context left room")

"""Turns that are steered, broken off, or asked side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from models.errors import UsageError
from runtime.backends.fake import (
    FakeBackend,
    Script,
    by_question,
    scripted,
)
from runtime.events import AnswerDelta, Closed, Done, Failed, ThinkingDelta
from runtime.request import Request
from runtime.responder import Control
from tests.fakes.scripted_model import (
    VOCABULARY,
    ask,
    model,
    reply_of,
    responder,
)


def test_answer_now() -> None:
    control, events = Control(), []
    for event in responder(model("<think>\nOne plus one is")).respond(ask(), control):
        events.append(event)
        if isinstance(event, ThinkingDelta) and event.tokens == 5:
            control.answer_now()
    reply = reply_of(events)
    assert (reply.close, reply.answer, reply.usage.thinking_tokens) == ("user", "It is 2", 5)
    early = Control()
    early.answer_now()
    reply = reply_of(responder(model("<think>a")).respond(ask(), early))
    assert (reply.close, reply.thinking, reply.answer) == ("user", "", "It is 2")


def after_decodes(count: int, action: Callable[[], object]) -> Callable[[FakeBackend], None]:
    """Do `action` once, in another thread, while a decode is under way."""
    done = False

    def hook(fake: FakeBackend) -> None:
        nonlocal done
        if len(fake.batches) == count and not done:
            done = True
            thread = threading.Thread(target=action)
            thread.start()
            thread.join()

    return hook


def test_cancel_within_one_decode_keeps_what_was_produced() -> None:
    control = Control()
    backend = model("<think>\nOne plus one</think>2", on_decode=after_decodes(7, control.cancel))
    reply = reply_of(responder(backend).respond(ask(), control))
    assert (reply.finish, reply.close, reply.answer) == ("cancelled", "user", "")
    assert reply.thinking == "One p"
    assert len(backend.batches) == 7
    assert backend.samplers == 0


def test_cancelled_within_its_first_character() -> None:
    control = Control()
    local = responder(model("考え", on_decode=lambda fake: control.cancel() if len(fake.batches) == 2 else None))
    events = list(local.respond(ask(), control))
    reply = reply_of(events)
    assert (reply.finish, reply.close) == ("cancelled", "user")
    assert {event.reason for event in events if isinstance(event, Closed)} <= {"user"}


def test_cancelled_before_it_began() -> None:
    control = Control()
    control.cancel()
    backend = model("<think>a</think>b")
    assert reply_of(responder(backend).respond(ask(), control)).finish == "cancelled"
    assert backend.batches == []


def test_closing_the_iterator_frees_the_sequence() -> None:
    backend = model("<think>abc</think>" + "b" * 50, sequences=1)
    local = responder(backend)
    events = local.respond(ask())
    for event in events:
        if isinstance(event, AnswerDelta):
            break
    events.close()  # type: ignore[attr-defined]
    assert backend.samplers == 0
    assert reply_of(local.respond(ask())).answer == "b" * 50


def test_interrupt_ends_with_what_was_produced() -> None:
    def interrupt(fake: FakeBackend) -> None:
        if len(fake.batches) == 7:
            fake._on_decode = None
            raise KeyboardInterrupt

    backend = model("<think>\nOne plus one</think>2", on_decode=interrupt)
    local = responder(backend)
    reply = reply_of(local.respond(ask()))
    assert (reply.finish, reply.thinking) == ("cancelled", "One p")
    assert reply_of(local.respond(ask())).answer == "2"


def many(count: int) -> tuple[dict[str, Script], list[Request]]:
    scripts = {f"q{number};": scripted(VOCABULARY, f"<think>t{number}</think>a{number}") for number in range(count)}
    return scripts, [ask(f"q{number};", tokens=20) for number in range(count)]


def test_many_are_decoded_together_and_a_bad_one_fails_alone() -> None:
    scripts, requests = many(10)
    requests[4] = ask("y" * 5000)
    backend = FakeBackend(by_question(VOCABULARY, scripts), VOCABULARY, sequences=3)
    events = list(responder(backend).respond_many(requests))
    replies = {event.branch: event.reply for event in events if isinstance(event, Done)}
    failed = [event for event in events if isinstance(event, Failed)]
    assert [(event.branch, event.error.exit_code) for event in failed] == [(4, 7)]
    assert {branch: (reply.thinking, reply.answer) for branch, reply in replies.items()} == {
        number: (f"t{number}", f"a{number}") for number in range(10) if number != 4
    }
    assert max(len(batch) for batch in backend.batches) == 3


def test_threads_share_the_batch() -> None:
    scripts, requests = many(6)
    backend = FakeBackend(by_question(VOCABULARY, scripts), VOCABULARY, sequences=6)
    local = responder(backend)
    barrier = threading.Barrier(6)
    answers: dict[int, str] = {}

    def work(number: int) -> None:
        barrier.wait()
        answers[number] = reply_of(local.respond(requests[number])).answer

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == {number: f"a{number}" for number in range(6)}


def test_closed_model_refuses_and_ends_turns() -> None:
    backend = model("<think>abc</think>b")
    local = responder(backend)
    events = local.respond(ask())
    next(events)
    local.close()
    local.close()
    reply = reply_of(events)
    assert reply.finish == "error"
    assert "closed" in reply.flags[0]
    assert backend.closed
    with pytest.raises(UsageError):
        list(local.respond(ask()))


def test_a_fault_in_the_backend_is_raised() -> None:
    def fault(fake: FakeBackend) -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        list(responder(model("a", on_decode=fault)).respond(ask()))

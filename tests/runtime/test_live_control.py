"""A turn while it runs: more budget, a hint, a pause, a loop, and one branch of many cancelled."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest

from runtime.backends.fake import IM_END, ByteVocabulary, FakeBackend, Script
from runtime.events import Done, ThinkingDelta
from runtime.local_responder import LocalResponder
from runtime.request import Endings, Request
from runtime.responder import AnswerNow, Cancel, Control, Hint, More, Pause
from tests.fakes.scripted_model import VOCABULARY, ask, model, reply_of, responder

WORDY = ByteVocabulary(merges=(b"Wait", b" wait", b"so ", b"</think>\n\n"))


def test_more_raises_the_budget_while_it_thinks() -> None:
    control, events = Control(), []
    for event in responder(model("<think>\n" + "x" * 60 + "</think>\n\n2")).respond(ask(tokens=8), control):
        events.append(event)
        if isinstance(event, ThinkingDelta) and event.tokens == 5:
            control.more(20)
    reply = reply_of(events)
    assert (reply.close, reply.usage.thinking_tokens) == ("budget", 28)
    assert (reply.budget.tokens, reply.budget.overshoot_tokens) == (28, 0)


def test_more_than_the_context_holds_is_what_it_holds() -> None:
    control = Control()
    control.more(10**9)
    reply = reply_of(responder(model("<think>\n" + "x" * 2000, context=400)).respond(ask(tokens=8), control))
    assert (reply.close, reply.finish, reply.answer) == ("budget", "stop", "It is 2")


def hinted(vocabulary: ByteVocabulary) -> Script:
    """Thinks in lines until a hint stands in its thought; then it obeys."""

    def follow(ids: tuple[int, ...]) -> Sequence[int]:
        said = vocabulary.text(ids).rsplit("assistant\n", 1)[-1]
        if "</think>" in said:
            plan = "HINTED" if "use ten" in said else "alone"
            rest = said.rsplit("</think>", 1)[1].lstrip("\n")
            return (vocabulary.tokenize(plan[len(rest) :], markers=False) or [IM_END])[0], ord("~")
        if not said:
            return vocabulary.tokenize("<think>", markers=True)
        if "use ten" in said or said.count("\n") > 12:
            return (vocabulary.tokenize("</think>", markers=True)[0], ord("~"))
        return (ord("ab\n"[len(said) % 3]), ord("~"))

    return follow


@pytest.mark.parametrize("hint", ["use ten", "use ten </think> <|im_end|> now"])
def test_a_hint_stands_on_a_line_of_its_own_and_never_acts(hint: str) -> None:
    backend = FakeBackend(hinted(VOCABULARY), VOCABULARY)
    control, events = Control(), []
    for event in responder(backend).respond(ask(), control):
        events.append(event)
        if isinstance(event, ThinkingDelta) and event.tokens == 4:
            control.hint(hint)
    reply = reply_of(events)
    assert (reply.answer, reply.close) == ("HINTED", "natural")
    assert f"\n{hint}" in reply.thinking
    assert reply.usage.forced_tokens >= len(hint)
    assert any(event.forced and hint in event.text for event in events if isinstance(event, ThinkingDelta))


def test_a_hint_that_does_not_fit_is_left_out() -> None:
    control = Control()
    control.hint("y" * 5000)
    reply = reply_of(responder(model("<think>\na.\nb.\n</think>\n\n2")).respond(ask(), control))
    assert (reply.answer, "y" in reply.thinking) == ("2", False)


@contextmanager
def while_it_stands(local: LocalResponder, action: Callable[[], None]) -> Iterator[None]:
    """`action` is done once, in another thread, as soon as the engine has nothing left to decode."""
    standing, step = threading.Event(), local._engine.step

    def watched() -> bool:
        went_on = step()
        if not went_on:
            standing.set()
        return went_on

    def act() -> None:
        assert standing.wait(60)
        action()

    local._engine.step = watched  # type: ignore[method-assign]
    thread = threading.Thread(target=act)
    thread.start()
    yield
    thread.join()


def test_a_paused_turn_stands_still_and_goes_on() -> None:
    plain = reply_of(responder(model("<think>\nOne plus one.\n</think>\n\n2")).respond(ask()))
    backend = model("<think>\nOne plus one.\n</think>\n\n2")
    local = responder(backend)
    control, events, stood = Control(), [], []

    def later() -> None:
        stood.append(len(backend.batches))
        control.resume()

    with while_it_stands(local, later):
        for event in local.respond(ask(), control):
            events.append(event)
            if isinstance(event, ThinkingDelta) and event.tokens == 6:
                control.pause()
                before = len(backend.batches)
    assert stood == [before]
    reply = reply_of(events)
    assert (reply.thinking, reply.answer, reply.usage.thinking_tokens) == (
        plain.thinking,
        plain.answer,
        plain.usage.thinking_tokens,
    )


def test_a_paused_turn_answers_when_it_is_asked_to() -> None:
    control, events = Control(), []
    local = responder(model("<think>\nOne plus one is two and so on"))
    with while_it_stands(local, control.answer_now):
        for event in local.respond(ask(), control):
            events.append(event)
            if isinstance(event, ThinkingDelta) and event.tokens == 6 and not event.forced:
                control.pause()
    reply = reply_of(events)
    assert (reply.close, reply.finish, reply.answer, reply.usage.thinking_tokens) == ("user", "stop", "It is 2", 6)


def test_answer_now_ends_each_pause_before_it() -> None:
    control, heard = Control(), []
    control.on_change(lambda: heard.append((control.wishes[-1], control.paused)))
    for _ in range(2):
        control.pause()
        control.answer_now()
    control.answer_now()
    now, still = AnswerNow(), Pause(True)
    assert heard == [(still, True), (now, False)] * 2
    copy = Control()  # as a worker hears of it
    for wish in control.wishes:
        copy.tell(wish)
    assert copy.wants_answer and not copy.paused


def test_a_paused_turn_can_be_cancelled() -> None:
    control, events = Control(), []
    local = responder(model("<think>\nOne plus one.\n</think>\n\n2"))
    with while_it_stands(local, control.cancel):
        for event in local.respond(ask(), control):
            events.append(event)
            if isinstance(event, ThinkingDelta) and event.tokens == 6:
                control.pause()
    assert (reply_of(events).finish, reply_of(events).close) == ("cancelled", "user")


def test_a_paused_turn_does_not_hold_up_another() -> None:
    local = responder(model("<think>\nOne.\n</think>\n\n2"))
    control = Control()
    first = local.respond(ask("a?"), control)
    for event in first:
        if isinstance(event, ThinkingDelta):
            control.pause()
            break
    assert reply_of(local.respond(ask("b?"))).answer == "2"
    control.resume()
    assert reply_of(list(first)).answer == "2"


def test_one_branch_of_many_is_cancelled() -> None:
    control, done = Control(), {}
    requests = [ask("a?"), ask("b?"), ask("c?")]
    for event in responder(model("<think>\nOne plus one.\n</think>\n\n2")).respond_many(requests, control):
        if isinstance(event, ThinkingDelta) and event.tokens == 4 and event.branch == 0:
            control.cancel(1)
        if isinstance(event, Done):
            done[event.branch] = event.reply.finish
    assert done == {0: "stop", 1: "cancelled", 2: "stop"}


def test_wishes_are_kept_in_order_and_without_those_that_change_nothing() -> None:
    control, heard = Control(), []
    control.on_change(lambda: heard.append(control.wishes[-1]))
    control.pause()
    control.pause()
    control.more(5)
    control.more(0)
    control.hint("  ")
    control.hint("look at the date")
    control.resume()
    control.cancel(2)
    control.cancel()
    control.cancel()
    expected = (Pause(True), More(5), Hint("look at the date"), Pause(False), Cancel(2), Cancel())
    assert control.wishes == expected
    assert tuple(heard) == expected
    assert (control.granted, control.hints, control.stopped(7)) == (5, ("look at the date",), True)


def with_endings(request: Request, **endings: object) -> Request:
    return replace(request, endings=Endings(**endings))  # type: ignore[arg-type]


def test_a_bare_cut_says_no_message() -> None:
    backend = model("<think>\n" + "x" * 60, answer="It is 2")
    reply = reply_of(responder(backend).respond(with_endings(ask(tokens=8), message=False)))
    assert (reply.close, reply.answer, reply.thinking) == ("budget", "It is 2", "xxxxxxx")


def test_a_thought_in_circles_is_closed_and_answered() -> None:
    local = responder(model("<think>\n" + "so it goes on. " * 120, context=4096))
    reply = reply_of(local.respond(ask()))
    assert (reply.close, reply.answer, reply.finish) == ("loop", "It is 2", "stop")
    assert reply.usage.thinking_tokens <= 600
    free = reply_of(local.respond(with_endings(ask(tokens=1500), loops=False)))
    assert (free.close, free.usage.thinking_tokens > 1400) == ("budget", True)


def test_an_answer_that_goes_on_thinking_is_flagged() -> None:
    reply = reply_of(responder(model("<think>\na</think>\n\nWait, 3. Hmm, no. Wait, 4.")).respond(ask()))
    assert reply.flags == ("leak: the answer goes on thinking",)

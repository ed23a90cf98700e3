"""The same responder over the real engine room, with a model of random weights."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.family import resolve_family
from runtime.bench.random_model import make_random_model
from runtime.events import AnswerDelta, Done, ThinkingDelta
from runtime.local_responder import LocalResponder
from runtime.reply import Reply
from runtime.request import Budget, Message, Request, Sampling
from runtime.responder import Control


@pytest.fixture
def responder(tmp_path: Path) -> Iterator[LocalResponder]:
    from runtime.backends.llama import open_llama

    path = make_random_model(tmp_path / "tiny.gguf", quant="F32")
    backend = open_llama(path, context=600, sequences=4, threads=1)
    opened = LocalResponder(backend, resolve_family(backend.facts.metadata, backend.facts.chat_template))
    yield opened
    opened.close()


def ask(number: int, tokens: int | None, *, minimum: int = 0) -> Request:
    budget = Budget(tokens=tokens, answer_reserve=20, minimum=minimum if tokens is None else min(minimum, tokens))
    return Request((Message("user", f"Question {number}?"),), budget, Sampling(0.8, seed=number))


def reply_of(responder: LocalResponder, request: Request, control: Control | None = None) -> Reply:
    *_, last = responder.respond(request, control)
    assert isinstance(last, Done)
    return last.reply


def test_budgets_are_hard_and_cached_prompts_change_nothing(responder: LocalResponder) -> None:
    for number, tokens in enumerate((1, 7, 40)):
        # random weights never open a thought: the least thought has the opener forced
        first = reply_of(responder, ask(number, tokens, minimum=1000))
        assert (first.close, first.usage.thinking_tokens) == ("budget", tokens)
        assert 0 < first.usage.answer_tokens <= 20
        again = reply_of(responder, ask(number, tokens, minimum=1000))
        assert (again.thinking, again.answer) == (first.thinking, first.answer)
        assert again.usage.cached_tokens > 0


def test_many_at_once_in_a_small_cache(responder: LocalResponder) -> None:
    events = list(responder.respond_many([ask(number, 50, minimum=1000) for number in range(12)]))
    replies = [event.reply for event in events if isinstance(event, Done)]
    assert len(replies) == 12
    assert {(reply.close, reply.usage.thinking_tokens) for reply in replies} == {("budget", 50)}


def test_cancel_from_another_thread(responder: LocalResponder) -> None:
    control, seen = Control(), 0
    for event in responder.respond(Request((Message("user", "Go on"),)), control):
        seen += isinstance(event, ThinkingDelta | AnswerDelta)
        if seen == 3:
            thread = threading.Thread(target=control.cancel)
            thread.start()
            thread.join()
    assert isinstance(event, Done)
    assert event.reply.finish == "cancelled"
    assert seen <= 4
    assert reply_of(responder, ask(1, 0)).close == "off"

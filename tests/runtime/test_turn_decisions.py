"""Decisions in the replies of whole turns: what the rules really did, over the scripted backend."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from typing import Any

import pytest

import kangae
from runtime import opening
from runtime.backends.fake import OPEN_TEMPLATE, FakeBackend, scripted
from runtime.local_responder import LocalResponder
from runtime.reply import Decision, Reply
from runtime.request import Budget, Endings, Message, Request
from runtime.responder import Control
from runtime.store import Store
from runtime.turn.log import ForcedClose, steps_as_json, steps_from_json
from tests.fakes.scripted_model import FAMILY, VOCABULARY, ask, model, reply_of, responder
from tests.fakes.timed_backend import TimedBackend, known_speed
from tests.runtime.test_endings import ended, nearly
from tests.runtime.test_trial_answers import PROBING, answer_of

SENTENCE = "So it goes round and round.\n"


def told(reply: Reply) -> list[tuple[str, float | None, float | None]]:
    return [(one.rule, one.number, one.limit) for one in reply.decisions]


def the(rule: str, reply: Reply) -> Decision:
    (found,) = [one for one in reply.decisions if one.rule == rule]
    return found


def forced(reply: Reply) -> float:
    return sum(one.number or 0 for one in reply.decisions if one.rule in ("opened", "hint", "forced"))


def test_a_natural_end_and_no_thought() -> None:
    reply = reply_of(responder(model("<think>\nOne.\n</think>\n\n2")).respond(ask()))
    spent = reply.usage.thinking_tokens
    assert told(reply) == [("opened", None, None), ("natural", spent, None)]
    assert [one.token for one in reply.decisions] == [0, spent]
    off = reply_of(responder(model("2")).respond(ask(tokens=0)))
    assert told(off) == [("off", None, None)]
    straight = reply_of(responder(model("2")).respond(ask()))
    assert [one.words for one in straight.decisions] == ["the model answered without a thought"]


def test_a_budget_its_forced_tokens_and_an_opened_prompt() -> None:
    backend = model("One plus one is two and so on</think>\n\nnever", chat_template=OPEN_TEMPLATE)
    reply = reply_of(responder(backend).respond(ask(tokens=6)))
    assert told(reply)[:2] == [("opened", None, None), ("budget", 6, 6)]
    assert reply.decisions[0].words == "the prompt had opened the thought"
    assert [one.token for one in reply.decisions] == [0, 6, 6]
    assert forced(reply) == reply.usage.forced_tokens > 0
    minimum = reply_of(responder(model("<think>\nOne.\n</think>\n\n2")).respond(ask(tokens=64, minimum=2)))
    assert the("opened", minimum).words == "the thought was opened by force"
    assert forced(minimum) == minimum.usage.forced_tokens > 0


def test_hints_and_more_budget() -> None:
    control = Control()

    def steer(backend: FakeBackend) -> None:
        if len(backend.batches) == 5:
            control.hint("use ten")
            control.more(30)

    backend = model("<think>\n" + "One plus one. " * 30, on_decode=steer)
    reply = reply_of(responder(backend).respond(ask(tokens=20), control))
    assert (the("more", reply).number, the("more", reply).limit) == (30, 50)
    assert the("hint", reply).quote == "use ten" and the("hint", reply).number == len("\nuse ten\n")
    assert the("budget", reply).token == reply.usage.thinking_tokens
    assert forced(reply) == reply.usage.forced_tokens


def test_a_soft_close_tells_its_margin() -> None:
    reply = ended(nearly(VOCABULARY), Endings(margin=1.5, least=0))
    found = the("soft", reply)
    assert found.number is not None and 0.0 < found.number <= 1.5 == found.limit
    assert found.token == reply.usage.thinking_tokens
    assert [one.token for one in reply.decisions if one.rule == "margin"][-1] == found.token


def test_trial_answers_and_what_they_cost() -> None:
    reply = answer_of(["1", "2", "3", "3"], replace(PROBING, agreeing=2))
    trials = [one for one in reply.decisions if one.rule == "trial"]
    assert [one.quote for one in trials] == ["1", "2", "3", "3"]
    assert all(one.number is not None and 0.0 < one.number < 1.0 and one.limit == 0.001 for one in trials)
    tokens = [one.token for one in reply.decisions]
    assert tokens == sorted(tokens)
    close = the("probe", reply)
    assert (close.token, close.number) == (trials[-1].token, trials[-1].number)


def test_a_loop_is_told_twice_with_the_length_of_its_round() -> None:
    reply = reply_of(responder(model("<think>\n" + SENTENCE * 60, context=4096)).respond(ask(tokens=1500)))
    assert reply.close == "loop"
    first, last = the("repetition", reply), the("loop", reply)
    assert first.number == last.number == len(SENTENCE)
    assert 0 < first.token < last.token == reply.usage.thinking_tokens


def test_a_deadline_tells_when_it_closed() -> None:
    backend = TimedBackend(answer="It is 2")
    local = LocalResponder(backend, FAMILY, clock=backend.clock)
    known_speed(local)
    start = backend.now
    request = Request((Message("user", "1+1?"),), Budget(seconds=5.0), endings=Endings(loops=False))
    reply = reply_of(list(local.respond(request)))
    found = the("deadline", reply)
    assert found.limit == 5.0 and found.number is not None
    assert 0.0 < found.number < backend.now - start <= 5.0
    assert reply.timings.first_thinking_s < found.number < reply.timings.first_answer_s


@pytest.mark.parametrize("seconds", [None, 2.5])
def test_the_log_keeps_when_a_thought_was_closed(seconds: float | None) -> None:
    (kept,) = steps_from_json(json.loads(json.dumps(steps_as_json([ForcedClose((1,), "deadline", 0, seconds)]))))
    assert isinstance(kept, ForcedClose) and kept.seconds == seconds
    assert steps_from_json([["close", [1], "budget", 0]]) == (ForcedClose((1,), "budget"),)  # as an older one wrote it


def test_a_turn_that_went_on_in_another_process_tells_all_that_was_decided(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stop = -1

    def interrupt(backend: FakeBackend) -> None:
        if len(backend.batches) == stop:
            os.kill(os.getpid(), signal.SIGINT)

    def open_model(name: str, **options: object) -> LocalResponder:
        backend = FakeBackend(
            scripted(VOCABULARY, "<think>\n" + "One plus " * 40, answer="It is 2"), VOCABULARY, on_decode=interrupt
        )
        return LocalResponder(backend, FAMILY, backend_name="fake")

    def run(*words: str) -> Any:
        kangae.main([*words, "--json"])
        return json.loads(capsys.readouterr().out)

    monkeypatch.setattr(opening, "open_model", open_model)
    wanted = run("ask", "1+1?", "--budget", "40", "--no-store")["decisions"]
    stop = 46
    stopped = run("ask", "1+1?", "--budget", "40")
    assert (stopped["close"], stopped["finish"]) == ("budget", "cancelled") and stopped["answer"]
    stop = -1
    found = run("sessions", "resume")["decisions"]
    assert [one["rule"] for one in wanted] == ["opened", "budget", "forced"]
    assert found == wanted
    with Store.open() as store:
        (session,) = store.conversations()
        assert store.replies(session.id)[0].record["decisions"] == wanted

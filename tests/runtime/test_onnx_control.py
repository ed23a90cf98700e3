"""Thinking control over onnxruntime, with the model that ships: budgets, votes, deadlines, and the text of `llama`."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import kangae
from models.errors import CannotMeetError
from models.locations import shipped_model
from runtime.events import Done, ThinkingDelta
from runtime.opening import open_model
from runtime.problems import require_problems
from runtime.reply import Reply
from runtime.request import Budget, Endings, Message, Probing, Request
from runtime.responder import Control, Responder
from tests.fakes.onnx_folders import exported

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder() -> Path:
    return exported("fp32")


@pytest.fixture(scope="module")
def responder(folder: Path) -> Iterator[Responder]:
    opened = open_model(str(folder), sequences=4, spare=1, threads=1)
    yield opened
    opened.close()


def questions(count: int) -> list[str]:
    return [one.question for one in require_problems(str(shipped_model().with_name("problems.jsonl")))[:count]]


def request(question: str, **options: object) -> Request:
    return Request((Message("user", question),), **options)  # type: ignore[arg-type]


def reply_of(responder: Responder, wanted: Request, control: Control | None = None) -> Reply:
    *_, last = responder.respond(wanted, control)
    assert isinstance(last, Done)
    return last.reply


def test_the_family_is_that_of_the_chat_template(responder: Responder) -> None:
    assert responder.backend_name == "onnx"
    reply = reply_of(responder, request(questions(1)[0]))
    assert (reply.model.backend, reply.model.quant, reply.model.name) == ("onnx", "fp32", "kangae-tiny")
    assert reply.thinking
    assert "<think>" not in reply.thinking + reply.answer


def test_greedy_text_is_that_of_llama_on_the_same_weights(responder: Responder) -> None:
    other = open_model(str(shipped_model().with_name("kangae-tiny-F16.gguf")), sequences=1, threads=1)
    try:
        for question in questions(8):
            for tokens in (None, 32, 0):
                wanted = request(question, budget=Budget(tokens=tokens))
                ours, theirs = reply_of(responder, wanted), reply_of(other, wanted)
                assert (ours.thinking, ours.answer, ours.close) == (theirs.thinking, theirs.answer, theirs.close)
                assert ours.usage.thinking_tokens == theirs.usage.thinking_tokens
    finally:
        other.close()


def test_budgets_are_hard_and_the_prompt_is_kept(responder: Responder) -> None:
    for tokens in (1, 7, 40):
        wanted = request(questions(2)[1], budget=Budget(tokens=tokens, minimum=tokens), endings=Endings(loops=False))
        first = reply_of(responder, wanted)
        assert first.close in ("budget", "natural")
        assert first.usage.thinking_tokens <= tokens
        again = reply_of(responder, wanted)
        assert (again.thinking, again.answer) == (first.thinking, first.answer)
        assert again.usage.cached_tokens > 0


def test_a_deadline_ends_the_thought(responder: Responder) -> None:
    """The clock runs out long before the thought would; a slow machine is given more of it."""
    seconds, reply = 0.25, None
    while reply is None:
        budget = Budget(seconds=seconds, minimum=1500)
        try:
            reply = reply_of(responder, request(questions(1)[0], budget=budget, endings=Endings(loops=False)))
        except CannotMeetError:
            seconds *= 2
    assert reply.close == "deadline"
    assert 0 < reply.usage.thinking_tokens < 1500
    assert reply.answer


def test_an_effort_and_trial_answers(responder: Responder) -> None:
    low = reply_of(responder, request(questions(1)[0], budget=Budget(effort="low")))
    assert low.answer
    probing = Probing(confidence=0.5, agreeing=1, every=8, least=8)
    reply = reply_of(responder, request(questions(1)[0], endings=Endings(probing=probing)))
    assert reply.usage.probe_tokens > 0


def test_votes_share_the_prompt(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--votes", "4", "--temperature", "0.8", "--seed", "3", "--json"]
    assert kangae.main(["ask", "-m", str(folder), *options, questions(3)[2]]) in (0, 8)
    told = json.loads(capsys.readouterr().out)
    assert len(told["votes"]) == 4
    assert told["answer"] in {vote["answer"] for vote in told["votes"]}


def test_a_cancel_from_another_thread_ends_it(responder: Responder) -> None:
    control = Control()
    events = responder.respond(request(questions(1)[0]), control)
    for event in events:
        if isinstance(event, ThinkingDelta):
            threading.Thread(target=control.cancel).start()
            break
    *_, last = events
    assert isinstance(last, Done)
    assert last.reply.finish in ("cancelled", "stop")
    assert reply_of(responder, request(questions(1)[0])).finish == "stop"


def test_the_command_asks_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = kangae.main(["ask", "-m", str(folder), "--budget", "32", "--json", "What is 17 + 25?"])
    told = json.loads(capsys.readouterr().out)
    assert code in (0, 8)  # an answer of a cut thought may be flagged
    assert told["model"] == {"name": "kangae-tiny", "file": str(folder), "quant": "fp32", "backend": "onnx"}
    assert told["usage"]["thinking_tokens"] <= 32
    assert told["budget"]["overshoot_tokens"] == 0


def test_a_broken_folder_exits_with_three_and_one_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("genai_config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes()[:100])
    assert kangae.main(["ask", "-m", str(tmp_path), "Hello"]) == 3
    assert "Traceback" not in capsys.readouterr().err

"""A model's own thoughts: asked for once, kept with where they came from, gone on with when more are wanted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.catalogue import ModelEntry
from models.errors import CannotMeetError, ModelError, UsageError
from quantize.calibration import traces
from quantize.calibration.calibration import calibration_corpus
from quantize.calibration.corpus import THINKING
from quantize.calibration.prompts import PromptSet, own_prompts, shipped_prompts
from quantize.calibration.traces import Trace, ensure_traces
from runtime import opening
from runtime.request import Message, Request
from tests.fakes.answering_responder import AnsweringResponder, Said

Opened = Callable[..., AnsweringResponder]


def prompts(count: int) -> PromptSet:
    return PromptSet.of(((Message("user", f"question {number}"),) for number in range(count)), "a test")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[AnsweringResponder]:
    """All responders that were opened. Each reply takes some twenty tokens."""
    opened: list[AnsweringResponder] = []

    def think(request: Request, _: int) -> Said:
        return Said("so " * 20, request.messages[-1].content.split()[-1])

    def open_model(*_: Any, **__: Any) -> AnsweringResponder:
        opened.append(AnsweringResponder(think))
        return opened[-1]

    monkeypatch.setattr(opening, "open_model", open_model)
    monkeypatch.setattr(traces, "_ROUND", 4)
    return opened


def test_as_many_are_asked_for_as_are_wanted(small_model: ModelEntry, asked: list[AnsweringResponder]) -> None:
    shares: list[float] = []
    found = ensure_traces(small_model, prompts(40), 100, progress=shares.append)
    assert found.tokens >= 100
    assert found.asked % 4 == 0 and found.asked < 40
    assert [trace.messages[0].content for trace in found.traces] == [f"question {n}" for n in range(found.asked)]
    assert shares == sorted(shares) and 0 < shares[-1] <= 1
    assert asked[0].closed


def test_they_are_kept_and_gone_on_with(small_model: ModelEntry, asked: list[AnsweringResponder]) -> None:
    first = ensure_traces(small_model, prompts(40), 100)
    assert ensure_traces(small_model, prompts(40), 100) == first
    assert len(asked) == 1
    more = ensure_traces(small_model, prompts(40), 300)
    assert more.traces[: len(first.traces)] == first.traces
    assert asked[1].requests[0].messages[0].content == f"question {first.asked}"
    assert ensure_traces(small_model, prompts(39), 100).path != first.path


def test_the_file_tells_where_it_came_from(small_model: ModelEntry, asked: list[AnsweringResponder]) -> None:
    found = ensure_traces(small_model, prompts(8), 1000)
    about = json.loads(found.path.read_text().splitlines()[0])["provenance"]
    assert {"model", "model_sha256", "prompts", "prompts_sha256", "sampling", "most_thinking_tokens"} <= set(about)
    assert (about["asked"], about["kept"], about["tokens"]) == (8, 8, found.tokens)


@pytest.mark.parametrize("damage", ["", "{}", "not json\n", "cut"])
def test_a_damaged_file_is_made_again(small_model: ModelEntry, asked: list[AnsweringResponder], damage: str) -> None:
    found = ensure_traces(small_model, prompts(8), 1000)
    whole = found.path.read_text()
    found.path.write_text(whole[:-30] if damage == "cut" else damage)
    assert ensure_traces(small_model, prompts(8), 1000).traces == found.traces
    assert len(asked) == 2


def test_what_was_forced_is_no_thought_of_its_own() -> None:
    trace = Trace((Message("user", "?"),), "so so", "yes", "stop", "natural", 9)
    assert (trace.record.answer, trace.record.finished) == ("yes", True)
    cut = Trace((Message("user", "?"),), "so so", "yes", "stop", "budget", 9)
    assert (cut.record.thinking, cut.record.answer, cut.record.finished) == ("so so", "", False)


def test_a_model_that_says_nothing_is_told_so(
    small_model: ModelEntry, asked: list[AnsweringResponder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "_think", lambda *_: [])
    with pytest.raises(ModelError, match="--calibrate FILE"):
        ensure_traces(small_model, prompts(6), 100)


def test_why_nothing_can_be_asked_is_told(small_model: ModelEntry, asked: list[AnsweringResponder]) -> None:
    refused = PromptSet.of([(Message("user", "too long"),)], "a test")
    with pytest.raises(CannotMeetError):
        ensure_traces(small_model, refused, 100)


def test_one_that_cannot_be_asked_is_left_out(small_model: ModelEntry, asked: list[AnsweringResponder]) -> None:
    some = PromptSet.of([(Message("user", text),) for text in ("question 1", "too long", "question 2")], "a test")
    found = ensure_traces(small_model, some, 1000)
    assert [trace.messages[0].content for trace in found.traces] == ["question 1", "question 2"]


def test_a_file_of_questions_is_thought_about(
    small_model: ModelEntry, asked: list[AnsweringResponder], tmp_path: Path
) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(json.dumps({"question": f"question {number}"}) for number in range(12)))
    corpus = calibration_corpus(small_model, str(path), tokens=5000)
    assert len(corpus.chunks) == 12
    assert corpus.count(THINKING) > 12 * 20
    assert "own thoughts of Wide on questions.jsonl" in corpus.origin


def test_kept_replies_are_taken_as_they_are(
    small_model: ModelEntry, asked: list[AnsweringResponder], tmp_path: Path
) -> None:
    path = tmp_path / "kept.jsonl"
    path.write_text(json.dumps({"question": "1+1?", "thinking": "two", "answer": "2"}))
    assert calibration_corpus(small_model, str(path)).count(THINKING) > 0
    assert asked == []


def test_questions_that_ship_are_none_that_accuracy_is_measured_on() -> None:
    shipped = shipped_prompts()
    assert len(shipped.prompts) > 3000
    from models.locations import shipped_model

    measured = shipped_model().with_name("problems.jsonl")
    lines = measured.read_text("utf-8").splitlines() if measured.is_file() else []
    assert {json.loads(line)["question"] for line in lines}.isdisjoint(one[-1].content for one in shipped.prompts)
    assert shipped_prompts().sha256 == shipped.sha256


def test_a_file_without_questions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.jsonl").write_text('{"text": "a"}')
    with pytest.raises(UsageError, match="no question"):
        own_prompts(str(tmp_path / "text.jsonl"))

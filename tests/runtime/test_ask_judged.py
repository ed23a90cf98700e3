"""`kangae ask` with votes, verifiers and the ladder, on a fake model that answers by a rule."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import kangae
from runtime import opening
from runtime.events import Done, Event
from runtime.request import Request
from runtime.responder import Control
from tests.fakes.answering_responder import AnsweringResponder, Said

SUM = "What is 2 + 3?"


def by_thought(request: Request, allowed: int) -> Said:
    """Right only with more than a hundred words of thought; each seed votes alike."""
    return Said("let me add", "5" if allowed > 100 else "6")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AnsweringResponder:
    for name in ("STATE", "CONFIG", "CACHE", "MODELS"):
        monkeypatch.setenv(f"KANGAE_{name}_DIR", str(tmp_path / name.lower()))
    responder = AnsweringResponder(by_thought)

    def open_model(name: str, **options: object) -> AnsweringResponder:
        responder.opened = {"name": name, **options}
        return responder

    monkeypatch.setattr(opening, "open_model", open_model)
    return responder


def test_a_right_answer_passes(model: AnsweringResponder, capsys: pytest.CaptureFixture[str]) -> None:
    assert kangae.main(["ask", SUM, "--verify", "auto", "--json"]) == 0
    reply = json.loads(capsys.readouterr().out)
    assert [(check["name"], check["passed"], check["kind"]) for check in reply["checks"]] == [
        ("arithmetic", True, "truth")
    ]
    assert "flags" not in reply


def test_a_wrong_answer_is_printed_and_flagged(model: AnsweringResponder, capsys: pytest.CaptureFixture[str]) -> None:
    assert kangae.main(["ask", SUM, "--verify", "arithmetic", "--budget", "2"]) == 8
    said = capsys.readouterr()
    assert said.out == "6\n"
    assert "Doubtful: arithmetic: " in said.err and "5" in said.err


def test_a_file_with_a_doubtful_answer_ends_with_8(
    model: AnsweringResponder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(
        json.dumps({"id": 1, "question": SUM}) + "\n"
        + json.dumps({"id": 2, "question": "How many are there?", "limits": {"maximum": 3}}) + "\n"
    )  # fmt: skip
    assert kangae.main(["ask", "--file", str(path), "--verify", "auto"]) == 8
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["checks"][0]["passed"] and "flags" not in first
    assert second["flags"] and second["id"] == 2


def test_an_unknown_verifier_is_told_before_a_model_is_opened(
    model: AnsweringResponder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kangae.main(["ask", SUM, "--verify", "arithmetics"]) == 2
    assert "arithmetic" in capsys.readouterr().err
    assert not model.opened


def test_votes(model: AnsweringResponder, capsys: pytest.CaptureFixture[str]) -> None:
    assert kangae.main(["ask", SUM, "--votes", "3", "--json"]) == 0
    reply = json.loads(capsys.readouterr().out)
    assert reply["answer"] == "5"
    assert len(reply["votes"]) == 3
    assert model.opened["sequences"] == 3
    assert len({request.sampling.seed for request in model.requests if request.sampling}) == 3


def test_votes_are_told_as_they_come(model: AnsweringResponder, capsys: pytest.CaptureFixture[str]) -> None:
    assert kangae.main(["ask", SUM, "--votes", "3"]) == 0
    said = capsys.readouterr()
    assert said.out == "5\n"
    assert "vote 1 of 3: 5" in said.err


@pytest.mark.parametrize("words", [["--ladder"], ["--effort", "auto"]])
def test_the_ladder_climbs_until_an_answer_stands(
    model: AnsweringResponder, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert kangae.main(["ask", SUM, *words, "--json"]) == 0
    reply = json.loads(capsys.readouterr().out)
    assert (reply["answer"], reply["budget"]["effort"]) == ("5", "auto")
    assert [request.budget.tokens for request in model.requests] == [0, 64, None]


def test_the_ladder_flags_what_never_stands(model: AnsweringResponder, capsys: pytest.CaptureFixture[str]) -> None:
    assert kangae.main(["ask", SUM, "--ladder", "--budget", "32"]) == 8
    said = capsys.readouterr()
    assert said.out == "6\n"
    assert "Doubtful: " in said.err and "the rungs said: 6" in said.err


@pytest.mark.parametrize(
    "words",
    [["--ladder", "--votes", "3"], ["--effort", "low", "--budget", "9"], ["--votes", "3", "--temperature", "0"]],
)
def test_wishes_that_contradict_each_other_are_refused(
    model: AnsweringResponder, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert kangae.main(["ask", SUM, *words]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("effort", "tokens"), [("off", None), ("low", None), ("high", None)])
def test_an_effort_is_passed_on_in_words(model: AnsweringResponder, effort: str, tokens: int | None) -> None:
    assert kangae.main(["ask", SUM, "--effort", effort]) == 0
    assert (model.requests[0].budget.effort, model.requests[0].budget.tokens) == (effort, tokens)


class Cut(AnsweringResponder):
    """The deadline, of which a tenth of a second is left, came before an answer that was asked without a thought."""

    def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
        for event in super().respond_many(requests, control):
            if isinstance(event, Done):
                seconds = requests[event.branch].budget.seconds
                assert seconds is not None
                flags = ("deadline: the answer was cut off",)
                timings = replace(event.reply.timings, total_s=seconds - 0.1)
                answer = event.reply.answer if "code" in event.reply.question else ""
                reply = replace(event.reply, answer=answer, finish="length", flags=flags, timings=timings)
                event = replace(event, reply=reply)
            yield event


def test_an_empty_answer_at_the_deadline_is_7_whatever_closed_the_thought(
    model: AnsweringResponder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(opening, "open_model", lambda *_, **__: Cut(by_thought))
    assert kangae.main(["ask", SUM, "--budget", "off", "--deadline", "3"]) == 7
    assert "The deadline came before there was an answer" in capsys.readouterr().err


def test_tests_that_the_deadline_leaves_no_time_for_are_no_pass(
    model: AnsweringResponder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(opening, "open_model", lambda *_, **__: Cut(lambda *_: Said("", "x = 1")))
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps({"question": "Give some code.", "tests": "assert x == 1"}))
    assert kangae.main(["ask", "--file", str(path), "--verify", "python", "--deadline", "3"]) == 8
    (check,) = json.loads(capsys.readouterr().out)["checks"]
    assert not check["passed"] and "not judged" in check["detail"]

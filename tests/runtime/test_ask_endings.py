"""How `kangae ask` ends: a cut answer is told as such, an empty one is no success, and nothing is said to be kept that
is not."""

from __future__ import annotations

import io
import json
import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import kangae
from runtime import opening
from runtime.end_sentences import cut_sentences, end_sentences, flag_sentences
from runtime.events import AnswerDelta, Done, Event
from runtime.reply import Decision, SpentBudget, Usage, Vote
from runtime.request import Request
from runtime.responder import Control
from runtime.store import Store
from tests.fakes.answering_responder import AnsweringResponder

CUT = "The answer was cut: its longest length, or the end of the context, is reached."
LATE = "deadline: the answer was cut off"


class Ending(AnsweringResponder):
    """Its replies end as `ends` says by their question, with the rest as it is."""

    def __init__(self, **ends: dict[str, Any]) -> None:
        super().__init__()
        self.ends = ends
        self.interrupts = False

    def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
        for event in super().respond_many(requests, control):
            if isinstance(event, Done):
                if self.interrupts:
                    signal.raise_signal(signal.SIGINT)
                    signal.raise_signal(signal.SIGINT)
                event = replace(event, reply=replace(event.reply, **self.ends.get(event.reply.question, {})))
            yield event


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ending:
    responder = Ending(
        cut={"finish": "length"},
        late={"finish": "length", "flags": (LATE,)},
        silent={"finish": "length", "flags": (LATE,), "answer": "", "close": "deadline"},
        hurried={"close": "deadline"},
        leaking={"flags": ("leak: the answer goes on thinking", "votes: 2 of 5 thoughts were left out: no time")},
        moved={"flags": ("resumed: the model's file is not the one that the turn was begun with",)},
        circling={"finish": "length", "flags": ("loop: the answer went in circles and was ended",)},
    )
    monkeypatch.setattr(opening, "open_model", lambda *_, **__: responder)
    return responder


Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("cut", [CUT]),
        ("late", ["The answer was cut: the time was up. A longer --deadline leaves more of it."]),
        (
            "leaking",
            [
                "Flagged: leak: the answer goes on thinking",
                "Flagged: votes: 2 of 5 thoughts were left out: no time",
            ],
        ),
        ("moved", ["Resumed: the model's file is not the one that the turn was begun with."]),
        ("circling", ["Flagged: loop: the answer went in circles and was ended"]),
        ("whole", []),
    ],
)
def test_how_an_answer_ended_is_told_beside_it(model: Ending, capsys: Capture, question: str, told: list[str]) -> None:
    assert kangae.main(["ask", question]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err.splitlines()) == (f"{question}\n", ["one two three", *told])
    assert kangae.main(["ask", question, "--json"]) == 0
    said = capsys.readouterr()
    assert said.err == "" and json.loads(said.out)["answer"] == question


def test_the_interface_and_the_terminal_say_the_same(model: Ending) -> None:
    kangae.main(["ask", "whole"])
    reply = next(event.reply for event in model.respond(model.requests[0]) if isinstance(event, Done))
    cut = replace(reply, finish="length", flags=("leak: it thinks on",))
    assert end_sentences(cut) == [CUT, "Flagged: leak: it thinks on"]
    assert cut_sentences(replace(cut, finish="cancelled")) == []
    turned = "loop: the answer went in circles, and was turned by making repetitions unlikely"
    assert end_sentences(replace(cut, flags=(turned,))) == [CUT, f"Flagged: {turned}"]
    assert end_sentences(replace(cut, finish="cancelled"))[0] == "Stopped; what was written is kept."
    assert flag_sentences(cut, beside=cut.flags) == []
    assert end_sentences(replace(reply, finish="error", flags=("Cannot be met: no room",))) == [
        "Cannot be met: no room"
    ]


def test_a_deadline_without_an_answer_is_an_error_in_its_line_of_a_file(
    model: Ending, tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"id": text, "question": text}) + "\n" for text in ("silent", "late")))
    assert kangae.main(["ask", "--file", str(path), "--deadline", "5"]) == 1
    silent, late = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (silent["id"], silent["error"]["exit"], silent["error"]["line"]) == ("silent", 7, 1)
    assert silent["error"]["detail"] == "The deadline came before there was an answer; give more seconds."
    assert (late["id"], late["answer"]) == ("late", "late")
    assert kangae.main(["ask", "silent", "--deadline", "5"]) == 7
    assert capsys.readouterr().err.endswith(f"{silent['error']['detail']}\n")


def test_what_is_not_kept_is_not_said_to_be(model: Ending, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert kangae.main(["ask", "stop"]) == 130
    assert capsys.readouterr().err.endswith("Interrupted; what was produced is kept.\n")
    assert kangae.main(["ask", "stop", "--no-store"]) == 130
    assert capsys.readouterr().err.endswith("Interrupted; what was produced is not kept.\n")
    assert kangae.main(["ask", "stop", "--budget", "off"]) == 130
    assert capsys.readouterr().err == "Interrupted before there was anything to keep.\n"
    monkeypatch.setenv("KANGAE_STORE", "false")
    assert kangae.main(["ask", "stop"]) == 130
    assert capsys.readouterr().err.endswith("Interrupted; what was produced is not kept.\n")


def test_a_store_that_cannot_be_written_keeps_nothing(
    model: Ending, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KANGAE_STATE_DIR", str(tmp_path / "file"))
    assert kangae.main(["ask", "stop"]) == 130
    *_, why, told = capsys.readouterr().err.splitlines()
    assert why.startswith("The reply is not kept: ") and told == "Interrupted; what was produced is not kept."


@pytest.mark.parametrize(("store", "words"), [("true", "kept"), ("false", "not kept")])
def test_an_interrupted_file_says_what_became_of_its_answers(
    model: Ending, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, store: str, words: str
) -> None:
    monkeypatch.setenv("KANGAE_STORE", store)
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"question": text}) + "\n" for text in ("stop", "b")))
    assert kangae.main(["ask", "--file", str(path)]) == 130
    assert capsys.readouterr().err == f"Interrupted; what was produced is {words}.\n"


def test_a_second_ctrl_c_says_what_became_of_the_text(model: Ending, tmp_path: Path, capsys: Capture) -> None:
    model.interrupts = True
    assert kangae.main(["ask", "x"]) == 130
    said = capsys.readouterr()
    assert said.out == "x\n" and "Ended at once; what was produced is not kept." in " ".join(said.err.split())
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"question": text}) + "\n" for text in ("a", "b")))
    assert kangae.main(["ask", "--file", str(path)]) == 130
    assert "Ended at once before there was anything to keep." in " ".join(capsys.readouterr().err.split())
    with Store.open() as store:
        assert store.conversations() == []


def test_an_answer_cut_at_its_longest_length_names_the_flag(model: Ending, capsys: Capture) -> None:
    model.ends["cut"] |= {"budget": SpentBudget(answer_reserve=3), "usage": Usage(answer_tokens=3)}
    assert kangae.main(["ask", "cut"]) == 0
    assert (
        "The answer was cut at its longest, 3 tokens; a larger --max-answer leaves more of it."
        in capsys.readouterr().err
    )


def of_budget(limit: float | None = 64) -> tuple[Decision, ...]:
    return (Decision(60, "budget", 60, limit, "the budget was spent"),)


MORE = "leaves more of it."


@pytest.mark.parametrize(
    ("ends", "line"),
    [
        (
            {"close": "budget", "budget": SpentBudget(tokens=64), "decisions": of_budget()},
            f"The thought was ended by its budget of 64 tokens; a larger --budget {MORE}",
        ),
        (
            {"close": "budget", "budget": SpentBudget(tokens=1)},
            f"The thought was ended by its budget of 1 token; a larger --budget {MORE}",
        ),
        (
            {"close": "budget", "budget": SpentBudget(tokens=64, effort="low")},
            f"The thought was ended by the 64 tokens of --effort low; more effort, or a larger --budget, {MORE}",
        ),
        (
            {"close": "budget", "budget": SpentBudget(tokens=900), "decisions": of_budget(64)},
            f"The thought was ended by the end of the context, which keeps room for the answer; a larger --context "
            f"{MORE}",
        ),
        (
            {"close": "budget"},
            f"The thought was ended by the end of the context, which keeps room for the answer; a larger --context "
            f"{MORE}",
        ),
        (
            {"close": "deadline", "budget": SpentBudget(tokens=64, seconds=1.5)},
            "The thought was ended by the deadline of 1.5 s, which keeps time for the answer; a longer --deadline "
            f"{MORE}",
        ),
        (
            {
                "close": "natural",
                "budget": SpentBudget(tokens=64),
                "votes": (Vote("4", 1, "natural", 9), Vote("4", 1, "budget", 64), Vote("", 0, "budget", 64)),
            },
            f"2 of 3 thoughts were ended by their budget of 64 tokens; a larger --budget {MORE}",
        ),
        ({"close": "budget", "budget": SpentBudget(tokens=64, effort="auto")}, None),  # the ladder says so itself
        ({"close": "natural", "budget": SpentBudget(tokens=64)}, None),
        ({"close": "user"}, None),
    ],
)
def test_the_limit_that_ended_a_thought_is_told_with_the_flag_that_moves_it(
    model: Ending, capsys: Capture, ends: dict[str, Any], line: str | None
) -> None:
    model.ends["short"] = ends
    assert kangae.main(["ask", "short"]) == 0
    assert capsys.readouterr().err.splitlines() == ["one two three", *([] if line is None else [line])]
    assert kangae.main(["ask", "short", "--json"]) == 0
    assert capsys.readouterr().err == ""


def test_a_thought_that_its_user_stopped_was_ended_by_no_limit(model: Ending, capsys: Capture) -> None:
    model.ends["stop"] = {"close": "budget", "budget": SpentBudget(tokens=2)}
    assert kangae.main(["ask", "stop"]) == 130
    assert "was ended by" not in capsys.readouterr().err


def test_what_is_warned_of_in_mid_answer_stands_behind_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Warned(AnsweringResponder):
        def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
            for event in super().respond_many(requests, control):
                yield event
                if isinstance(event, AnswerDelta):
                    logging.getLogger("kangae").warning("the disk is full")

    monkeypatch.setattr(opening, "open_model", lambda *_, **__: Warned())
    screen = io.StringIO()  # both go to one terminal
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", screen)
    assert kangae.main(["ask", "x", "--no-store"]) == 0
    assert "\nthe disk is full\n" in screen.getvalue()
    assert not logging.getLogger("kangae").handlers

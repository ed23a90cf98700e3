"""`kangae ask` with votes, verifiers and the ladder, on a fake model that answers by a rule."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

import kangae
from runtime import opening
from runtime.events import Done, Event
from runtime.request import Request
from runtime.responder import Control
from runtime.store import Store
from runtime.verifiers import registry
from runtime.verifiers.verifier import Case, Kind, Verdict
from tests.fakes.answering_responder import AnsweringResponder, Said

SUM = "What is 2 + 3?"


def by_thought(request: Request, allowed: int) -> Said:
    """Right only with more than a hundred words of thought; each seed votes alike."""
    return Said("let me add", "5" if allowed > 100 else "6")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AnsweringResponder:
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


def test_what_nothing_could_check_says_so_and_what_could(
    model: AnsweringResponder, capsys: pytest.CaptureFixture[str]
) -> None:
    model.rule = lambda request, allowed: Said("let me look", "blue")
    assert kangae.main(["ask", "Which colour is it?", "--verify", "auto"]) == 0
    said = capsys.readouterr()
    thought, line = said.err.splitlines()
    assert (said.out, thought) == ("blue\n", "let me look")
    names = "arithmetic, units, schema, python, agreement"
    assert line == f"Nothing in the answer could be checked (not applicable: {names})."
    assert kangae.main(["ask", "Which colour is it?", "--verify", "arithmetic"]) == 0
    assert capsys.readouterr().err.endswith("; what could be: sums in digits (arithmetic).\n")
    assert kangae.main(["ask", "Which colour is it?", "--verify", "auto", "--json"]) == 0
    said = capsys.readouterr()
    assert (json.loads(said.out)["checks"], said.err) == ([], "")
    assert kangae.main(["ask", "Which colour is it?", "--json"]) == 0
    assert "checks" not in json.loads(capsys.readouterr().out)


def test_a_wrong_sum_of_the_thought_is_quoted_on_the_screen_and_not_kept(
    model: AnsweringResponder, capsys: pytest.CaptureFixture[str]
) -> None:
    model.rule = lambda request, allowed: Said("31 + 44 = 76, so 3 + 4 = 8, so 3 + 4 = 9.", "8")
    assert kangae.main(["ask", "How many fruits?", "--verify", "arithmetic"]) == 8
    (line,) = [one for one in capsys.readouterr().err.splitlines() if one.startswith("Doubtful: ")]
    assert line == (
        "Doubtful: arithmetic: Line 1 of the thinking has a wrong sum, “31 + 44 = 76”, which comes to 75 "
        "(and 2 more wrong sums)."
    )
    with Store.open() as store:
        (kept,) = store.replies(store.conversations()[0].id)
    (flag,) = kept.record["flags"]
    assert "comes to 75" in flag and "76" not in flag


def test_that_only_the_form_was_checked_is_told(model: AnsweringResponder, capsys: pytest.CaptureFixture[str]) -> None:
    model.rule = lambda request, allowed: Said("", "5 mm")
    assert kangae.main(["ask", "How many mm is it?", "--verify", "auto"]) == 0
    assert "Only the form was checked (units); nothing recomputed the answer." in capsys.readouterr().err


def test_an_answer_that_stands_by_agreement_alone_says_so(
    model: AnsweringResponder, capsys: pytest.CaptureFixture[str]
) -> None:
    model.rule = lambda request, allowed: Said("let me look", "blue")
    assert kangae.main(["ask", "Which colour is it?", "--ladder"]) == 0
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.endswith(" agree; nothing recomputed it.")
    assert kangae.main(["ask", "Which colour is it?", "--ladder", "--json"]) == 0
    detail = told.removesuffix("; nothing recomputed it.") + "."
    assert json.loads(capsys.readouterr().out)["checks"] == [
        {"name": "agreement", "passed": True, "detail": detail, "kind": "agreement"}
    ]
    assert kangae.main(["ask", "Which colour is it?", "--votes", "3", "--verify", "auto"]) == 0
    assert capsys.readouterr().err.endswith("\nIt agrees with 2 other answers; nothing recomputed it.\n")


def test_the_votes_of_a_files_questions_are_held_against_each_other(
    model: AnsweringResponder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps({"question": "Which colour is it?"}) + "\n")
    assert kangae.main(["ask", "--file", str(path), "--votes", "3", "--verify", "agreement"]) == 0
    (check,) = json.loads(capsys.readouterr().out)["checks"]
    assert (check["kind"], check["detail"]) == ("agreement", "It agrees with 2 other answers.")


class Gated:
    """A verifier that waits, for one answer, until its gate is open."""

    name = "gated"
    kind: Kind = "truth"

    def __init__(self, answer: str) -> None:
        self.answer, self.gate, self.begun = answer, threading.Event(), threading.Event()

    def applies(self, case: Case) -> bool:
        return True

    def check(self, case: Case) -> Verdict:
        if case.answer != self.answer:
            return Verdict.of(self, True, "at once")
        self.begun.set()
        stopped = case.options["stopped"]
        while not self.gate.wait(0.01) and not stopped():
            pass
        return Verdict.of(self, self.gate.is_set(), "as the gate stands")


@pytest.fixture
def gated(monkeypatch: pytest.MonkeyPatch) -> Gated:
    verifier = Gated("3")
    monkeypatch.setattr(registry, "choose", lambda name: (verifier,))
    return verifier


@pytest.fixture
def three(tmp_path: Path) -> str:
    path = tmp_path / "three.jsonl"
    path.write_text("".join(json.dumps({"id": number, "question": f"say {number}"}) + "\n" for number in (1, 2, 3)))
    return str(path)


def test_a_slow_verifier_does_not_hold_up_the_other_questions_of_a_file(
    model: AnsweringResponder, gated: Gated, three: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def rule(request: Request, allowed: int) -> Said:
        word = request.messages[-1].content.split()[-1]
        if word == "1":  # the last to be decoded; "3", the first, is being judged
            assert gated.begun.wait(20)
            gated.gate.set()
        return Said("", word)

    model.rule = rule
    assert kangae.main(["ask", "--file", three, "--verify", "gated"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["id"], one["checks"][0]["passed"]) for one in found] == [(1, True), (2, True), (3, True)]


def test_ctrl_c_ends_the_judging_of_a_file_and_its_answers_stay(
    model: AnsweringResponder, gated: Gated, three: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def rule(request: Request, allowed: int) -> Said:
        word = request.messages[-1].content.split()[-1]
        if word == "1":
            assert gated.begun.wait(20)
            signal.raise_signal(signal.SIGINT)
        return Said("", word)

    model.rule = rule
    before = threading.active_count()
    assert kangae.main(["ask", "--file", three, "--verify", "gated"]) == 130
    found = {one["id"]: one for one in map(json.loads, capsys.readouterr().out.splitlines())}
    assert found[3]["answer"] == "3" and found[3]["flags"] and not found[3]["checks"][0]["passed"]
    assert threading.active_count() == before


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_ctrl_c_ends_the_judging_of_one_reply_which_is_kept(
    model: AnsweringResponder, gated: Gated, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    check = gated.check

    def interrupted(case: Case) -> Verdict:
        signal.raise_signal(signal.SIGINT)
        return check(case)

    gated.check = interrupted  # type: ignore[method-assign]
    model.rule = lambda request, allowed: Said("", "3")
    assert kangae.main(["ask", "say 3", "--verify", "gated", *words]) == 130
    said = capsys.readouterr()
    if words:
        reply = json.loads(said.out)
        assert (reply["answer"], reply["finish"], reply["checks"][0]["passed"]) == ("3", "stop", False)
    else:
        assert said.out == "3\n"
        assert "Doubtful: gated: as the gate stands" in said.err
        assert "Interrupted; what was produced is kept." in said.err
    with Store.open() as store:
        (kept,) = [reply.record for one in store.conversations() for reply in store.replies(one.id)]
    assert (kept["answer"], kept["finish"]) == ("3", "stop") and kept["flags"]


def test_an_expected_number_beyond_all_bounds_does_not_hang_the_file(
    model: AnsweringResponder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read: list[str] = []

    def parse(text: str, parsing_timeout: object) -> str:
        read.append(text)
        return text

    module = ModuleType("math_verify")
    module.__dict__.update(parse=parse, verify=lambda gold, found, timeout_seconds: {gold, found} == {"1/2", "0.5"})
    monkeypatch.setitem(sys.modules, "math_verify", module)
    model.rule = lambda request, allowed: Said("", request.question)
    path = tmp_path / "in.jsonl"
    lines = [(r"\boxed{10^{10^{10}}}", "3"), ("1/2", "0.5")]
    path.write_text(
        "".join(json.dumps({"question": said, "expected": wanted, "check": "math"}) + "\n" for said, wanted in lines)
    )
    assert kangae.main(["ask", "--file", str(path)]) == 0
    assert [json.loads(line)["correct"] for line in capsys.readouterr().out.splitlines()] == [False, True]
    assert set(read) == {"1/2", "0.5"}


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
    assert "Doubtful: " in said.err and 'the rungs said: "6"' in said.err


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

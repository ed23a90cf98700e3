"""An answer that declines its question is honest and has no value: nobody judges the value, and the exit code is 0
unless something else is in doubt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import kangae
from models.family import families
from runtime import opening
from runtime.answers.decline import declines
from runtime.verifiers.registry import registry
from runtime.verifiers.verifier import Case, Kind, Verdict, judges_value
from tests.fakes.answering_responder import AnsweringResponder, Said

Capture = pytest.CaptureFixture[str]
DECLINES = tuple(phrase for family in families() for phrase in family.declines)
SUM = "What is 2 + 3?"


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> AnsweringResponder:
    responder = AnsweringResponder(lambda request, allowed: Said("7 + 1 = 9", DECLINES[0]))
    monkeypatch.setattr(opening, "open_model", lambda *_, **__: responder)
    return responder


def test_a_decline_is_the_whole_answer() -> None:
    assert DECLINES
    for phrase in DECLINES:
        assert declines(f" {phrase}\n")
        assert not declines(f"{phrase} 12") and not declines(phrase[:-3])
    assert not declines("")


@pytest.mark.parametrize("answer", DECLINES)
@pytest.mark.parametrize(
    "question", [SUM, "What time is it in Kyoto?", "Who wrote Genji?", "What is the first-pass yield?"]
)
@pytest.mark.parametrize("verify", ["auto", "arithmetic", "units", "python"])
def test_a_decline_is_in_no_doubt_whatever_was_asked(
    model: AnsweringResponder, capsys: Capture, answer: str, question: str, verify: str
) -> None:
    model.rule = lambda request, allowed: Said("7 + 1 = 9", answer)
    assert kangae.main(["ask", question, "--verify", verify]) == 0
    said = capsys.readouterr()
    assert said.out == f"{answer}\n"
    names = "arithmetic, units, python" if verify == "auto" else verify
    told = f"The model declined the question, so there is no value to check (not applicable: {names})."
    assert said.err.splitlines()[-1] == told and "Doubtful" not in said.err
    assert kangae.main(["ask", question, "--verify", verify, "--json"]) == 0
    reply = json.loads(capsys.readouterr().out)
    assert reply["checks"] == [] and "flags" not in reply


def test_an_answer_that_says_more_than_a_decline_is_judged(model: AnsweringResponder, capsys: Capture) -> None:
    model.rule = lambda request, allowed: Said("", f"{DECLINES[0]} 6")
    assert kangae.main(["ask", SUM, "--verify", "arithmetic"]) == 8
    assert "Doubtful: arithmetic: " in capsys.readouterr().err


def test_a_decline_has_to_fit_the_schema_that_was_asked_for(
    model: AnsweringResponder, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "schema.json").write_text('{"type": "integer"}')
    assert kangae.main(["ask", SUM, "--verify", "auto", "--schema", str(tmp_path / "schema.json")]) == 8
    assert "Doubtful: schema: " in capsys.readouterr().err


def test_declines_and_values_of_votes_do_not_agree(model: AnsweringResponder, capsys: Capture) -> None:
    def seed_of_one_declines(request: object, allowed: int) -> Said:
        return Said("so", DECLINES[0] if len(model.requests) and request is model.requests[0] else "5")

    words = ["ask", SUM, "--votes", "3", "--verify", "agreement", "--json"]
    assert kangae.main(words) == 0  # all decline
    assert json.loads(capsys.readouterr().out)["checks"][0]["passed"]
    model.requests.clear()
    model.rule = seed_of_one_declines
    assert kangae.main(words) == 8
    assert not json.loads(capsys.readouterr().out)["checks"][0]["passed"]


def test_the_ladder_climbs_no_further_than_two_rungs_decline(model: AnsweringResponder, capsys: Capture) -> None:
    assert kangae.main(["ask", SUM, "--ladder"]) == 0
    said = capsys.readouterr()
    assert said.out == f"{DECLINES[0]}\n" and "Doubtful" not in said.err
    assert len(model.requests) == 2


def test_a_files_declines_are_done(model: AnsweringResponder, tmp_path: Path, capsys: Capture) -> None:
    lines = [
        {"id": 1, "question": SUM},
        {"id": 2, "question": "How many are there?", "limits": {"maximum": 3}},
        {"id": 3, "question": "Give some code.", "tests": "assert x == 1"},
    ]
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert kangae.main(["ask", "--file", str(path), "--verify", "auto"]) == 0
    replies = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["checks"], one.get("flags")) for one in replies] == [([], None)] * 3


class Plugged:
    """A judge of an installed package, which does not say what it judges."""

    name = "plugged"

    def __init__(self, kind: Kind) -> None:
        self.kind: Kind = kind

    def applies(self, case: Case) -> bool:
        return True

    def check(self, case: Case) -> Verdict:
        return Verdict.of(self, False, "no")


def test_who_judges_values() -> None:
    built_in = registry(()).verifiers
    assert {name for name, one in built_in.items() if judges_value(one)} == {"arithmetic", "units", "python"}
    assert judges_value(Plugged("truth")) and not judges_value(Plugged("form"))

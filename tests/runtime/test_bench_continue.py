"""`bench continue`: thoughts that are put in by force, gone on from on a fake model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import kangae
from runtime.request import Request
from tests.fakes.answering_responder import AnsweringResponder, Said

pytestmark = pytest.mark.usefixtures("thoughtful")


def test_continue_goes_on_from_the_thought(
    model: AnsweringResponder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model.rule = lambda request, allowed: Said("more", request.thinking.split()[-1])
    records = [
        {"id": "a", "question": "x", "expected": "7", "thinking": "so 7", "closed": True},
        {"id": "b", "question": "y", "expected": "7", "thinking": "so 8", "closed": False},
    ]
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert kangae.main(["bench", "continue", "--problems", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n"], found["accuracy"]) == (2, 0.5)
    assert [(one.thinking, one.thinking_closed) for one in model.requests] == [("so 7", True), ("so 8", False)]
    assert kangae.main(["bench", "continue", "--problems", str(path)]) == 0
    assert "0.500" in capsys.readouterr().out
    assert kangae.main(["bench", "continue", "--problems", str(path), "--budget", "off"]) == 2


def test_then_tells_what_became_right_and_wrong(
    model: AnsweringResponder, problems: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def rule(request: Request, allowed: int) -> Said:
        kind, number = request.messages[-1].content.split()
        again = request.thinking.endswith("\nWait, check\n")
        return Said("so", number if (kind == "hard") == again else "?")

    model.rule = rule
    words = ["bench", "continue", "--problems", problems, "--then", "Wait, check\\n", "--by", "skill"]
    assert kangae.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n"], found["became_right"], found["became_wrong"]) == (4, 3, 1)
    assert (found["before"]["accuracy"], found["after"]["accuracy"]) == (0.25, 0.75)
    assert found["groups"]["skill"]["easy"]["became_wrong"] == 1
    assert kangae.main(words) == 0
    assert "BECAME RIGHT" in capsys.readouterr().out


def test_a_thought_without_room_to_go_on_stays_as_it_was(
    model: AnsweringResponder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model.rule = lambda request, allowed: Said("so", "8" if request.thinking else "7")
    path = tmp_path / "p.jsonl"
    records = [
        {"id": str(number), "question": question, "expected": "7"}
        for number, question in enumerate(["x", "no room to go on", "y"])
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert kangae.main(["bench", "continue", "--problems", str(path), "--then", "Wait\\n", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n"], found["no_room"], found["became_wrong"]) == (3, 1, 2)
    assert found["after"]["accuracy"] == pytest.approx(1 / 3, abs=1e-4)


def test_continue_without_thoughts_is_2(model: AnsweringResponder, problems: str) -> None:
    assert kangae.main(["bench", "continue", "--problems", problems]) == 2

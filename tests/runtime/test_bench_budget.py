"""`bench budget` and `bench continue` on a fake model whose right answers depend on how long it may think."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import kangae
from models.errors import UsageError
from models.family import resolve_family
from runtime import opening
from runtime.bench.asking import Outcome
from runtime.bench.budget import bootstrap_interval, leaks
from runtime.matching import is_correct
from runtime.problems import Problem
from runtime.request import Request
from tests.fakes.answering_responder import FACTS, AnsweringResponder, Said
from tests.runtime.test_store import REPLY

FIELDS = [
    "method", "budget", "n", "accuracy", "ci", "tokens_per_correct", "seconds_per_correct", "overshoot_max",
    "completion", "leaks", "lost_correct", "closes",
]  # fmt: skip


def needs_two_words(request: Request, allowed: int) -> Said:
    """`easy N` is answered N at once, `hard N` only after two words of thought."""
    kind, number = request.messages[-1].content.split()
    return Said("let me see", number if kind == "easy" or allowed >= 2 else "?")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AnsweringResponder:
    for name in ("STATE", "CONFIG", "CACHE", "MODELS"):
        monkeypatch.setenv(f"KANGAE_{name}_DIR", str(tmp_path / name.lower()))
    responder = AnsweringResponder(needs_two_words)
    monkeypatch.setattr(opening, "open_model", lambda name, **options: responder)
    return responder


@pytest.fixture
def problems(tmp_path: Path) -> str:
    records = [
        {"id": f"p{number}", "question": f"{kind} {number}", "expected": str(number), "skill": kind}
        for number, kind in enumerate(["easy", "hard", "hard", "hard"])
    ]
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def test_rows_are_those_of_the_contract(
    model: AnsweringResponder, problems: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "budget", "--problems", problems, "--budgets", "off,1,2,unlimited", "--by", "skill", "--json"]
    assert kangae.main(words) == 0
    found = json.loads(capsys.readouterr().out)
    rows = found["rows"]
    assert all(list(row)[: len(FIELDS)] == FIELDS for row in rows)
    assert [row["budget"] for row in rows] == [0, 1, 2, None]
    assert [row["n"] for row in rows] == [4] * 4
    assert [row["accuracy"] for row in rows] == [0.25, 0.25, 1.0, 1.0]
    assert [row["lost_correct"] for row in rows] == [0.75, 0.75, 0.0, 0.0]
    # thought and answer tokens of all replies for each right answer: 4/1, (4+4)/1, (8+4)/4, (12+4)/4
    assert [row["tokens_per_correct"] for row in rows] == [4.0, 8.0, 3.0, 4.0]
    assert rows[0]["closes"] == {"natural": 0, "budget": 0, "off": 4}
    assert rows[2]["closes"] == {"natural": 0, "budget": 4}
    assert rows[3]["closes"] == {"natural": 4, "budget": 0}
    assert {row["method"] for row in rows} == {"message"}
    assert {(row["overshoot_max"], row["completion"], row["leaks"]) for row in rows} == {(0, 1.0, 0)}
    assert all(row["ci"][0] <= row["accuracy"] <= row["ci"][1] for row in rows)
    assert [row["accuracy"] for row in found["groups"]["skill"]["hard"]] == [0.0, 0.0, 1.0, 1.0]
    assert [row["n"] for row in found["groups"]["skill"]["easy"]] == [1] * 4
    assert model.closed


def test_the_table_has_a_row_a_budget(
    model: AnsweringResponder, problems: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kangae.main(["bench", "budget", "--problems", problems, "--budgets", "off,2", "--by", "skill"]) == 0
    first, second = capsys.readouterr().out.split("\n\n")
    assert [line.split()[0] for line in first.splitlines()] == ["BUDGET", "off", "2"]
    assert second.splitlines()[0].split() == ["SKILL", "N", "off", "2"]


def test_seeds_count_only_where_tokens_are_drawn(
    model: AnsweringResponder, problems: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "budget", "--problems", problems, "--budgets", "2", "--seeds", "3", "--json"]
    kangae.main(words)
    assert json.loads(capsys.readouterr().out)["rows"][0]["n"] == 4
    kangae.main([*words, "--temperature", "0.8", "--seed", "10"])
    assert json.loads(capsys.readouterr().out)["rows"][0]["n"] == 12
    drawn = [request.sampling.seed for request in model.requests if request.sampling is not None]
    assert sorted(set(drawn)) == [10, 11, 12]


def test_no_right_answer_has_no_cost(
    model: AnsweringResponder, problems: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model.rule = lambda request, allowed: Said("", "?")
    kangae.main(["bench", "budget", "--problems", problems, "--budgets", "off", "--json"])
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["tokens_per_correct"], row["seconds_per_correct"], row["lost_correct"]) == (None, None, None)


@pytest.mark.parametrize("extra", [["--budgets", "1,-2"], ["--by", "colour"], ["--budgets", ""], ["--limit", "0"]])
def test_wrong_wishes_are_2(model: AnsweringResponder, problems: str, extra: list[str]) -> None:
    assert kangae.main(["bench", "budget", "--problems", problems, *extra]) == 2


def test_a_problem_without_an_answer_is_2(model: AnsweringResponder, tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"id": "a", "question": "b"}\n')
    assert kangae.main(["bench", "budget", "--problems", str(path)]) == 2


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


def test_matching() -> None:
    assert is_correct("  42  Bolts\n", "42 bolts")
    assert not is_correct("42", "42 bolts")
    assert not is_correct("42.0", "42")
    with pytest.raises(UsageError):
        is_correct("1", "1", "sum")


def test_leaks() -> None:
    family = resolve_family(FACTS.metadata, FACTS.chat_template)
    assert leaks("", "a </think> b", family)
    assert leaks("", "Wait, no. Hmm, wait.", family)
    assert not leaks("Wait. Wait. Wait.", "Wait for the bus.", family)


def test_the_interval_narrows_with_more_problems() -> None:
    def width(count: int) -> float:
        outcomes = [Outcome(Problem(str(n), "q"), replace(REPLY, id=str(n)), n % 2 == 0) for n in range(count)]
        low, high = bootstrap_interval(outcomes)
        assert low <= 0.5 <= high
        return high - low

    assert width(400) < width(20) < 1.0

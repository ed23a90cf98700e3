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
from runtime.bench.budget import bootstrap_interval, leaks, measure
from runtime.matching import is_correct
from runtime.problems import Problem
from runtime.reply import Usage
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

    def open_model(name: str, **options: object) -> AnsweringResponder:
        responder.opened = options
        return responder

    monkeypatch.setattr(opening, "open_model", open_model)
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


def outcomes_of(marks: dict[str, list[bool]], **changes: object) -> list[Outcome]:
    """One outcome for each mark: the seeds of the problem of that name."""
    found = []
    for name, own in marks.items():
        problem = Problem(name, "q")
        found += [Outcome(problem, replace(REPLY, id=name, **changes), mark) for mark in own]  # type: ignore[arg-type]
    return found


def test_the_interval_of_known_values() -> None:
    assert bootstrap_interval(outcomes_of({"a": [True], "b": [True]})) == [1.0, 1.0]
    # of four problems one right: binomial, P(0) = 0.316 and P(3 or less) = 0.996, P(2 or less) = 0.949
    one_of_four = {"a": [True], "b": [False], "c": [False], "d": [False]}
    assert bootstrap_interval(outcomes_of(one_of_four)) == [0.0, 0.75]


def test_the_seeds_of_a_problem_stay_together() -> None:
    # two problems: both resampled as the wrong one with 1 in 4; six replies apart would never give 0 of 6 so often
    assert bootstrap_interval(outcomes_of({"a": [True] * 3, "b": [False] * 3})) == [0.0, 1.0]


def test_every_token_is_billed_and_the_worst_overshoot_told() -> None:
    family = resolve_family(FACTS.metadata, FACTS.chat_template)
    usage = Usage(
        prompt_tokens=1000, cached_tokens=500, thinking_tokens=10, forced_tokens=5, probe_tokens=7, answer_tokens=3
    )
    worst = replace(REPLY.budget, overshoot_tokens=2)
    fine = replace(REPLY.budget, overshoot_tokens=0)
    first = outcomes_of({"a": [True]}, usage=usage, budget=worst, close="budget", finish="stop", answer="4")
    second = outcomes_of({"b": [False]}, usage=usage, budget=fine, close="budget", finish="length", answer="4")
    third = outcomes_of({"c": [False]}, usage=usage, budget=fine, close="natural", finish="stop", answer="4")
    row = measure([*first, *second, *third], 8, family, None)
    assert row["tokens_per_correct"] == 75.0
    assert row["overshoot_max"] == 2
    assert (row["completion"], row["completion_at_cap"]) == (0.6667, 0.5)
    assert row["closes"] == {"natural": 1, "budget": 2}
    assert measure(third, 8, family, None)["completion_at_cap"] is None


def test_lost_are_those_that_most_seeds_had_right() -> None:
    family = resolve_family(FACTS.metadata, FACTS.chat_template)
    free = outcomes_of({"a": [True, True, False], "b": [True, False, False]})
    problems = {one.problem.id: one.problem for one in free}
    bounded = [Outcome(problems[name], REPLY, mark) for name in "ab" for mark in (True, False, False)]
    assert measure(bounded, 8, family, free)["lost_correct"] == 0.6667  # of the replies to a, two of three


def test_auto_climbs_and_all_its_rungs_are_billed(
    model: AnsweringResponder, problems: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "budget", "--problems", problems, "--budgets", "1,2,unlimited", "--method", "auto", "--json"]
    assert kangae.main(words) == 0
    rows = {row["budget"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert {row["method"] for row in rows.values()} == {"auto"}
    # `hard` says "?" without a thought and with one word: two rungs agree, and are wrong
    assert [rows[budget]["accuracy"] for budget in (1, 2, None)] == [0.25, 1.0, 1.0]
    assert rows[1]["tokens_per_correct"] == 4 * (1 + (1 + 1))
    # easy: off 1, short 2 + 1; hard: off 1, short 2 + 1, then five votes of 2 + 1
    assert rows[2]["tokens_per_correct"] == (4 + 3 * (4 + 15)) / 4
    # easy: off 1, short 3 + 1; hard: off 1, short 3 + 1, long 3 + 1
    assert rows[None]["tokens_per_correct"] == (5 + 3 * 9) / 4
    assert all(row["overshoot_max"] == 0 for row in rows.values())
    assert rows[1]["lost_correct"] == 0.75
    assert model.opened["sequences"] == 8


def test_auto_without_a_thought_is_not_taken_for_the_other_methods(
    model: AnsweringResponder, problems: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "budget", "--problems", problems, "--budgets", "off", "--method", "message,cut,auto", "--json"]
    assert kangae.main(words) == 0
    message, cut, auto = json.loads(capsys.readouterr().out)["rows"]
    assert message["tokens_per_correct"] == cut["tokens_per_correct"] == 4
    assert auto["tokens_per_correct"] == 4 * (1 + 5)  # five votes without a thought must confirm it
    assert auto["closes"]["off"] == 4


def test_votes_take_seeds_of_their_own(
    model: AnsweringResponder, problems: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "budget", "--problems", problems, "--budgets", "2", "--limit", "1", "--seeds", "3", "--json"]
    assert kangae.main([*words, "--method", "votes:2"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["n"] == 3
    seeds = sorted(request.sampling.seed for request in model.requests if request.sampling is not None)
    assert seeds == [0, 1, 2, 3, 4, 5]


def test_the_interval_narrows_with_more_problems() -> None:
    def width(count: int) -> float:
        outcomes = [Outcome(Problem(str(n), "q"), replace(REPLY, id=str(n)), n % 2 == 0) for n in range(count)]
        low, high = bootstrap_interval(outcomes)
        assert low <= 0.5 <= high
        return high - low

    assert width(400) < width(20) < 1.0

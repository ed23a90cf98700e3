"""What `kangae ask` refuses before it begins: limits that contradict each other, and schemas that are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import kangae
from models.errors import UsageError
from runtime.commands.options import fitting_minimum
from runtime.request import Budget
from tests.fakes.answering_responder import AnsweringResponder, Said

Capture = pytest.CaptureFixture[str]


# budgets


@pytest.mark.parametrize(
    ("tokens", "effort", "minimum"),
    [(64, None, 5000), (0, None, 1), (None, "off", 1), (64, "low", 65), (None, None, -1)],
)
def test_a_budget_cannot_contradict_itself(tokens: int | None, effort: str | None, minimum: int) -> None:
    with pytest.raises(UsageError, match=str(minimum)):
        Budget(tokens, effort=effort, minimum=minimum)


def test_a_least_thought_within_its_budget_stands() -> None:
    for tokens, effort in ((64, None), (None, None), (None, "low"), (None, "high")):
        assert Budget(tokens, effort=effort, minimum=64).minimum == 64
    assert Budget(0).minimum == 0


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--effort", "low", "--min-thinking", "5000"], 2, "the 64 tokens that --effort low allows"),
        (["--effort", "off", "--min-thinking", "1"], 2, "--min-thinking 1"),
        (["--ladder", "--min-thinking", "9"], 2, "the ladder exclude each other"),
        (["--effort", "auto", "--min-thinking", "9"], 2, "the ladder exclude each other"),
        (["--min-thinking", "5000"], 7, "the context of 512 tokens holds at most 384 of thought"),
        (["--min-thinking", "400", "--max-answer", "20"], 0, ""),
        (["--effort", "low", "--min-thinking", "64"], 0, ""),
        (["--effort", "high", "--min-thinking", "300"], 0, ""),
    ],
)
def test_a_least_thought_that_cannot_be_kept_to_is_refused(
    model: AnsweringResponder, tmp_path: Path, capsys: Capture, words: list[str], code: int, told: str
) -> None:
    assert kangae.main(["ask", "x", *words]) == code
    said = capsys.readouterr()
    assert told in said.err and (code == 0) == (said.out == "x\n") == bool(model.requests)
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps({"question": "x"}) + "\n")
    assert kangae.main(["ask", "--file", str(path), *words]) == code
    assert told in capsys.readouterr().err
    assert model.closed or not model.opened


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--budget", "400", "--max-answer", "200"], "--budget 400 and --max-answer 200 do not fit the context of 512"),
        (["--max-answer", "513"], "--max-answer 513 does not fit the context of 512 tokens"),
        (["--budget", "513"], "--budget 513 does not fit the context of 512 tokens"),
        (["--min-thinking", "300", "--max-answer", "300"], "--min-thinking 300 and --max-answer 300 do not fit"),
        (["--ladder", "--max-answer", "9999"], "--max-answer 9999 does not fit"),
        (["--budget", "312", "--max-answer", "200"], ""),
        (["--budget", "unlimited", "--max-answer", "512"], ""),
    ],
)
def test_limits_that_no_prompt_leaves_room_for_are_refused(
    model: AnsweringResponder, lines: Callable[..., str], capsys: Capture, words: list[str], told: str
) -> None:
    for asked in (["x"], ["--file", lines({"question": "x"})]):
        assert kangae.main(["ask", *asked, *words]) == (7 if told else 0)
        assert told in capsys.readouterr().err
    assert bool(model.requests) is not bool(told)


@pytest.mark.parametrize("name", ["KANGAE_BUDGET", "KANGAE_MAX_ANSWER"])
def test_limits_of_the_settings_give_way(model: AnsweringResponder, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "9999")
    assert kangae.main(["ask", "x"]) == 0


def test_only_a_least_thought_of_a_flag_is_firm(model: AnsweringResponder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kangae.main(["ask", "x", "--min-thinking", "9"]) == 0
    monkeypatch.setenv("KANGAE_MIN_THINKING", "9")
    assert kangae.main(["ask", "x"]) == 0
    assert [(one.budget.minimum, one.budget.firm) for one in model.requests] == [(9, True), (9, False)]


@pytest.mark.parametrize(
    ("words", "minimum"), [(["--effort", "low"], 64), (["--ladder"], 0), (["--max-answer", "12"], 500), ([], 384)]
)
def test_a_least_thought_of_the_settings_gives_way(
    model: AnsweringResponder, monkeypatch: pytest.MonkeyPatch, words: list[str], minimum: int
) -> None:
    monkeypatch.setenv("KANGAE_MIN_THINKING", "5000")
    assert kangae.main(["ask", "x", *words]) == 0
    assert {request.budget.minimum for request in model.requests} == {minimum}


@pytest.mark.parametrize(
    ("minimum", "tokens", "effort", "reserve", "most"),
    [
        (9, None, None, None, 9), (900, None, "low", None, 64), (900, None, "off", None, 0), (900, 70, None, None, 70),
        (900, None, None, None, 384), (900, None, "high", 12, 500), (900, None, None, 400, 384),
    ],
)  # fmt: skip
def test_what_a_model_can_keep_to(
    model: AnsweringResponder, minimum: int, tokens: int | None, effort: str | None, reserve: int | None, most: int
) -> None:
    assert fitting_minimum(minimum, model, tokens=tokens, effort=effort, reserve=reserve) == most


# places


@pytest.mark.parametrize(
    ("words", "questions", "places"),
    [
        (["--votes", "5"], 3, 15),
        (["--votes", "5", "--parallel", "2"], 3, 10),
        (["--votes", "5"], 1, 5),
        (["--votes", "100"], 9, 200),
        (["--parallel", "2"], 3, 2),
        ([], 30, 8),
        (["--ladder", "--parallel", "3"], 9, 6),
    ],
)
def test_a_file_has_places_for_all_thoughts_of_so_many_questions(
    model: AnsweringResponder, tmp_path: Path, words: list[str], questions: int, places: int
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"question": f"say {number}"}) + "\n" for number in range(questions)))
    kangae.main(["ask", "--file", str(path), *words])
    assert model.opened["sequences"] == places


# schemas


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    path = tmp_path / "schema.json"
    path.write_text(json.dumps({"type": "object", "required": ["parts"], "properties": {"parts": {"type": "integer"}}}))
    return path


@pytest.mark.parametrize("words", [[], ["--verify", "schema"], ["--verify", "auto"], ["--verify", "units"]])
def test_an_answer_is_held_against_the_schema(
    model: AnsweringResponder, schema: Path, capsys: Capture, words: list[str]
) -> None:
    model.rule = lambda request, allowed: Said("", '{"parts": 583}' if "good" in request.question else '{"parts": "x"}')
    assert kangae.main(["ask", "How many good?", "--schema", str(schema), "--json", *words]) == 0
    (check,) = json.loads(capsys.readouterr().out)["checks"]
    assert (check["name"], check["passed"], check["kind"]) == ("schema", True, "form")
    assert kangae.main(["ask", "How many bad?", "--schema", str(schema), *words]) == 8
    said = capsys.readouterr()
    assert said.out == '{"parts": "x"}\n'
    assert "Doubtful: schema: The answer does not fit the schema at parts" in said.err


def test_the_ladder_climbs_until_an_answer_fits_the_schema(
    model: AnsweringResponder, schema: Path, capsys: Capture
) -> None:
    model.rule = lambda request, allowed: Said("so", '{"parts": 583}' if allowed > 100 else "583 parts")
    kangae.main(["ask", "How many?", "--schema", str(schema), "--ladder", "--json"])
    reply = json.loads(capsys.readouterr().out)
    assert reply["answer"] == '{"parts": 583}'
    assert all(request.verifier_options["schema"]["required"] == ["parts"] for request in model.requests)


def test_a_schema_holds_for_a_file_but_a_line_may_have_its_own(
    model: AnsweringResponder, schema: Path, tmp_path: Path, capsys: Capture
) -> None:
    model.rule = lambda request, allowed: Said("", "7")
    path = tmp_path / "in.jsonl"
    lines = [{"id": 1, "question": "a"}, {"id": 2, "question": "b", "schema": {"type": "integer"}}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert kangae.main(["ask", "--file", str(path), "--schema", str(schema)]) == 8
    found = [json.loads(line)["checks"][0]["passed"] for line in capsys.readouterr().out.splitlines()]
    assert found == [False, True]
    assert kangae.main(["ask", "--file", str(path), "--verify", "schema"]) == 0  # the second line brings one


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read (No such file or directory); check the path"),
        (b"{", "is no JSON (Expecting property name"),
        (b"\xff", "is no UTF-8 text"),
        (b"[" * 100_000, "is nested too deep"),
        (b'"text"', "must be an object, or true or false"),
        (b'{"type": "integre"}', "is faulty at type"),
    ],
)
def test_a_schema_that_is_none_is_told_before_a_model_is_opened(
    model: AnsweringResponder, tmp_path: Path, capsys: Capture, content: bytes | None, told: str
) -> None:
    path = tmp_path / "other.json"
    if content is not None:
        path.write_bytes(content)
    assert kangae.main(["ask", "x", "--schema", str(path)]) == 2
    said = capsys.readouterr()
    assert told in said.err and str(path) in said.err and len(said.err.splitlines()) == 1
    assert not model.opened


def test_to_verify_by_a_schema_one_has_to_be_given(model: AnsweringResponder, capsys: Capture) -> None:
    assert kangae.main(["ask", "x", "--verify", "schema"]) == 2
    assert "give its file, as in --schema FILE" in capsys.readouterr().err
    assert not model.opened


def test_a_schema_may_stand_in_the_flag_itself(model: AnsweringResponder, capsys: Capture) -> None:
    model.rule = lambda request, allowed: Said("", '{"parts": 583}')
    for wanted, code in (("integer", 0), ("string", 8)):
        schema = json.dumps({"type": "object", "properties": {"parts": {"type": wanted}}})
        assert kangae.main(["ask", "How many?", "--schema", f" {schema}", "--json"]) == code
        (check,) = json.loads(capsys.readouterr().out)["checks"]
        assert check["passed"] is (code == 0)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ('{"type": "integer",}', "(taken as JSON, for it begins with a brace) is no JSON (Expecting property name"),
        ('{"type": integer}', "(Expecting value in line 1, column 10, at 'integer}')"),
        ('{"type": "integer"', "in line 1, column 19, at its end)"),
        ('{"type": "integre"}', "is faulty at type"),
        ('"type": "integer"', "cannot be read (No such file or directory); check the path"),
        ("x\0y", "cannot be read (embedded null byte)"),
    ],
)
def test_a_broken_schema_is_told_how_it_was_taken_and_where_it_breaks(
    model: AnsweringResponder, capsys: Capture, given: str, told: str
) -> None:
    assert kangae.main(["ask", "x", "--schema", given]) == 2
    said = capsys.readouterr()
    assert told in said.err and len(said.err.splitlines()) == 1
    assert not model.opened

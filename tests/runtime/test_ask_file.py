"""`kangae ask --file`: what is told of lines that fail, of ids that are shared, and of files that are no JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import kangae
from runtime import opening
from runtime.problems import EXAMPLE, parse_problem
from tests.fakes.answering_responder import AnsweringResponder

Capture = pytest.CaptureFixture[str]
Lines = Callable[..., str]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> AnsweringResponder:
    responder = AnsweringResponder()

    def open_model(name: str, **options: object) -> AnsweringResponder:
        responder.opened = {"name": name, **options}
        return responder

    monkeypatch.setattr(opening, "open_model", open_model)
    return responder


@pytest.fixture
def lines(tmp_path: Path) -> Lines:
    def write(*records: object) -> str:
        path = tmp_path / "in.jsonl"
        texts = [record if isinstance(record, str) else json.dumps(record) for record in records]
        path.write_text("\n".join(texts) + "\n", encoding="utf-8")
        return str(path)

    return write


# lines that fail


def test_how_many_failed_and_why_is_told_at_the_end(model: AnsweringResponder, lines: Lines, capsys: Capture) -> None:
    path = lines({"id": 1, "question": "a"}, {"id": 2, "question": "too long"}, "{", {"id": 4, "question": "b"})
    assert kangae.main(["ask", "--file", path]) == 1
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 4
    reason = json.loads(said.out.splitlines()[1])["error"][
        "detail"
    ]  # of the first in the file, though 3 was read first
    assert said.err == f"2 of 4 questions failed: {reason}\n"


def test_one_question_that_failed(model: AnsweringResponder, lines: Lines, capsys: Capture) -> None:
    assert kangae.main(["ask", "--file", lines({"question": "too long"})]) == 1
    assert capsys.readouterr().err.startswith("1 of 1 question failed: The prompt has 900")


def test_where_none_failed_nothing_is_told(model: AnsweringResponder, lines: Lines, capsys: Capture) -> None:
    assert kangae.main(["ask", "--file", lines({"question": "a"}, {"question": "b"})]) == 0
    assert capsys.readouterr().err == ""


# ids


@pytest.mark.parametrize(
    ("records", "told"),
    [
        ([{"id": "a", "question": "x"}, "", {"id": "b", "question": "y"}, {"id": "a", "question": "z"}],
         'Lines 1 and 4 share the id "a"; give each'),
        ([{"id": 7, "question": "x"}, {"id": 7, "question": "x"}], "Lines 1 and 2 share the id 7;"),
        ([{"id": "考え", "question": "x"}, {"id": "考え"}], 'Lines 1 and 2 share the id "考え";'),
        ([{"id": "2", "question": "x"}, {"question": "y"}],
         'Lines 1 and 2 share the id "2" (a line without an id is called by its number);'),
    ],
)  # fmt: skip
def test_lines_that_share_an_id_are_refused_before_any_work(
    model: AnsweringResponder, lines: Lines, capsys: Capture, records: list[object], told: str
) -> None:
    assert kangae.main(["ask", "--file", lines(*records)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and told in said.err and len(said.err.splitlines()) == 1
    assert not model.opened and not model.requests


def test_text_and_number_are_different_ids(model: AnsweringResponder, lines: Lines, capsys: Capture) -> None:
    path = lines({"id": 7, "question": "x"}, {"id": "7", "question": "x"}, "{", "{", {"question": "y"})
    assert kangae.main(["ask", "--file", path]) == 1
    assert [json.loads(line).get("id") for line in capsys.readouterr().out.splitlines()] == [7, "7", None, None, "5"]


# files that are no JSON lines


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("What is 47 * 8?", "Line 1 is not JSON but plain text; "),
        ("question,expected", "Line 1 is not JSON but plain text; "),
        ("{'question': 'x'}", "Line 1 is not JSON (Expecting property name"),
        ('{\n"question": "x"\n}', "at column 2; an object stands on one line); "),
        ('["x"]', "Line 1 is JSON, but no object; "),
        ("47", "Line 1 is JSON, but no object; "),
    ],
)
def test_what_a_line_should_be_is_shown(
    model: AnsweringResponder, lines: Lines, capsys: Capture, text: str, told: str
) -> None:
    assert kangae.main(["ask", "--file", lines(text)]) == 1
    said = capsys.readouterr()
    assert told in said.err and said.err.endswith(f"as {EXAMPLE}\n")
    assert json.loads(said.out.splitlines()[0])["error"]["exit"] == 2
    assert not model.opened


def test_an_empty_file_shows_what_a_line_is(model: AnsweringResponder, lines: Lines, capsys: Capture) -> None:
    assert kangae.main(["ask", "--file", lines("")]) == 2
    assert capsys.readouterr().err.endswith(f"as {EXAMPLE}\n")


def test_the_line_that_is_shown_is_a_good_one() -> None:
    problem = parse_problem(EXAMPLE, 3)
    assert (problem.id, problem.question) == ("1", "What is 47 * 8?")

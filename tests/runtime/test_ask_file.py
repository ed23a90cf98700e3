"""`kangae ask --file`: lines in order, what fails, shared ids, and files that hold no JSON lines."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from typing import Any

import pytest

import kangae
from models.errors import UsageError
from runtime.commands import ask_file
from runtime.problems import EXAMPLE, parse_problem
from runtime.store import Store
from tests.fakes.answering_responder import AnsweringResponder

Capture = pytest.CaptureFixture[str]
Lines = Callable[..., str]


# lines in order


def test_lines_come_in_order_with_errors_in_their_places(
    model: AnsweringResponder, lines: Lines, capsys: Capture
) -> None:
    path = lines(
        {"id": 1, "question": "a"},
        "{",
        "",
        {"id": "3", "question": "too long"},
        {"id": "x"},
        {"question": "b", "expected": "c"},
    )
    assert kangae.main(["ask", "--file", path, "--parallel", "2"]) == 1
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one.get("id") for one in found] == [1, None, "3", "x", "6"]
    assert [one.get("error", {}).get("exit") for one in found] == [None, 2, 7, 2, None]
    assert "Line 2 is not JSON" in found[1]["error"]["detail"]
    assert set(found[1]["error"]) == {"title", "detail", "exit", "line"}
    assert [one["error"]["line"] for one in found if "error" in one] == [2, 4, 5]
    assert found[4]["correct"] is False
    assert "correct" not in found[0]
    assert model.opened["sequences"] == 2


def test_a_file_without_a_good_line_opens_no_model(model: AnsweringResponder, lines: Lines, capsys: Capture) -> None:
    assert kangae.main(["ask", "--file", lines("nonsense")]) == 1
    assert model.opened == {}
    assert json.loads(capsys.readouterr().out)["error"]["exit"] == 2


def test_an_interrupted_file_gives_what_is_done(model: AnsweringResponder, lines: Lines, capsys: Capture) -> None:
    path = lines({"id": "a", "question": "a"}, {"id": "b", "question": "stop"}, {"id": "c", "question": "c"})
    assert kangae.main(["ask", "--file", path]) == 130
    assert [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == ["b", "c"]


def test_replies_that_were_told_are_kept_where_the_output_breaks_off(
    model: AnsweringResponder, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lines({"id": "a", "question": "a"}, {"id": "b", "question": "b"}, {"id": "c", "question": "c"})
    tell = ask_file._InOrder.tell

    def break_off(self: ask_file._InOrder, results: Any, *, gaps: bool = False) -> Any:
        if self._next == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return tell(self, results, gaps=gaps)

    monkeypatch.setattr(ask_file._InOrder, "tell", break_off)
    assert kangae.main(["ask", "--file", path]) == 9
    with Store.open() as store:
        (kept,) = store.conversations()
        assert [one.record["question"] for one in store.replies(kept.id)] == ["a", "b", "c"]


def test_help_says_that_files_give_json(capsys: Capture) -> None:
    assert kangae.main(["ask", "--help"]) == 0
    assert "with or without --json" in " ".join(capsys.readouterr().out.split())


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


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"id": 4, "question": ""}', 'Line 1: "question" is empty; give some text.'),
        ('{"id": 4, "question": " \\n"}', 'Line 1: "question" is empty; give some text.'),
        ('{"id": 4, "question": 5}', 'Line 1: "question" is no text; give it in quotes.'),
        ('{"id": 4}', 'Line 1 has no "question"; give it as text.'),
    ],
)
def test_what_is_wrong_with_a_question_is_told(line: str, told: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_problem(line, 1)
    assert error.value.detail == told


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
        ([{"id": "考え", "question": "x"}, {"id": "考え", "question": "x"}], 'Lines 1 and 2 share the id "考え";'),
        ([{"id": "2", "question": "x"}, {"question": "y"}],
         'Lines 1 and 2 share the id "2" (a line without an id is called by its number);'),
    ],
)  # fmt: skip
def test_a_line_that_shares_an_earlier_id_gives_an_error_in_its_place(
    model: AnsweringResponder, lines: Lines, capsys: Capture, records: list[object], told: str
) -> None:
    assert kangae.main(["ask", "--file", lines(*records, {"id": "end", "question": "z"})]) == 1
    said = capsys.readouterr()
    *good, shared, end = map(json.loads, said.out.splitlines())
    assert told in shared["error"]["detail"] and shared["error"]["exit"] == 2
    assert "id" not in shared  # what goes by the id finds the first line's reply alone
    assert shared["error"]["line"] == int(told.split()[3])
    assert [one["answer"] for one in (*good, end)] == [request.messages[-1].content for request in model.requests]
    assert end["id"] == "end" and told in said.err and len(said.err.splitlines()) == 1


def test_an_id_is_its_first_lines_even_where_that_is_bad(
    model: AnsweringResponder, lines: Lines, capsys: Capture
) -> None:
    path = lines({"id": "a"}, {"id": "a", "question": "x"}, {"id": "b", "question": "y"}, {"id": "b"})
    assert kangae.main(["ask", "--file", path]) == 1
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one.get("id") for one in found] == ["a", None, "b", None]
    assert [one.get("error", {}).get("line") for one in found] == [1, 2, None, 4]
    assert "Lines 1 and 2 share" in found[1]["error"]["detail"]
    assert 'Line 4 has no "question"' in found[3]["error"]["detail"]  # what was wrong with it already comes first


def test_text_and_number_are_different_ids(model: AnsweringResponder, lines: Lines, capsys: Capture) -> None:
    path = lines({"id": 7, "question": "x"}, {"id": "7", "question": "x"}, "{", "{", {"question": "y"})
    assert kangae.main(["ask", "--file", path]) == 1
    assert [json.loads(line).get("id") for line in capsys.readouterr().out.splitlines()] == [7, "7", None, None, "5"]


def test_ids_keep_their_type(model: AnsweringResponder, lines: Lines, capsys: Capture) -> None:
    path = lines(
        {"id": 7, "question": "a"},
        {"id": 1.5, "question": "a"},
        {"id": "7", "question": "a"},
        '{"id": NaN, "question": "a"}',
        {"id": True, "question": "a"},
        {"id": 8},
        {"id": 9, "question": "too long"},
    )
    assert kangae.main(["ask", "--file", path]) == 1
    found = [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()]
    assert [(type(one), one) for one in found] == [
        (int, 7), (float, 1.5), (str, "7"), (str, "4"), (str, "5"), (int, 8), (int, 9)
    ]  # fmt: skip


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

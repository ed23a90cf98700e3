"""`bench budget` on a fake model whose right answers depend on how long it may think."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import kangae
from models.errors import InternalError, ResourceError
from runtime import opening
from runtime.events import Done, Event
from runtime.request import Request
from runtime.responder import Control
from tests.fakes.answering_responder import AnsweringResponder, Said, needs_two_words

pytestmark = pytest.mark.usefixtures("thoughtful")


FIELDS = [
    "method", "budget", "n", "accuracy", "ci", "tokens_per_correct", "seconds_per_correct", "overshoot_max",
    "completion", "leaks", "lost_correct", "closes",
]  # fmt: skip


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
    first, second, _ = capsys.readouterr().out.split("\n\n")
    assert [line.split()[0] for line in first.splitlines()] == ["BUDGET", "off", "2"]
    assert second.splitlines()[0].split() == ["SKILL", "N", "off", "2"]


def test_the_table_explains_its_headers_and_methods(
    model: AnsweringResponder, problems: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "budget", "--problems", problems, "--budgets", "2", "--method", "soft,votes:3"]
    assert kangae.main(words) == 0
    *tables, key = capsys.readouterr().out.split("\n\n")
    explained = {line.split("  ")[0] for line in key.splitlines()}
    headers = {name for table in tables for name in re.split(r"  +", table.splitlines()[0].strip())}
    assert headers - explained == {"N", "ACCURACY"}  # which say it themselves
    # `soft` is told by `message`, so that is told as well; what was not asked for is not
    assert explained - headers == {"message", "soft", "votes:3"}
    assert kangae.main([*words, "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


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


def test_one_problem_that_cannot_be_met_does_not_lose_the_others(
    model: AnsweringResponder, problems: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def rule(request: Request, allowed: int) -> Said:
        question = request.messages[-1].content
        return Said("", question.split()[-1]) if question == "too long" else needs_two_words(request, allowed)

    model.rule = rule
    path = Path(problems)
    path.write_text(path.read_text() + json.dumps({"id": "long", "question": "too long", "expected": "long"}) + "\n")
    words = ["bench", "budget", "--problems", problems, "--budgets", "off,unlimited"]
    assert kangae.main([*words, "--json"]) == 0
    off, free = json.loads(capsys.readouterr().out)["rows"]
    assert (free["n"], free["accuracy"], free["unanswered"], free["completion"]) == (5, 0.8, 1, 0.8)
    assert free["closes"] == {"natural": 4, "budget": 0}
    assert (off["n"], off["unanswered"]) == (5, 1)
    assert kangae.main(words) == 0
    assert "UNANSWERED" in capsys.readouterr().out


def test_a_reply_that_failed_counts_as_not_answered_and_one_of_none_is_the_error(
    model: AnsweringResponder, monkeypatch: pytest.MonkeyPatch, problems: str, capsys: pytest.CaptureFixture[str]
) -> None:
    class Failing(AnsweringResponder):
        broken: tuple[str, ...] = ("hard 2",)

        def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
            for event in super().respond_many(requests, control):
                if isinstance(event, Done) and event.reply.question in self.broken:
                    event = replace(event, reply=replace(event.reply, finish="error", flags=("The engine failed",)))
                yield event

    failing = Failing(needs_two_words)
    monkeypatch.setattr(opening, "open_model", lambda name, **options: failing)
    words = ["bench", "budget", "--problems", problems, "--budgets", "2", "--json"]
    assert kangae.main(words) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["accuracy"], row["unanswered"]) == (0.75, 1)
    failing.broken = ("easy 0", "hard 1", "hard 2", "hard 3")
    assert kangae.main(words) == InternalError.exit_code


def test_what_was_measured_before_an_error_is_told_with_it(
    model: AnsweringResponder, monkeypatch: pytest.MonkeyPatch, problems: str, capsys: pytest.CaptureFixture[str]
) -> None:
    class Filling(AnsweringResponder):
        def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
            if requests[0].budget.tokens == 2:
                raise ResourceError("The memory is used up.")
            yield from super().respond_many(requests, control)

    monkeypatch.setattr(opening, "open_model", lambda name, **options: Filling(needs_two_words))
    words = ["bench", "budget", "--problems", problems, "--budgets", "unlimited,2,off"]
    assert kangae.main([*words, "--json"]) == ResourceError.exit_code
    found = json.loads(capsys.readouterr().out)
    assert [row["budget"] for row in found["rows"]] == [None]
    assert found["error"]["detail"] == "The memory is used up."
    assert kangae.main(words) == ResourceError.exit_code
    said = capsys.readouterr()
    assert "unlimited" in said.out and "The memory is used up." in said.err


def test_problems_that_were_not_begun_before_ctrl_c_are_no_fault(
    model: AnsweringResponder, monkeypatch: pytest.MonkeyPatch, problems: str, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted(AnsweringResponder):
        def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
            yield from super().respond_many(requests[:2], control)  # it came when these two were over

    monkeypatch.setattr(opening, "open_model", lambda name, **options: Interrupted(needs_two_words))
    assert kangae.main(["bench", "budget", "--problems", problems, "--budgets", "off", "--json"]) == 130
    assert json.loads(capsys.readouterr().out)["interrupted"]

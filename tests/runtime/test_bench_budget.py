"""`bench budget` and `bench continue` on a fake model whose right answers depend on how long it may think."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import kangae
from models.errors import InternalError, ResourceError, UsageError
from models.family import resolve_family
from runtime import opening
from runtime.answers.matching import is_correct
from runtime.backends.fake import IM_END, ByteVocabulary, FakeBackend
from runtime.bench.asking import Outcome
from runtime.bench.budget import bootstrap_interval, leaks, measure
from runtime.events import Done, Event
from runtime.ladder.rung import PLACES, rungs
from runtime.local_responder import LocalResponder
from runtime.problems import Problem
from runtime.reply import Usage
from runtime.request import Request
from runtime.responder import Control
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


class Sure(AnsweringResponder):
    """Is sure of each answer but those to the questions in `doubted`."""

    doubted: tuple[str, ...] = ()

    def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
        for event in super().respond_many(requests, control):
            if isinstance(event, Done):
                level = 0.3 if event.reply.question in self.doubted else 0.999
                event = replace(event, reply=replace(event.reply, confidence=level))
            yield event


@pytest.fixture
def sure(model: AnsweringResponder, monkeypatch: pytest.MonkeyPatch) -> Sure:
    responder = Sure(needs_two_words)

    def open_model(name: str, **options: object) -> AnsweringResponder:
        model.opened = options
        return responder

    monkeypatch.setattr(opening, "open_model", open_model)
    return responder


def test_auto_climbs_and_all_its_rungs_are_billed(
    model: AnsweringResponder, sure: Sure, problems: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "budget", "--problems", problems, "--budgets", "1,2,unlimited", "--method", "auto", "--json"]
    assert kangae.main(words) == 0
    rows = {row["budget"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert {row["method"] for row in rows.values()} == {"auto"}
    # nothing computes these answers again, and a model so small knows little without a thought: each thinks at once
    assert [rows[budget]["accuracy"] for budget in (1, 2, None)] == [0.25, 1.0, 1.0]
    # bounded by a budget, three thoughts have to agree; one that closed by itself, and was sure, stands alone
    assert rows[1]["tokens_per_correct"] == 4 * 3 * (1 + 1)
    assert rows[2]["tokens_per_correct"] == 3 * (2 + 1)
    assert rows[None]["tokens_per_correct"] == 3 + 1
    assert all(row["overshoot_max"] == 0 for row in rows.values())
    assert rows[1]["lost_correct"] == 0.75
    assert model.opened["sequences"] == 8


def test_flags_are_held_against_the_right_answers(
    sure: Sure, problems: str, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn: list[str] = []

    def rule(request: Request, allowed: int) -> Said:
        number = request.messages[-1].content.split()[-1]
        drawn.append(number)
        # the votes on 1 never agree; 2 is wrong and sure; 3 is doubted, and five thoughts say three things
        answers = {"1": str(len(drawn) * 7), "2": "wrong", "3": "3" if drawn.count("3") < 3 else str(len(drawn) * 7)}
        return Said("so", answers.get(number, number))

    sure.rule, sure.doubted = rule, ("hard 1", "hard 3")
    words = ["bench", "budget", "--problems", problems, "--budgets", "unlimited", "--method", "auto,message"]
    assert kangae.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    auto, message = found["rows"]
    assert (auto["flagged"], auto["flag_precision"], auto["false_accept"]) == (2, 0.5, 0.5)
    assert auto["flag_reasons"] == {"unsure: 1 of 5 thoughts agree": 1, "unsure: 2 of 5 thoughts agree": 1}
    assert "flagged" not in message
    assert [(one["id"], one["correct"]) for one in found["flagged"]] == [("p1", False), ("p3", True)]
    assert found["flagged"][0]["flags"][0].startswith("unsure: 1 of 5")
    drawn.clear()
    assert kangae.main(words) == 0
    told = capsys.readouterr().out
    assert "FALSE ACCEPT" in told and "unsure: 1 of 5 thoughts agree (1)" in told and "share of the others" in told


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


def test_trial_answers_that_cannot_be_tried_are_refused_and_not_measured_as_something_else(
    model: AnsweringResponder, monkeypatch: pytest.MonkeyPatch, problems: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ByteVocabulary()

    def silent(ids: tuple[int, ...]) -> Sequence[int]:
        return (IM_END,) if words.text(ids).endswith("3") else (ord("3"),)

    def open_model(name: str, **options: object) -> LocalResponder:
        backend = FakeBackend(silent, words, can_fork=False)
        return LocalResponder(backend, resolve_family({}, backend.facts.chat_template), spare=1)

    monkeypatch.setattr(opening, "open_model", open_model)
    asked = ["bench", "budget", "--problems", problems, "--budgets", "off,8", "--json", "--method"]
    assert kangae.main([*asked, "message,probe"]) == 7
    told = json.loads(capsys.readouterr().out)["error"]["detail"]
    assert "cannot fork" in told and "--method" in told
    too_long = json.dumps({"id": "first", "question": "long " * 1000, "expected": "1"})
    Path(problems).write_text(too_long + "\n" + Path(problems).read_text())  # one that cannot be met tells nothing
    assert kangae.main([*asked, "message,probe"]) == 7
    told = json.loads(capsys.readouterr().out)["error"]["detail"]
    assert "cannot fork" in told and "--method" in told
    assert kangae.main([*asked, "message"]) == 0


def test_problems_that_were_not_begun_before_ctrl_c_are_no_fault(
    model: AnsweringResponder, monkeypatch: pytest.MonkeyPatch, problems: str, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted(AnsweringResponder):
        def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
            yield from super().respond_many(requests[:2], control)  # it came when these two were over

    monkeypatch.setattr(opening, "open_model", lambda name, **options: Interrupted(needs_two_words))
    assert kangae.main(["bench", "budget", "--problems", problems, "--budgets", "off", "--json"]) == 130
    assert json.loads(capsys.readouterr().out)["interrupted"]


def test_a_first_problem_that_cannot_be_met_leaves_trial_answers_to_the_others(
    model: AnsweringResponder, problems: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(problems)
    file.write_text(json.dumps({"id": "first", "question": "too long", "expected": "1"}) + "\n" + file.read_text())
    model.rule = lambda request, allowed: Said("so", request.messages[-1].content.split()[-1])
    words = ["bench", "budget", "--problems", problems, "--budgets", "8", "--method", "probe", "--json"]
    assert kangae.main(words) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["n"], row["unanswered"], row["accuracy"]) == (5, 1, 0.8)


def test_the_ladder_takes_the_places_of_the_thoughts_that_it_draws_at_once(
    model: AnsweringResponder, problems: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "budget", "--problems", problems, "--budgets", "2", "--method", "auto", "--parallel", "1"]
    assert kangae.main([*words, "--json"]) == 0
    assert model.opened["sequences"] == PLACES == max(rung.thoughts for rung in rungs(FACTS))
    assert kangae.main([*words, "--json", "--limit", "1", "--parallel", "64"]) == 0
    assert model.opened["sequences"] == PLACES


def test_auto_without_a_thought_is_not_taken_for_the_other_methods(
    model: AnsweringResponder, problems: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "budget", "--problems", problems, "--budgets", "off", "--method", "message,cut,auto", "--json"]
    assert kangae.main(words) == 0
    message, cut, auto = json.loads(capsys.readouterr().out)["rows"]
    assert message["tokens_per_correct"] == cut["tokens_per_correct"] == 4
    assert auto["tokens_per_correct"] == 4 * 3  # three votes without a thought must confirm it
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

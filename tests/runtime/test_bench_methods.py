"""`bench budget --method`: trial answers, votes and the ladder on a fake model, and what their flags are worth."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import kangae
from models.family import resolve_family
from runtime import opening
from runtime.backends.fake import IM_END, ByteVocabulary, FakeBackend
from runtime.bench.asking import Asking, Run
from runtime.events import Done, Event
from runtime.ladder.rung import PLACES, rungs
from runtime.local_responder import LocalResponder
from runtime.request import Request
from runtime.responder import Control
from tests.fakes.answering_responder import FACTS, AnsweringResponder, Said, needs_two_words

pytestmark = pytest.mark.usefixtures("thoughtful")


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


def test_auto_without_a_thought_is_not_taken_for_the_other_methods(
    model: AnsweringResponder, problems: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "budget", "--problems", problems, "--budgets", "off", "--method", "message,cut,auto", "--json"]
    assert kangae.main(words) == 0
    message, cut, auto = json.loads(capsys.readouterr().out)["rows"]
    assert message["tokens_per_correct"] == cut["tokens_per_correct"] == 4
    assert auto["tokens_per_correct"] == 4 * 3  # three votes without a thought must confirm it
    assert auto["closes"]["off"] == 4


def test_the_ladder_takes_the_places_of_the_thoughts_that_it_draws_at_once(
    model: AnsweringResponder, problems: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "budget", "--problems", problems, "--budgets", "2", "--method", "auto", "--parallel", "1"]
    assert kangae.main([*words, "--json"]) == 0
    assert model.opened["sequences"] == PLACES == max(rung.thoughts for rung in rungs(FACTS))
    assert kangae.main([*words, "--json", "--limit", "1", "--parallel", "64"]) == 0
    assert model.opened["sequences"] == PLACES


@pytest.mark.parametrize(
    ("methods", "parallel", "places"),
    [
        ("votes:3", "2", 6),
        ("votes:3", "64", 12),
        ("message", "2", 2),
        ("message,votes:3,auto", "1", 3),
        ("votes:100", "9", 256),
    ],
)
def test_problems_at_once_have_places_for_all_their_thoughts(
    model: AnsweringResponder, problems: str, methods: str, parallel: str, places: int
) -> None:
    words = ["bench", "budget", "--problems", problems, "--budgets", "2", "--parallel", parallel, "--method", methods]
    assert kangae.main([*words, "--json"]) == 0
    assert model.opened["sequences"] == places


def test_more_votes_than_are_counted_are_no_method(
    model: AnsweringResponder, problems: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kangae.main(["bench", "budget", "--problems", problems, "--method", "votes:500"]) == 2
    assert "Give 256 or fewer" in capsys.readouterr().err and not model.opened


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


def test_votes_take_seeds_of_their_own(
    model: AnsweringResponder, problems: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "budget", "--problems", problems, "--budgets", "2", "--limit", "1", "--seeds", "3", "--json"]
    assert kangae.main([*words, "--method", "votes:2"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["n"] == 3
    seeds = sorted(request.sampling.seed for request in model.requests if request.sampling is not None)
    assert seeds == [0, 1, 2, 3, 4, 5]


def test_what_a_benchmark_holds_of_votes_is_what_it_measures(
    model: AnsweringResponder, monkeypatch: pytest.MonkeyPatch, problems: str
) -> None:
    runs: list[Run] = []
    ask = Asking.ask

    def noted(self: Asking, *given: Any, **options: Any) -> Run:
        runs.append(ask(self, *given, **options))
        return runs[-1]

    monkeypatch.setattr(Asking, "ask", noted)
    assert kangae.main(["bench", "budget", "--problems", problems, "--budgets", "2", "--method", "votes:3"]) == 0
    replies = [one.reply for run in runs for one in run.outcomes]
    assert [len(reply.votes) for reply in replies] == [3] * 4
    assert all(reply.thinking and not vote.thinking for reply in replies for vote in reply.votes)
    assert {vote.thinking_tokens for reply in replies for vote in reply.votes} == {2}


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

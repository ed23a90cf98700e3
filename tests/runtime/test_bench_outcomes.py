"""What outcomes under a budget come to: intervals over problems, the bill of tokens, what was lost, leaks."""

from __future__ import annotations

from dataclasses import replace

from models.family import resolve_family
from runtime.bench.asking import Outcome
from runtime.bench.budget import bootstrap_interval, leaks, measure
from runtime.problems import Problem
from runtime.reply import Usage
from tests.fakes.answering_responder import FACTS
from tests.runtime.test_store import REPLY


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


def test_the_interval_narrows_with_more_problems() -> None:
    def width(count: int) -> float:
        outcomes = [Outcome(Problem(str(n), "q"), replace(REPLY, id=str(n)), n % 2 == 0) for n in range(count)]
        low, high = bootstrap_interval(outcomes)
        assert low <= 0.5 <= high
        return high - low

    assert width(400) < width(20) < 1.0


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


def test_leaks() -> None:
    family = resolve_family(FACTS.metadata, FACTS.chat_template)
    assert leaks("", "a </think> b", family)
    assert leaks("", "Wait, no. Hmm, wait.", family)
    assert not leaks("Wait. Wait. Wait.", "Wait for the bus.", family)

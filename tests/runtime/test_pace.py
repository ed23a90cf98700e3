"""A deadline in tokens: what is kept for the answer, how the pace follows a burden, what cannot be met."""

from __future__ import annotations

import pytest

from runtime.pace import Deadline, Pace, Speed


def run(pace: Pace, steps: list[float], start: float = 0.0) -> float:
    now = start
    for step in steps:
        now += step
        pace.drew(now)
    return now


def test_the_pace_of_equal_steps_is_the_step() -> None:
    pace = Pace()
    pace.begin(0.0)
    run(pace, [0.1] * 20)
    assert pace.step == pytest.approx(0.1)


def test_a_burden_is_followed_at_once_and_forgotten_slowly() -> None:
    pace = Pace(0.1)
    pace.begin(0.0)
    now = run(pace, [0.1] * 10)
    now = run(pace, [0.3] * 4, now)
    assert pace.step > 0.25
    run(pace, [0.1] * 2, now)
    assert pace.step > 0.13


def test_before_the_first_token_the_expectation_counts() -> None:
    pace = Pace(0.2)
    assert pace.step == 0.2
    pace.drew(5.0)  # nothing was begun: no interval is known
    assert pace.step == 0.2


def test_the_answer_gets_its_reserve_but_at_most_a_quarter_of_the_time() -> None:
    long, short = Deadline(100.0, reserve=64), Deadline(4.0, reserve=512)
    assert long.answer_seconds(0.1, 0.0) == pytest.approx(65 * 0.1 * 1.15 + 0.03)
    assert short.answer_seconds(0.1, 0.0) == pytest.approx(11 * 0.1 * 1.15 + 0.03)
    assert short.thinking_left(1.0, 0.1, 0.0) == pytest.approx(4.0 - 1.0 - 1.295)


def test_a_late_token_is_not_drawn() -> None:
    deadline = Deadline(2.0, reserve=8)
    assert not deadline.over(1.0, 0.1)
    assert deadline.over(1.9, 0.1)


def test_what_cannot_be_met_says_what_could() -> None:
    speed = Speed(prefill_tps=200.0, decode_tps=20.0)
    assert speed.least_seconds(1000, 0) > 5.0
    fits = speed.within(2.0, 0)
    assert 0 < fits < 400
    assert speed.least_seconds(fits, 0) <= 2.0
    assert speed.within(0.1, 0) == 0

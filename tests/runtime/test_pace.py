"""A deadline in tokens: what is kept for the answer, how the pace follows a burden, what cannot be met."""

from __future__ import annotations

import re

import pytest

from models.errors import CannotMeetError
from runtime.pace import Deadline, Pace, PrefillPace, Speed, require_time
from runtime.turn.clock import TurnClock


def run(pace: Pace, steps: list[float], start: float = 0.0) -> float:
    now = start
    for step in steps:
        now += step
        pace.drew(now)
    return now


def test_the_pace_of_equal_steps_is_the_step() -> None:
    pace = Pace()
    pace.begin()
    run(pace, [0.1] * 20)
    assert pace.step == pytest.approx(0.1)


def test_a_burden_is_followed_at_once_and_forgotten_slowly() -> None:
    pace = Pace(0.1)
    pace.begin()
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


def test_the_first_draw_is_no_step() -> None:
    pace = Pace(0.1)
    pace.begin()
    pace.drew(5.0)  # its logits came with the prompt's
    assert pace.step == 0.1
    pace.drew(5.2)
    assert pace.step == pytest.approx(0.1 + 0.35 * 0.1)


def test_too_few_steps_tell_no_speed() -> None:
    pace = Pace()
    pace.begin()
    now = run(pace, [0.0, *[0.1] * 7])
    assert pace.tps is None
    pace.drew(now + 0.1)
    assert pace.tps == pytest.approx(10.0)
    pace.begin()  # a pause of any length is no step
    run(pace, [50.0, 0.1], now)
    assert pace.tps == pytest.approx(10.0)


def test_a_prefill_tells_its_rate_and_what_is_left() -> None:
    prefill = PrefillPace()
    prefill.told(1.0, 20, 220)
    prefill.told(3.0, 50, 220)
    assert (prefill.tps, prefill.seconds_left) == (None, 0.0)  # one batch, which may have read the file
    prefill.told(4.0, 120, 220)
    assert prefill.tps == pytest.approx(100 / 3.0)
    assert prefill.seconds_left == pytest.approx(100 / 70.0)
    assert prefill.slowness(10.0) == 1.0
    assert prefill.slowness(100.0) == pytest.approx(3.0)
    assert prefill.slowness(1000.0) == 4.0


def test_a_prompt_that_begins_anew_is_timed_anew() -> None:
    prefill = PrefillPace()
    for now, done in ((0.0, 0), (1.0, 64), (2.0, 128), (9.0, 0), (10.0, 40)):
        prefill.told(now, done, 200)
    assert prefill.tps == pytest.approx(40.0)


@pytest.mark.parametrize(("seconds", "step"), [(0.5, 0.1), (1.0, 0.1), (2.5, 0.25), (60.0, 0.4)])
def test_a_slow_prefill_tells_of_slow_draws(seconds: float, step: float) -> None:
    now = 0.0
    clock = TurnClock(lambda: now, speed=Speed(prefill_tps=100.0, decode_tps=10.0))
    clock.progressed(0, 100)
    now = seconds
    clock.progressed(100, 100)
    assert clock.step == pytest.approx(step)


def test_a_trial_has_to_fit_before_the_answers_time() -> None:
    deadline = Deadline(10.0, reserve=8)
    left = deadline.thinking_left(5.0, 0.1, 0.0)
    fits = int(left / (0.1 * 1.15)) - 2
    assert deadline.holds(fits, 0, 5.0, 0.1, 0.0)
    assert not deadline.holds(fits + 3, 0, 5.0, 0.1, 0.0)
    assert not deadline.holds(fits, 10, 5.0, 0.1, 0.0)


def test_time_that_is_gone_and_ids_that_are_held_count() -> None:
    speed = Speed(prefill_tps=100.0, decode_tps=20.0)
    require_time(2.0, 100, 0, speed)
    with pytest.raises(
        CannotMeetError, match=r"within 2 s .* needs 2\.8 s \(1\.2 s that are gone, 1 s for 100 tokens of"
    ):
        require_time(2.0, 100, 0, speed, spent=1.2)
    with pytest.raises(CannotMeetError, match="shorten the prompt of 4000 tokens to about"):
        require_time(2.0, 4000, 0, speed)
    require_time(2.0, 4000, 0, speed, held=3950)


def test_a_pause_in_the_prefill_is_no_part_of_it() -> None:
    pace = PrefillPace()
    pace.told(0.0, 0, 192)
    pace.told(1.0, 64, 192)
    pace.stood_still()
    pace.told(61.0, 128, 192)
    assert pace.tps == pytest.approx(64.0)
    pace.told(62.0, 192, 192)
    assert pace.tps == pytest.approx(64.0)


@pytest.mark.parametrize(
    ("seconds", "prompt", "spent"),
    [(0.1, 24, 0.06), (0.1, 24, 0.0517), (0.01, 0, 0.0), (0.0483, 24, 0.0), (2.0, 4000, 1.5), (30.0, 100_000, 0.1)],
)
def test_a_refused_deadline_is_told_what_it_lacks_and_what_would_be_kept(
    seconds: float, prompt: int, spent: float
) -> None:
    speed = Speed(prefill_tps=3000.0, decode_tps=1000.0)
    with pytest.raises(CannotMeetError) as refused:
        require_time(seconds, prompt, 0, speed, spent=spent)
    told = refused.value.detail
    (needed,) = re.findall(r"needs ([0-9.]+) s", told)
    assert float(needed) > seconds  # what was needed never looks like what was given
    (parts,) = re.findall(r"\((.*)\)", told)
    assert sum(map(float, re.findall(r"([0-9.]+) s ", parts))) == pytest.approx(float(needed), rel=0.2)
    assert ("that are gone" in parts) == (spent > 0.0) and ("of prompt" in parts) == (prompt > 0)
    assert "for the least answer" in parts and "in reserve" in parts
    (advised,) = re.findall(r"Give --deadline ([0-9.]+) or more", told)
    require_time(float(advised), prompt, 0, speed, spent=spent)
    assert float(advised) < 2.0 * float(needed) + 1.0

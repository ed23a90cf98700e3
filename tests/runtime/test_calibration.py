"""The rules by which a model's profile is chosen, over made-up runs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.profile.calibration import (
    LEAST_PROBLEMS,
    Sample,
    budgets_to_try,
    choose_closing,
    choose_efforts,
    choose_exit,
    choose_exits,
    choose_least,
    choose_reserve,
    difference_interval,
    half_budget,
    natural_lengths,
    rising,
)
from runtime.profile.profile import EffortTokens

N = 40


def sample(
    right: int,
    *,
    tokens: int | Sequence[int] = 100,
    thinking: Sequence[int] = (80,) * N,
    answer: Sequence[int] = (5,) * N,
    natural: bool = True,
    whole: bool = True,
    n: int = N,
) -> Sample:
    """The first `right` of n problems are right."""
    return Sample(
        correct=tuple(number < right for number in range(n)),
        tokens=(tokens,) * n if isinstance(tokens, int) else tuple(tokens),
        thinking=tuple(thinking[:n]),
        answer=tuple(answer[:n]),
        natural=(natural,) * n,
        whole=(whole,) * n,
    )


def test_the_interval_is_that_of_pairs() -> None:
    assert difference_interval([1, 0] * 20, [1, 0] * 20) == (0.0, 0.0)
    low, high = difference_interval([1.0] * 20, [1.0] * 15 + [0.0] * 5)
    assert 0.0 < low < 0.25 < high
    wide, wider = difference_interval([1.0] * 20, [1.0] * 15 + [0.0] * 5, level=0.99)
    assert wide <= low and high <= wider


def test_natural_lengths_are_of_thoughts_that_ended_by_themselves() -> None:
    mixed = Sample((True,) * 4, (9,) * 4, (30, 0, 500, 10), (1,) * 4, (True, True, False, True), (True,) * 4)
    assert natural_lengths(mixed) == [10, 30]
    assert natural_lengths(sample(N, natural=False)) == [80] * N
    assert natural_lengths(sample(N, thinking=(0,) * N)) == []


def test_budgets_lie_around_the_natural_length() -> None:
    spread = sample(N, thinking=[60, 80, 100, 400] * 10)
    assert half_budget(spread) == 48
    assert budgets_to_try(spread, 10_000) == [24, 48, 72, 96, 136, 184]
    assert budgets_to_try(spread, 100) == [24, 48, 72, 96]
    assert budgets_to_try(sample(N), 10_000) == [24, 40, 64]  # as long as the longest thought, one binds none
    assert half_budget(sample(N, thinking=(2,) * N)) == 8


def test_the_least_thought_scales_with_the_model() -> None:
    assert choose_least(sample(N)) == 20
    assert choose_least(sample(N, thinking=(12,) * N)) == 8
    assert choose_least(sample(N, thinking=(9000,) * N)) == 256


def test_the_reserve_is_twice_the_longest_answer() -> None:
    long = sample(N, answer=[5] * (N - 1) + [150])
    assert choose_reserve(long, 8192).value == 304
    assert choose_reserve(long, 800).value == 200
    assert choose_reserve(sample(N), 8192).value == 64
    cut = choose_reserve(sample(N, whole=False), 8192)
    assert cut.value is None and "did not end" in cut.reason


def test_another_closing_message_has_to_be_surely_better() -> None:
    own = sample(20)
    assert choose_closing(own, {}).value is None
    lucky = choose_closing(own, {"a": sample(22), "b": sample(19)})
    assert lucky.value is None and "surely" in lucky.reason
    assert choose_closing(own, {"a": sample(32), "b": sample(36), "c": sample(10)}).value == "b"


def test_more_candidates_need_more_evidence() -> None:
    own, better = sample(20), sample(24)
    assert choose_closing(own, {"a": better}).value == "a"
    assert choose_closing(own, {"a": better} | {str(number): own for number in range(9)}).value is None


def test_the_exit_of_fewest_tokens_that_keeps_what_is_right() -> None:
    free = sample(36)
    tried = {0.8: sample(30, tokens=40), 0.9: sample(36, tokens=60), 0.95: sample(37, tokens=80)}
    assert choose_exit(free, tried).value == 0.9
    assert choose_exit(free, {0.9: sample(36, tokens=60), 0.8: sample(36, tokens=60)}).value == 0.8
    assert choose_exit(free, {(0.9, 1): sample(20, tokens=9), (0.95, 2): sample(36, tokens=60)}).value == (0.95, 2)


def test_an_exit_stays_off_where_nothing_speaks_for_it() -> None:
    free = sample(36)
    loses = choose_exit(free, {0.8: sample(35, tokens=10)})
    assert loses.value is None and "99%" in loses.reason
    saves_nothing = choose_exit(free, {0.8: sample(36, tokens=[60, 140] * (N // 2))})
    assert saves_nothing.value is None and "not surely save" in saves_nothing.reason
    few = LEAST_PROBLEMS - 1
    unsure = choose_exit(sample(few, n=few), {0.8: sample(few, n=few, tokens=10)})
    assert unsure.value is None and "cannot tell" in unsure.reason
    hopeless = choose_exit(sample(0), {0.8: sample(0, tokens=10)})
    assert hopeless.value is None and "nothing is right" in hopeless.reason


def test_two_exits_stay_together_only_where_that_is_better() -> None:
    free, probe, soft = sample(36), sample(36, tokens=50), sample(36, tokens=60)
    assert choose_exits(free, probe, soft, sample(36, tokens=40)).value == "both"
    assert choose_exits(free, probe, soft, sample(36, tokens=50)).value == "probe"
    assert choose_exits(free, soft, probe, sample(30, tokens=10)).value == "soft"


def test_efforts_are_the_least_budgets_that_reach_their_shares() -> None:
    off, free = sample(0), sample(40)
    tried = {16: sample(20), 32: sample(26), 64: sample(37), 128: sample(40)}
    assert choose_efforts(off, tried, free).value == EffortTokens(32, 64, 128)
    # a gain of 20 over 10: 60 % is 22, 90 % is 28, 99 % more than 29
    tried = {16: sample(22), 32: sample(28), 64: sample(29)}
    assert choose_efforts(sample(10), tried, sample(30)).value == EffortTokens(16, 32, None)


def test_what_no_budget_reaches_is_the_longest_natural_thought_or_unlimited() -> None:
    free = sample(40, thinking=[60] * (N - 1) + [201])
    assert choose_efforts(sample(0), {16: sample(5)}, free).value == EffortTokens(208, 208, None)
    assert choose_efforts(sample(0), {}, free).value == EffortTokens(208, 208, None)


def test_a_lucky_small_budget_is_not_believed() -> None:
    tried = {16: sample(30), 32: sample(14), 64: sample(40)}  # 30 and 14 are read as 22 each: 55 % of the gain
    assert choose_efforts(sample(0), tried, sample(40)).value == EffortTokens(64, 64, 64)


@pytest.mark.parametrize("free", [sample(20), sample(21), sample(15)])
def test_efforts_stay_where_thinking_does_not_surely_help(free: Sample) -> None:
    choice = choose_efforts(sample(20), {16: sample(20)}, free)
    assert choice.value is None and "not surely better" in choice.reason


@given(st.lists(st.integers(0, N), max_size=6), st.integers(10, N))
def test_efforts_never_fall(right: list[int], best: int) -> None:
    tried = {16 * (place + 1): sample(count) for place, count in enumerate(right)}
    efforts = choose_efforts(sample(0), tried, sample(best)).value
    assert efforts is not None  # whose own check refuses efforts that fall
    assert efforts.low is not None and efforts.medium is not None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_the_rising_values_are_the_nearest(values: list[float]) -> None:
    found = rising(values)
    assert len(found) == len(values) and sum(found) == pytest.approx(sum(values))
    assert all(one <= other for one, other in pairwise(found))
    if sorted(values) == values:
        assert found == values

"""The rules by which a model's profile is chosen, over made-up runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.ladder.rung import SURE
from runtime.profile.calibration import (
    LEAST_PROBLEMS,
    Sample,
    budgets_to_try,
    choose_boundary,
    choose_closing,
    choose_efforts,
    choose_exit,
    choose_exits,
    choose_least,
    choose_ramp,
    choose_reserve,
    choose_rungs,
    choose_sure,
    difference_interval,
    half_budget,
    natural_lengths,
    rising,
)
from runtime.profile.profile import EffortTokens
from runtime.votes import same_text

N = 40
FEW = LEAST_PROBLEMS - 1


def sample(
    right: int,
    *,
    tokens: int | Sequence[int] = 100,
    thinking: Sequence[int] = (80,) * N,
    answer: Sequence[int] = (5,) * N,
    natural: bool = True,
    whole: bool = True,
    n: int = N,
    sure: Sequence[float] = (0.5,) * N,
    wrong: str = "?",
) -> Sample:
    """The first `right` of n problems are right, whose answers are their numbers; the others say `wrong` and theirs."""
    return Sample(
        correct=tuple(number < right for number in range(n)),
        tokens=(tokens,) * n if isinstance(tokens, int) else tuple(tokens),
        thinking=tuple(thinking[:n]),
        answer=tuple(answer[:n]),
        natural=(natural,) * n,
        whole=(whole,) * n,
        early=(False,) * n,
        answers=tuple(str(number) if number < right else f"{wrong}{number}" for number in range(n)),
        confidence=tuple(sure[:n]),
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
    few = choose_reserve(sample(FEW, n=FEW), 8192)
    assert few.value is None and f"{FEW} problems cannot tell" in few.reason
    assert choose_reserve(sample(FEW + 1, n=FEW + 1), 8192).value == 64


def test_another_closing_message_has_to_be_surely_better() -> None:
    own = sample(20)
    assert choose_closing(own, {}).value is None
    lucky = choose_closing(own, {"a": sample(22), "b": sample(19)})
    assert lucky.value is None and "surely" in lucky.reason
    assert choose_closing(own, {"a": sample(32), "b": sample(36), "c": sample(10)}).value == "b"
    few = choose_closing(sample(0, n=FEW), {"a": sample(FEW, n=FEW)})
    assert few.value is None and "cannot tell" in few.reason


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
    unsure = choose_exit(sample(FEW, n=FEW), {0.8: sample(FEW, n=FEW, tokens=10)})
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


def test_efforts_that_came_out_the_same_are_told() -> None:
    alike = choose_efforts(sample(0), {64: sample(40)}, sample(40))
    assert alike.reason.endswith("; 40 problems do not tell low, medium and high apart")
    some = choose_efforts(sample(0), {16: sample(30), 64: sample(40)}, sample(40))
    assert some.value == EffortTokens(16, 64, 64)
    assert some.reason.endswith("; 40 problems do not tell medium and high apart")
    apart = choose_efforts(sample(0), {16: sample(30), 64: sample(37), 128: sample(40)}, sample(40))
    assert apart.value == EffortTokens(16, 64, 128) and "apart" not in apart.reason


def test_few_problems_choose_no_efforts() -> None:
    few = choose_efforts(sample(0, n=FEW), {16: sample(FEW, n=FEW)}, sample(FEW, n=FEW))
    assert few.value is None and f"{FEW} problems cannot tell" in few.reason
    enough = choose_efforts(sample(0, n=FEW + 1), {16: sample(FEW + 1, n=FEW + 1)}, sample(FEW + 1, n=FEW + 1))
    assert enough.value == EffortTokens(16, 16, 16)


def test_high_is_bounded_only_where_no_problem_is_surely_lost() -> None:
    off, free = sample(0), sample(36)
    other = replace(free, correct=(False, *(True,) * 36, *(False,) * 3))  # as many are right, but not the same ones
    luck = choose_efforts(off, {16: sample(30), 64: other}, free)
    assert luck.value == EffortTokens(16, 64, None) and "high stays unlimited" in luck.reason
    held = choose_efforts(off, {16: sample(30), 64: other, 128: free}, free)
    assert held.value == EffortTokens(16, 64, 128) and "unlimited, for" not in held.reason


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


def test_a_boundary_is_sought_unless_that_surely_loses_answers() -> None:
    own = sample(20)
    assert choose_boundary(own, sample(30)).value is False
    assert choose_boundary(own, sample(21)).value is None
    assert choose_boundary(own, sample(20, tokens=60)).value is None


def test_the_ramp_has_to_be_surely_better_or_cheaper() -> None:
    own = sample(20)
    assert choose_ramp(own, sample(30)).value is True
    assert choose_ramp(own, sample(20, tokens=60)).value is True
    assert choose_ramp(own, sample(19, tokens=60)).value is None
    assert choose_ramp(own, sample(21)).value is None


def test_answers_are_taken_from_the_confidence_that_tells_right_from_wrong() -> None:
    apart = sample(36, sure=[0.99] * 30 + [0.9] * 6 + [0.6] * 4)
    assert choose_sure(apart).value == 0.9  # with the last four, 36 of 40 would be right
    assert choose_sure(sample(N, sure=[0.7] * N)).value == 0.7
    assert choose_sure(sample(39, sure=[0.999] * N)).value == SURE  # nothing was seen of lower ones
    assert choose_sure(sample(N, sure=[0.2] * N)).value == 0.5
    mixed = sample(20, sure=[0.9] * N)
    assert choose_sure(mixed).value == 1.0 and "no confidence" in choose_sure(mixed).reason
    assert choose_sure(sample(9, n=9)).value is None
    assert choose_sure(sample(N, natural=False)).value is None  # none ended by itself


def test_low_rungs_are_kept_only_where_they_surely_save() -> None:
    long = sample(38, tokens=200, sure=[0.99] * N)
    useless = {"off": sample(1, tokens=4, natural=False), "short": sample(6, tokens=60, natural=False, wrong="!")}
    assert choose_rungs(useless, long, 0.95, same_text).value == ()
    knowing = {"off": sample(34, tokens=4, natural=False), "short": sample(37, tokens=60, natural=False, wrong="!")}
    chosen = choose_rungs(knowing, long, 0.95, same_text)
    assert chosen.value == ("off", "short") and "200.0" in chosen.reason
    # both say the same, and are wrong: that would lose what the long thought has right
    same = {"off": sample(20, tokens=4, natural=False), "short": sample(20, tokens=60, natural=False)}
    assert choose_rungs(same, long, 0.95, same_text).value == ()
    assert choose_rungs(knowing, sample(9, n=9), 0.95, same_text).value is None

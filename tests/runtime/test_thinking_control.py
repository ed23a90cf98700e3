"""When a thought ends and why, by the rules alone."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import CannotMeetError
from runtime.control.thinking_control import Limits, ThinkingControl, View, default_reserve, plan_limits
from runtime.phase import Outlook, Phase
from runtime.request import Budget


def thinking(tokens: int, tail: str = "word", **more: bool) -> View:
    return View(Phase.THINKING, thinking_tokens=tokens, tail=tail, **more)


def test_reserve_is_a_quarter_at_most_512() -> None:
    assert [default_reserve(context) for context in (400, 2048, 100_000)] == [100, 512, 512]


def test_without_a_budget_the_context_is_the_limit() -> None:
    limits = plan_limits(Budget(), prompt=100, context=2000, closing=20)
    assert limits == Limits(thinking=2000 - 100 - 500 - 20, reserve=500)


def test_budget_and_reserve_fit_the_context() -> None:
    assert plan_limits(Budget(tokens=50, answer_reserve=64, minimum=50), prompt=100, context=400, closing=20) == Limits(
        thinking=50, reserve=64, answer=64, minimum=50
    )
    assert plan_limits(Budget(tokens=5000), prompt=100, context=400, closing=20).thinking == 180
    assert plan_limits(Budget(tokens=0), prompt=300, context=400, closing=0) == Limits(thinking=0, reserve=100)


def test_no_room_names_the_numbers() -> None:
    with pytest.raises(
        CannotMeetError, match=r"390 of the context's 400 tokens, so 10 are left, but 124 are needed"
    ) as failure:
        plan_limits(Budget(), prompt=390, context=400, closing=20)
    assert failure.value.exit_code == 7
    with pytest.raises(CannotMeetError, match="so 0 are left"):
        plan_limits(Budget(tokens=0), prompt=500, context=400, closing=0)


def test_closes_at_a_boundary_in_the_window_and_cuts_at_the_end() -> None:
    limits = Limits(thinking=64, reserve=64)
    for tokens, tail, reason in (
        (47, "done. ", None),
        (48, "done. ", "budget"),
        (55, "done.", None),  # a name may go on
        (56, "done.", "budget"),
        (48, "word", None),
        (63, "word", None),
        (64, "word", "budget"),
    ):
        assert ThinkingControl(limits).decide(thinking(tokens, tail)).close == reason
    assert ThinkingControl(limits).decide(thinking(60, "done.", settled=False)).close is None
    large = ThinkingControl(Limits(thinking=1000, reserve=64))
    assert large.decide(thinking(967, "a.\n")).close is None
    assert large.decide(thinking(968, "a.\n")).close == "budget"


@given(budget=st.integers(1, 300), minimum=st.integers(0, 300), seed=st.integers(0, 2**32))
def test_the_budget_is_hard(budget: int, minimum: int, seed: int) -> None:
    tails = random.Random(seed).choices(["a", "b.", "\n"], [20, 1, 1], k=310)
    limits = plan_limits(Budget(tokens=budget, minimum=min(minimum, budget)), prompt=10, context=4000, closing=10)
    control = ThinkingControl(limits)
    tokens = next(count for count, tail in enumerate(tails) if control.decide(thinking(count, tail)).close)
    assert budget - min(32, budget // 4) <= tokens <= budget
    assert control.close == "budget"
    assert tokens >= min(minimum, budget)


def test_answer_now_closes_before_and_in_a_thought_but_not_after() -> None:
    limits = Limits(thinking=64, reserve=64)
    decision = ThinkingControl(limits).decide(thinking(3, wants_answer=True))
    assert (decision.close, decision.message) == ("user", True)
    decision = ThinkingControl(limits).decide(View(Phase.BEFORE, wants_answer=True))
    assert (decision.close, decision.message) == ("user", False)
    control = ThinkingControl(limits)
    assert control.decide(View(Phase.ANSWER, wants_answer=True)).close is None
    assert control.close == "natural"


def test_end_of_sequence_in_a_thought_owes_an_answer() -> None:
    control = ThinkingControl(Limits(thinking=64, reserve=64))
    decision = control.end_of_sequence(thinking(5))
    assert (decision.close, decision.message, decision.finish) == ("natural", False, None)
    empty = View(Phase.ANSWER, thinking_tokens=5)
    assert ThinkingControl(Limits(thinking=64, reserve=64)).ban_on_end(View(Phase.BEFORE)) == "end"
    assert control.ban_on_end(View(Phase.ANSWER, answer_tokens=4)) is None
    assert control.ban_on_end(empty) == "end"
    assert control.ban_on_end(View(Phase.ANSWER, thinking_tokens=5, has_answer=True)) is None
    assert control.end_of_sequence(empty).finish == "stop"
    assert control.close == "natural"


def test_minimum_bans_closer_and_end() -> None:
    control = ThinkingControl(Limits(thinking=64, reserve=64, minimum=10))
    assert control.ban(thinking(9), Outlook(closes=True)) == control.ban_on_end(thinking(9)) == "minimum"
    assert control.ban(thinking(9), Outlook()) is None
    assert control.ban(thinking(10), Outlook(closes=True)) is control.ban_on_end(thinking(10)) is None


def test_a_firm_minimum_is_refused_where_the_prompt_leaves_too_little() -> None:
    for minimum in (180, 181):
        assert plan_limits(Budget(minimum=minimum), prompt=100, context=400, closing=20).minimum == 180
    assert plan_limits(Budget(minimum=180, firm=True), prompt=100, context=400, closing=20).minimum == 180
    with pytest.raises(
        CannotMeetError, match=r"at least 181 tokens .* has 100 of the context's 400 .* so 180 are left"
    ):
        plan_limits(Budget(minimum=181, firm=True), prompt=100, context=400, closing=20)


def test_a_close_that_is_only_near_waits_for_a_hint() -> None:
    def close(tokens: int, *, hinted: bool, seconds: float | None = None, now: float = 0.0) -> str | None:
        budget = Budget(64 if seconds is None else None, seconds)
        control = ThinkingControl(plan_limits(budget, prompt=10, context=4000, closing=0))
        view = thinking(tokens, "done.\n", hinted=hinted)._replace(now=now, step=0.1)
        return control.decide(view).close

    assert (close(50, hinted=False), close(50, hinted=True)) == ("budget", None)
    assert close(64, hinted=True) == "budget"
    limits = plan_limits(Budget(seconds=20.0), prompt=10, context=4000, closing=0)
    assert limits.deadline is not None
    left = limits.deadline.thinking_left(0.0, 0.1, 0.0)
    near, last = left - 1.0, left - 0.05
    assert close(50, hinted=False, seconds=20.0, now=near) == "deadline"
    assert close(50, hinted=True, seconds=20.0, now=near) is None
    assert close(50, hinted=True, seconds=20.0, now=last) == "deadline"


def test_a_closed_thought_does_not_open_again() -> None:
    control = ThinkingControl(Limits(thinking=64, reserve=64))
    assert control.ban(View(Phase.BEFORE), Outlook(opens=True)) is None
    assert control.ban(View(Phase.BEFORE), Outlook(opens_again=True)) == "opener"
    control.decide(View(Phase.ANSWER))
    assert control.ban(View(Phase.ANSWER), Outlook(opens_again=True)) == "opener"
    off = ThinkingControl(Limits(thinking=0, reserve=64), off=True)
    assert off.close == "off"
    assert off.ban(View(Phase.BEFORE), Outlook(opens=True)) == "opener"


def test_answer_limit_ends_with_length() -> None:
    control = ThinkingControl(Limits(thinking=64, reserve=8, answer=8))
    assert control.decide(View(Phase.ANSWER, answer_tokens=7)).finish is None
    assert control.decide(View(Phase.ANSWER, answer_tokens=8)).finish == "length"
    assert control.decide(thinking(1)._replace(answer_tokens=8)).finish is None
    fresh = ThinkingControl(Limits(thinking=64, reserve=1, answer=1))
    assert fresh.decide(View(Phase.BEFORE, answer_tokens=1, opening=True)).finish is None
    assert fresh.decide(View(Phase.BEFORE, answer_tokens=1)).finish == "length"


def test_a_turn_that_is_ended_from_outside_has_a_reason() -> None:
    for view, finish, reason in (
        (thinking(5), "length", "budget"),
        (thinking(5), "cancelled", "user"),
        (View(Phase.BEFORE), "cancelled", "user"),
        (View(Phase.ANSWER), "length", "natural"),
        (View(Phase.BEFORE), "stop", "natural"),
    ):
        control = ThinkingControl(Limits(thinking=64, reserve=8))
        control.ended(view, finish, late=False)  # type: ignore[arg-type]
        assert control.close == reason


def test_the_first_reason_stays() -> None:
    control = ThinkingControl(Limits(thinking=4, reserve=8))
    control.decide(thinking(2, wants_answer=True))
    assert control.decide(thinking(4)).close == "budget"
    assert control.close == "user"


def test_a_deadline_keeps_no_more_time_than_answers_need() -> None:
    def timed(answer: int | None, **budget: int) -> tuple[int, int]:
        limits = plan_limits(Budget(seconds=9.0, **budget), prompt=10, context=4000, closing=10, answer=answer)  # type: ignore[arg-type]
        assert limits.deadline is not None
        return limits.reserve, limits.deadline.reserve

    assert timed(None) == (512, 512)
    assert timed(40) == (512, 40)
    assert timed(40, answer_reserve=30) == (30, 30)
    assert timed(40, expected_answer=100) == (100, 100)
    assert timed(4000) == (512, 512)


def test_how_long_a_turn_may_stand_still() -> None:
    control = ThinkingControl(plan_limits(Budget(seconds=9.0), prompt=10, context=4000, closing=10))
    still = thinking(5)._replace(now=1.0, step=0.1)
    patience = control.patience(still)
    assert 0.0 < patience < 8.0
    assert not control.must_close(still._replace(now=1.0 + patience - 0.01, tail="on"))
    assert control.must_close(still._replace(now=1.0 + patience + 0.01, tail="on"))
    assert control.patience(View(Phase.ANSWER, now=1.0, step=0.1)) == 8.0
    assert ThinkingControl(Limits(thinking=4, reserve=8)).patience(still) == float("inf")

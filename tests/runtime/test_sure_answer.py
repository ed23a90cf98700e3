"""A trial answer that was sure ends the thought, but not one that is shorter than it has to be."""

from __future__ import annotations

import pytest

from runtime.control.thinking_control import Limits, ThinkingControl, View, answer_is_sure
from runtime.phase import Phase

LIMITS = Limits(thinking=64, reserve=8, minimum=10)


@pytest.mark.parametrize(("tokens", "sure", "close"), [(9, True, None), (10, True, "probe"), (10, False, None)])
def test_a_sure_answer_waits_for_the_least_thought(tokens: int, sure: bool, close: str | None) -> None:
    view = View(Phase.THINKING, thinking_tokens=tokens, sure=sure)
    assert answer_is_sure(view, LIMITS) == close
    assert ThinkingControl(LIMITS).decide(view).close == close


def test_an_answer_that_is_being_given_is_not_closed() -> None:
    assert answer_is_sure(View(Phase.ANSWER, thinking_tokens=20, sure=True), LIMITS) is None

"""Pictures of the screens; `pytest --snapshot-update` draws them anew after a change that is meant."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.pilot import Pilot

import tui.app
import tui.turn_feed
from models.errors import CannotMeetError
from tests.fakes.scripted_responder import Script
from tests.tui.helpers import LARGE, NARROW, SMALL, app_of, ask, begin, gate, make_app, until

Compare = Callable[..., bool]
Steps = Callable[[Pilot[Any]], Awaitable[None]]

JAPANESE = Script(
    thinking=("24本が7箱。\n", "24*7", "=20*7+4*7\n", "=140+28\n", "=168\n", "検算：", "168/7=24。"),
    answer=("7箱では**168本**です。\n\n", "- 1箱：24本\n", "- 7箱：24 × 7 = 168本"),
)


@pytest.fixture(autouse=True)
def still_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tui.app, "monotonic", lambda: 3.2)
    monkeypatch.setattr(tui.turn_feed, "monotonic", lambda: 0.0)


async def _ready(pilot: Pilot[Any]) -> None:
    await until(pilot, lambda: app_of(pilot).ready)


@pytest.mark.parametrize("size", [SMALL, LARGE, NARROW], ids=["small", "large", "narrow"])
def test_welcome(snap_compare: Compare, size: tuple[int, int]) -> None:
    assert snap_compare(make_app(), terminal_size=size, run_before=_ready)


@pytest.mark.parametrize("size", [SMALL, NARROW], ids=["small", "narrow"])
def test_thinking(snap_compare: Compare, size: tuple[int, int]) -> None:
    hold = gate()

    async def steps(pilot: Pilot[Any]) -> None:
        turn = await begin(pilot, "1箱にボルトが24本入っています。7箱では何本ですか？")
        await until(pilot, lambda: turn.thought.tokens == 5)

    assert snap_compare(
        make_app(Script(JAPANESE.thinking, JAPANESE.answer, {5: hold}), budget=16), terminal_size=size, run_before=steps
    )
    hold.set()


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
def test_answered_with_the_thought_open(snap_compare: Compare, size: tuple[int, int]) -> None:
    async def steps(pilot: Pilot[Any]) -> None:
        await ask(pilot, "What is 12 + 30?")
        await ask(pilot, "1箱にボルトが24本入っています。7箱では何本ですか？")
        await pilot.press("ctrl+t")

    assert snap_compare(make_app(Script(), JAPANESE, budget=64), terminal_size=size, run_before=steps)


def test_without_colours(snap_compare: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def steps(pilot: Pilot[Any]) -> None:
        await ask(pilot, "What is 12 + 30?")

    assert snap_compare(make_app(budget=4), terminal_size=SMALL, run_before=steps)


def test_an_error(snap_compare: Compare) -> None:
    async def steps(pilot: Pilot[Any]) -> None:
        await ask(pilot, "A very long question")

    error = CannotMeetError("The prompt has 3000 of the context's 2048 tokens, so 0 are left, but 516 are needed.")
    assert snap_compare(make_app(Script(error=error)), terminal_size=SMALL, run_before=steps)


@pytest.mark.parametrize("size", [SMALL, NARROW], ids=["small", "narrow"])
def test_help(snap_compare: Compare, size: tuple[int, int]) -> None:
    assert snap_compare(make_app(), press=["f1"], terminal_size=size, run_before=_ready)


def test_a_deadline(snap_compare: Compare) -> None:
    hold = gate()

    async def steps(pilot: Pilot[Any]) -> None:
        turn = await begin(pilot, "What is 12 + 30?")
        await until(pilot, lambda: turn.thought.tokens == 3)

    app = make_app(Script(gates={3: hold}), budget=16, deadline=10.0)
    assert snap_compare(app, terminal_size=SMALL, run_before=steps)
    hold.set()

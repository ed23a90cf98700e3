"""A turn that fails, a model that cannot be opened, a deadline that comes: each is a sentence with a way out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import tui.app
import tui.turn_feed
from models.errors import CannotMeetError, InternalError, KangaeError, ModelError
from runtime.events import Event, Failed
from runtime.responder import Responder
from tests.fakes.scripted_responder import Script, ScriptedResponder
from tests.tui.helpers import (
    LARGE,
    NARROW,
    SMALL,
    BreakingResponder,
    LateResponder,
    app_of,
    ask,
    begin,
    gate,
    make_app,
    screen_text,
    until,
)
from tui.app import KangaeApp
from tui.note import Note


async def test_a_missing_model_is_a_sentence_and_the_next_question_tries_again() -> None:
    responders: list[Responder | KangaeError] = [
        ModelError("There is no model called x. See `kangae models list`."),
        ScriptedResponder(),
    ]

    def opener(_: Callable[[float], None]) -> Responder:
        result = responders.pop(0)
        if isinstance(result, KangaeError):
            raise result
        return result

    app = KangaeApp(opener, model_name="x")
    async with app.run_test(size=SMALL) as pilot:
        await until(pilot, lambda: bool(app.query(Note)))
        assert "Model missing or unreadable: There is no model called x." in screen_text(pilot)
        turn = await ask(pilot, "12 + 30?")
    assert turn.reply is not None


async def test_an_error_of_a_turn_is_a_sentence_with_a_way_out() -> None:
    error = CannotMeetError("The prompt has 3000 of the context's 2048 tokens.")
    async with make_app(Script(), Script(error=error), Script()).run_test(size=LARGE) as pilot:
        await ask(pilot, "first")
        turn = await ask(pilot, "long")
        text = screen_text(pilot)
        assert turn.error is error
        assert "Cannot be met: The prompt has 3000 of the context's 2048 tokens." in text
        assert "Ctrl+N begins a new, empty conversation." in text
        assert (await ask(pilot, "short")).reply is not None


async def test_a_fault_names_its_report(own_folders: Path) -> None:
    def fail() -> Event | None:
        raise ZeroDivisionError("a fault of ours")

    async with make_app(responder=BreakingResponder(2, fail)).run_test(size=LARGE) as pilot:
        turn = await ask(pilot, "first")
    (report,) = (own_folders / "state" / "reports").iterdir()
    assert isinstance(turn.error, InternalError)
    assert f"ZeroDivisionError: a fault of ours. The report is {report}" in turn.error.detail
    assert "command: chat" in report.read_text() and "ZeroDivisionError: a fault of ours" in report.read_text()


async def test_a_fault_of_opening_names_its_report(own_folders: Path) -> None:
    def opener(_: Callable[[float], None]) -> Responder:
        raise ZeroDivisionError("a fault of ours")

    app = KangaeApp(opener)
    async with app.run_test(size=LARGE) as pilot:
        await until(pilot, lambda: bool(app.query(Note)))
        assert "A fault in Kangae: ZeroDivisionError: a fault of ours. The report is" in screen_text(pilot)
    (report,) = (own_folders / "state" / "reports").iterdir()
    assert "Traceback" in report.read_text()


@pytest.mark.parametrize(
    ("size", "line"),
    [(SMALL, "▼ thinking 3.2 s, 6.8 s left · 3/64 tokens"), (NARROW, "▼ thinking 6.8 s left · 3/64 tokens")],
)
async def test_a_deadline_stands_beside_the_budget_and_runs_while_it_thinks(
    size: tuple[int, int], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tui.app, "monotonic", lambda: 3.2)
    monkeypatch.setattr(tui.turn_feed, "monotonic", lambda: 0.0)
    hold = gate()
    responder = LateResponder([Script(gates={3: hold})])
    async with make_app(budget=64, deadline=10.0, responder=responder).run_test(size=size) as pilot:
        assert "budget 64 tokens · ≤ 10 s" in screen_text(pilot)
        turn = await begin(pilot, "12 + 30?")
        await until(pilot, lambda: turn.thought.tokens == 3)
        assert line in screen_text(pilot)
        assert responder.requests[0].budget.seconds == 10.0
        hold.set()
        await until(pilot, lambda: not app_of(pilot).busy)
        text = screen_text(pilot)
    ended = "6/64 tokens · time was up" if size == SMALL else "6/64 · time was up"
    assert ended in text and "s left" not in text
    assert "The answer was cut: the time was up." in " ".join(text.split()) and "Flagged" not in text


@pytest.mark.parametrize("as_event", [False, True])
async def test_a_deadline_that_cannot_be_kept_is_a_sentence(as_event: bool) -> None:
    error = CannotMeetError("A reply within 1 s cannot be kept. Give --deadline 3 or more.")

    def refuse() -> Event | None:
        if as_event:
            return Failed(error)  # as `respond_many` tells it
        raise error

    responder = BreakingResponder(0, refuse)
    async with make_app(deadline=1.0, responder=responder).run_test(size=LARGE) as pilot:
        turn = await ask(pilot, "12 + 30?")
        text = screen_text(pilot)
        assert turn.error is error
        assert "Cannot be met: A reply within 1 s cannot be kept. Give --deadline 3 or more." in text
        assert "Ctrl+N" not in text  # there is nothing to leave out
        assert (await ask(pilot, "again")).reply is not None

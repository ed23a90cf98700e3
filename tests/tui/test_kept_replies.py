"""What is kept of turns: whole ones, stopped ones, and those that a crash broke off."""

from __future__ import annotations

from pathlib import Path

import pytest

import tui.app
from models.errors import InterruptedByUser
from runtime.events import Event
from runtime.worker.worker import WorkerError
from tests.fakes.scripted_responder import Script
from tests.tui.helpers import (
    LARGE,
    SMALL,
    BreakingResponder,
    app_of,
    ask,
    begin,
    gate,
    make_app,
    screen_text,
    stored,
    until,
)
from tui.app import KangaeApp
from tui.welcome import Welcome


async def test_replies_are_stored_with_their_thoughts(tmp_path: Path) -> None:
    path = tmp_path / "sessions.sqlite3"
    async with make_app(path=path).run_test(size=SMALL) as pilot:
        await ask(pilot, "first")
        await ask(pilot, "second")
        await pilot.press("ctrl+n")
        await ask(pilot, "third")
    conversations = stored(path)
    assert sorted(conversations) == ["first", "third"]
    assert [reply["question"] for reply in conversations["first"]] == ["first", "second"]
    assert conversations["third"][0]["thinking"] == "12 + 30 is 42."


async def test_a_new_conversation_keeps_the_turn_that_it_stops_in_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "sessions.sqlite3"
    async with make_app(Script(gates={3: gate()}), Script(), path=path).run_test(size=SMALL) as pilot:
        turn = await begin(pilot, "first")
        await until(pilot, lambda: turn.thought.tokens == 3)
        await pilot.press("ctrl+n")
        await until(pilot, lambda: bool(pilot.app.query(Welcome)))
        await ask(pilot, "second")
    conversations = stored(path)
    assert {title: [reply["finish"] for reply in replies] for title, replies in conversations.items()} == {
        "first": ["cancelled"],
        "second": ["stop"],
    }
    assert conversations["first"][0]["thinking"] == "12 + 30"


async def test_quitting_keeps_the_turn_under_way(tmp_path: Path) -> None:
    path = tmp_path / "sessions.sqlite3"
    async with make_app(Script(gates={8: gate()}), path=path).run_test(size=SMALL) as pilot:
        turn = await begin(pilot, "first")
        await until(pilot, lambda: turn.answer.text == "The sum ")
        await pilot.press("ctrl+q")
    (reply,) = stored(path)["first"]
    assert (reply["finish"], reply["answer"].strip(), reply["thinking"]) == ("cancelled", "The sum", "12 + 30 is 42.")


async def test_quitting_waits_shortly_for_a_model_that_does_not_stop_and_keeps_what_was_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tui.app, "STOPPING_S", 0.05)
    path, hold = tmp_path / "sessions.sqlite3", gate()

    def hear_nothing() -> Event | None:
        hold.wait(60)
        raise InterruptedByUser("The test is over.")

    deaf = BreakingResponder(3, hear_nothing)
    async with make_app(path=path, responder=deaf).run_test(size=SMALL) as pilot:
        turn = await begin(pilot, "first")
        await until(pilot, lambda: turn.thought.tokens == 3)
        await pilot.press("ctrl+q")
    hold.set()
    (reply,) = stored(path)["first"]
    assert (reply["finish"], reply["close"], reply["thinking"]) == ("cancelled", "user", "12 + 30")
    assert reply["usage"]["thinking_tokens"] == 3


def crash() -> Event | None:
    raise WorkerError("The process that runs the model was ended by the signal SIGABRT.")


async def test_what_was_written_before_a_crash_is_kept_and_the_next_question_is_answered(tmp_path: Path) -> None:
    path = tmp_path / "sessions.sqlite3"
    async with make_app(path=path, responder=BreakingResponder(8, crash)).run_test(size=LARGE) as pilot:
        turn = await ask(pilot, "first")
        text = screen_text(pilot)
        assert isinstance(turn.error, WorkerError)
        assert "The engine stopped: The process that runs the model was ended by the signal SIGABRT." in text
        assert "is kept." in text
        assert (await ask(pilot, "second")).reply is not None
    first, second = stored(path)["first"]
    assert (first["finish"], first["thinking"], first["answer"]) == ("error", "12 + 30 is 42.", "The sum")
    assert first["flags"] == [f"The engine stopped: {turn.error.detail}"]
    assert second["answer"] == "The sum is **42**."


async def test_a_crash_before_anything_was_written_keeps_nothing_and_says_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "sessions.sqlite3"
    async with make_app(path=path, responder=BreakingResponder(0, crash)).run_test(size=LARGE) as pilot:
        await ask(pilot, "first")
        assert "The engine stopped" in screen_text(pilot) and "is kept" not in screen_text(pilot)
    assert not path.exists()


async def test_a_store_that_cannot_be_written_is_said_once_and_costs_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    said: list[str] = []  # what the screen shows goes away after some seconds
    monkeypatch.setattr(KangaeApp, "notify", lambda self, message, *, title="", **rest: said.append(title))
    async with make_app(path=tmp_path / "file" / "sessions.sqlite3").run_test(size=LARGE) as pilot:
        for question in ("first", "second"):
            assert (await ask(pilot, question)).reply is not None
            await until(pilot, lambda: not app_of(pilot)._keeper.busy)
        assert said == ["The conversation is not kept"]

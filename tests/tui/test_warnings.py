"""What the engine warns of, here or in its worker, stands on the screen: once, and again where the screen is gone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.backends.fake import FakeBackend, scripted
from runtime.events import Event
from runtime.local_responder import LocalResponder
from runtime.request import Request
from runtime.responder import Control
from runtime.turn.kept_turns import KeptTurns
from runtime.worker.warning_log import LOGGER, WarningLog
from runtime.worker.worker import WorkerResponder
from tests.fakes.scripted_model import FAMILY, VOCABULARY
from tests.fakes.scripted_responder import Script, ScriptedResponder
from tests.tui.helpers import ANSWER, SMALL, THOUGHT, begin, gate, make_app, screen_text, until
from tests.tui.test_ending import Terminal
from tui.app import KangaeApp
from tui.notices import Notice

UNKEPT = "The turn cannot be gone on with later: "


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be written to the state folder."""
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("KANGAE_STATE_DIR", str(tmp_path / "file"))


class HeldResponder(LocalResponder):
    """The real engine over a scripted model: each thought waits, after a few letters, until its turn is steered."""

    def __init__(self) -> None:
        self._hold = threading.Event()
        self._begun = 0
        script = scripted(VOCABULARY, f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}")
        self._fake = FakeBackend(script, VOCABULARY, context=2048, on_decode=self._on_decode)
        super().__init__(self._fake, FAMILY, backend_name="fake")

    def respond(self, request: Request, control: Control | None = None) -> Iterator[Event]:
        assert control is not None
        self._begun = len(self._fake.batches)
        self._hold.clear()
        control.on_change(self._hold.set)
        return super().respond(request, control)

    def _on_decode(self, backend: FakeBackend) -> None:
        if len(backend.batches) == self._begun + 12:
            self._hold.wait(60)


def open_held(_model: object) -> LocalResponder:
    """Called in the worker, by its import path."""
    return HeldResponder()


def notices(app: KangaeApp) -> list[str]:
    return [notice.words.plain for notice in app.query(Notice)]


async def test_a_paused_turn_that_cannot_be_kept_is_told_by_the_worker(full: None) -> None:
    app = make_app(responder=WorkerResponder(open_held), turns=KeptTurns)
    async with app.run_test(size=SMALL) as pilot:
        turn = await begin(pilot, "1+1?")
        await until(pilot, lambda: turn.thought.tokens > 0)
        await pilot.press("f5")
        await until(pilot, lambda: UNKEPT in screen_text(pilot))
        (text,) = [words for words in notices(app) if words.startswith(UNKEPT)]
        assert "set KANGAE_STATE_DIR to another folder" in text
    assert app.warned == (text,)


async def test_what_is_warned_of_twice_is_shown_once(full: None) -> None:
    warned: list[str] = []
    log = WarningLog(warned.append)
    log.begin()
    app = make_app(responder=HeldResponder(), turns=KeptTurns)
    try:
        async with app.run_test(size=SMALL) as pilot:
            turn = await begin(pilot, "1+1?")
            await until(pilot, lambda: turn.thought.tokens > 0)
            await pilot.press("f5")
            await until(pilot, lambda: any(words.startswith(UNKEPT) for words in notices(app)))
            for notice in app.query(Notice):
                await notice.on_click()
            await pilot.press("escape")
            await until(pilot, lambda: not app.busy)
            turn = await begin(pilot, "1+1?")
            await until(pilot, lambda: turn.thought.tokens > 0)
            await pilot.press("escape")
            await until(pilot, lambda: not app.busy and len(warned) == 2)
            assert warned[0] == warned[1] and warned[0].startswith(UNKEPT)
            LOGGER.warning("another")
            await until(pilot, lambda: "another" in notices(app))
            assert not any(words.startswith(UNKEPT) for words in notices(app))
    finally:
        log.end()
    assert app.warned == (warned[0], "another")


async def test_a_warning_outlasts_what_is_said_in_passing_and_steers_no_terminal() -> None:
    app = make_app()
    async with app.run_test(size=SMALL) as pilot:
        LOGGER.warning("a \x1b[2J[bold]damaged[/x] %s\x9b", "profile")
        await until(pilot, lambda: notices(app) == ["a [2J[bold]damaged[/x] profile"])
        for words in ("one", "two", "three"):
            app.notify(words, markup=False)
        await until(pilot, lambda: "three" in notices(app))
        assert notices(app) == ["a [2J[bold]damaged[/x] profile", "three"]
        LOGGER.warning("second")
        LOGGER.error("third")
        await until(pilot, lambda: notices(app) == ["second", "third"])
    LOGGER.warning("after the end")
    assert app.warned == ("a [2J[bold]damaged[/x] profile", "second", "third")


async def test_what_comes_while_the_interface_ends_is_not_lost(tmp_path: Path) -> None:
    class LastWords(ScriptedResponder):
        def close(self) -> None:
            LOGGER.warning("the last words")

    (tmp_path / "file").write_text("no folder")
    held = LastWords([Script(gates={3: gate()})])
    app = make_app(responder=held, path=tmp_path / "file" / "sessions.sqlite3")
    async with app.run_test(size=SMALL) as pilot:
        turn = await begin(pilot, "12 + 30?")
        await until(pilot, lambda: turn.thought.tokens == 3)
    unkept, last = app.warned
    assert unkept.startswith("The conversation is not kept: ")
    assert last == "the last words"


def test_warnings_are_said_again_where_the_screen_is_gone(own_folders: Path) -> None:
    terminal = Terminal(
        own_folders,
        "from runtime.worker.warning_log import LOGGER\n"
        "ScriptedResponder.close = lambda self: LOGGER.warning('the last words')",
    )
    terminal.wait_for("scripted")
    terminal.type(b"\x11")
    assert terminal.end().split() == ["Warning:", "the", "last", "words"]
    assert terminal.process.returncode == 0

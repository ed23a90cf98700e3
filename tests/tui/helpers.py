"""Running the interface on a scripted responder."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from runtime.responder import Responder
from tests.fakes.scripted_responder import Script, ScriptedResponder
from tui.app import ChatOptions, KangaeApp
from tui.conversation import Conversation
from tui.question_box import QuestionBox
from tui.session_log import SessionLog
from tui.turn import Turn

SMALL, LARGE, NARROW = (80, 24), (120, 40), (44, 20)


class FrozenApp(KangaeApp):
    """The interface with a still cursor: for pictures."""

    def on_mount(self) -> None:  # besides the interface's own, which Textual calls too
        self.query_one(QuestionBox).cursor_blink = False


def make_app(
    *scripts: Script,
    budget: int | None = None,
    log: SessionLog | None = None,
    preferences: Path | None = None,
    responder: Responder | None = None,
) -> FrozenApp:
    """An interface whose model is open at once and says what the scripts say."""
    answering = responder or ScriptedResponder(scripts or (Script(),))
    return FrozenApp(lambda _: answering, ChatOptions(budget=budget), log=log, preferences=preferences)


def gate() -> threading.Event:
    """Something that a script waits for."""
    return threading.Event()


async def until(pilot: Pilot[Any], condition: Callable[[], bool]) -> None:
    """Let the interface work until the condition holds."""
    for _ in range(3000):
        if condition():
            await pilot.pause()
            return
        if pilot.app._exception is not None:
            break  # leaving the pilot raises it
        await pilot.pause(0.01)
    raise AssertionError("the interface never came to what the test waits for")


async def ask(pilot: Pilot[Any], question: str) -> Turn:
    """Write a question, send it, and wait for its end."""
    turn = await begin(pilot, question)
    await until(pilot, lambda: turn.over and not app_of(pilot).busy)
    return turn


async def begin(pilot: Pilot[Any], question: str) -> Turn:
    """Write a question and send it."""
    app = app_of(pilot)
    count = len(app.query(Turn))
    app.query_one(QuestionBox).text = question
    await pilot.press("enter")
    await until(pilot, lambda: len(app.query(Turn)) > count)
    return app.query(Turn).last()


def app_of(pilot: Pilot[Any]) -> KangaeApp:
    """The interface under test."""
    app = pilot.app
    assert isinstance(app, KangaeApp)
    return app


def screen_text(pilot: Pilot[Any]) -> str:
    """What stands on the screen, line by line."""
    width, height = pilot.app.size
    lines = pilot.app.screen._compositor.render_strips()
    assert len(lines) == height
    return "\n".join(line.text[:width].rstrip() for line in lines)


def conversation(pilot: Pilot[Any]) -> Conversation:
    """The scroll of turns."""
    return pilot.app.query_one(Conversation)

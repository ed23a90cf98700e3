"""Running the interface on a scripted responder."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from runtime.backends.fake import FakeBackend, scripted
from runtime.commands.keep import KeptConversation
from runtime.events import AnswerDelta, Closed, Done, Event, ThinkingDelta
from runtime.local_responder import LocalResponder
from runtime.reply import ModelLabel, Reply, SpentBudget, Timings, Usage
from runtime.request import Request
from runtime.responder import Control, Responder
from runtime.store import Store
from runtime.turn.kept_turns import KeptTurns
from tests.fakes.scripted_model import FAMILY, VOCABULARY
from tests.fakes.scripted_responder import Script, ScriptedResponder
from tui.app import KangaeApp
from tui.chat_options import ChatOptions
from tui.conversation import Conversation
from tui.question_box import QuestionBox
from tui.turn import Turn

SMALL, LARGE, NARROW = (80, 24), (120, 40), (44, 20)


class FrozenApp(KangaeApp):
    """The interface with a still cursor: for pictures."""

    def on_mount(self) -> None:  # besides the interface's own, which Textual calls too
        self.query_one(QuestionBox).cursor_blink = False


def make_app(
    *scripts: Script,
    budget: int | None = None,
    deadline: float | None = None,
    path: Path | None = None,
    turns: Callable[[], KeptTurns] | None = None,
    preferences: Path | None = None,
    responder: Responder | None = None,
) -> FrozenApp:
    """An interface whose model is open at once and says what the scripts say. `path`: the store that keeps it; `turns`
    gives the place where turns are kept until they end."""
    answering = responder or ScriptedResponder(scripts or (Script(),))
    log = partial(KeptConversation, linked=True, path=path) if path is not None else None
    options = ChatOptions(budget, deadline=deadline)
    return FrozenApp(lambda _: answering, options, log=log, turns=turns, preferences=preferences)


class BreakingResponder(ScriptedResponder):
    """Calls `breaks` instead of going on after so many pieces of its first reply; what that returns is an event more.
    The next question is answered."""

    def __init__(self, pieces: int, breaks: Callable[[], Event | None]) -> None:
        super().__init__()
        self._pieces, self._breaks = pieces, breaks
        self._broken = False

    def respond(self, request: Request, control: Control | None = None) -> Iterator[Event]:
        said = 0
        for event in super().respond(request, control):
            if said == self._pieces and not self._broken:
                self._broken = True
                more = self._breaks()
                if more is not None:
                    yield more
                return
            yield event
            said += isinstance(event, ThinkingDelta | AnswerDelta)


THOUGHT = "One plus one.\nIs it two? It is.\nYes, it is two."
ANSWER = "It is **2**."


def thinker(hold: threading.Event | None = None, *, at: int = 16, thought: str = THOUGHT) -> LocalResponder:
    """The real engine over a scripted model, a letter a token; it waits for `hold` before its decode number `at`."""

    def on_decode(backend: FakeBackend) -> None:
        if hold is not None and len(backend.batches) == at:
            hold.wait(20)

    script = scripted(VOCABULARY, f"<think>\n{thought}\n</think>\n\n{ANSWER}")
    backend = FakeBackend(script, VOCABULARY, context=2048, on_decode=on_decode)
    return LocalResponder(backend, FAMILY, backend_name="fake")


class LateResponder(ScriptedResponder):
    """Its thought and its answer end by the deadline."""

    def respond(self, request: Request, control: Control | None = None) -> Iterator[Event]:
        for event in super().respond(request, control):
            if isinstance(event, Closed):
                event = replace(event, reason="deadline")
            elif isinstance(event, Done):
                flags = ("deadline: the answer was cut off",)
                event = Done(replace(event.reply, close="deadline", finish="length", flags=flags))
            yield event


def reply_that(**ends: Any) -> Reply:
    """A whole reply, but for these fields."""
    label = ModelLabel("scripted", "scripted.gguf", "Q8_0", "scripted")
    whole = Reply("1", "?", label, "a", "b", "natural", "stop", Usage(), SpentBudget(), Timings())
    return replace(whole, **ends)


def stored(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The replies in a store by the titles of their conversations."""
    with Store.open(path) as store:
        return {one.title: [reply.record for reply in store.replies(one.id)] for one in store.conversations()}


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

"""Keys that steer a turn while it thinks: more budget, a pause, a hint typed into the box."""

from __future__ import annotations

import threading

from runtime.responder import Hint, More, Pause
from tests.fakes.scripted_responder import Script
from tests.tui.helpers import SMALL, app_of, make_app, screen_text, thinker, until
from tui.question_box import QuestionBox
from tui.turn import Turn


class Gate(threading.Event):
    """A gate that a wish does not open, as it would a script's own."""

    def set(self) -> None: ...

    def open(self) -> None:
        super().set()


async def test_more_budget_and_a_pause() -> None:
    gate = Gate()
    async with make_app(Script(gates={3: gate}), budget=100).run_test(size=SMALL) as pilot:
        app = app_of(pilot)
        await app.ask("12 + 30?")
        await until(pilot, lambda: app.query_one(Turn).thought.tokens == 3)
        control, thought = app.live_control, app.query_one(Turn).thought
        assert control is not None
        await pilot.press("f5")
        assert list(control.wishes) == [Pause(True)]
        assert "paused" in thought.title().plain
        await until(pilot, lambda: "Paused; F5 goes on." in screen_text(pilot))
        await pilot.press("f5", "f4")
        assert list(control.wishes) == [Pause(True), Pause(False), More(64)]
        assert thought.budget == 164
        await until(pilot, lambda: "Paused" not in screen_text(pilot))
        gate.open()
        await until(pilot, lambda: not app.busy)
        await pilot.press("f4", "f5")
        assert len(control.wishes) == 3


async def test_what_is_sent_while_it_thinks_is_a_hint() -> None:
    gate, answer = Gate(), Gate()
    async with make_app(Script(gates={3: gate, 7: answer})).run_test(size=SMALL) as pilot:
        app = app_of(pilot)
        await app.ask("12 + 30?")
        await until(pilot, lambda: app.query_one(Turn).thought.tokens == 3)
        control = app.live_control
        assert control is not None
        await pilot.press("u", "s", "e", "space", "t", "e", "n", "enter")
        assert control.wishes == (Hint("use ten"),)
        assert app.query_one(QuestionBox).text == ""
        gate.open()
        await until(pilot, lambda: app.query_one(Turn).thought.over)
        await pilot.press(*"more", "enter")
        assert control.wishes == (Hint("use ten"),)
        assert app.query_one(QuestionBox).text == "more"
        answer.open()
        await until(pilot, lambda: not app.busy)
        assert len(app.query(Turn)) == 1
        # the scripted model takes no hints
        assert "The hint was not put in: the thought had ended, or had no room left." in screen_text(pilot)


async def test_a_hint_that_is_put_in_is_not_told_as_lost() -> None:
    hold = threading.Event()
    async with make_app(responder=thinker(hold)).run_test(size=SMALL) as pilot:
        app = app_of(pilot)
        await app.ask("1+1?")
        await until(pilot, lambda: bool(app.query_one(Turn).thought.tokens))
        assert app.give_hint("  use ten ")
        hold.set()
        await until(pilot, lambda: not app.busy)
        assert "use ten" in app.query_one(Turn).thought.text
        assert "not put in" not in screen_text(pilot)


async def test_a_pause_is_seen_while_it_answers_and_answer_now_ends_it_while_it_thinks() -> None:
    thought, answer = Gate(), Gate()
    async with make_app(Script(gates={3: thought, 8: answer})).run_test(size=SMALL) as pilot:
        app = app_of(pilot)
        await app.ask("12 + 30?")
        turn = app.query_one(Turn)
        await until(pilot, lambda: turn.thought.tokens == 3)
        await pilot.press("f5", "f3")
        control = app.live_control
        assert control is not None and control.wants_answer and not control.paused
        assert "paused" not in turn.thought.title().plain
        thought.open()
        await until(pilot, lambda: bool(turn.answer.text))
        assert "Paused" not in screen_text(pilot)
        await pilot.press("f5")
        await until(pilot, lambda: "Paused; F5 goes on." in screen_text(pilot))
        answer.open()  # the scripted model does not stand still
        await until(pilot, lambda: not app.busy)
        assert "Paused" not in screen_text(pilot)

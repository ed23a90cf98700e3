"""Keys that steer a turn while it thinks: more budget, a pause, a hint typed into the box."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from textual.pilot import Pilot

from runtime.responder import Hint, More, Pause
from tests.fakes.scripted_responder import Script
from tests.tui.helpers import SMALL, app_of, make_app, screen_text, thinker, until
from tui.notices import Notice, Notices
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


def keys(pilot: Pilot[Any]) -> str:
    return screen_text(pilot).splitlines()[-1].strip()


async def test_the_keys_and_the_box_say_what_can_be_done_now() -> None:
    thought, answer = Gate(), Gate()
    async with make_app(Script(gates={3: thought, 8: answer}), budget=64).run_test(size=SMALL) as pilot:
        app = app_of(pilot)
        await until(pilot, lambda: "Ask a question…" in screen_text(pilot))
        await app.ask("12 + 30?")
        await until(pilot, lambda: keys(pilot).startswith("F3 Answer now  F4 Think more  F5 Pause  Esc Stop  F1 Help"))
        await until(pilot, lambda: "A hint for the thought…" in screen_text(pilot))
        await pilot.press("f5")
        await until(pilot, lambda: keys(pilot).startswith("F3 Answer now  F4 Think more  F5 Go on  Esc Stop"))
        await pilot.press("f5")
        await until(pilot, lambda: "F5 Pause" in keys(pilot))
        thought.open()
        await until(pilot, lambda: keys(pilot).startswith("F5 Pause  Esc Stop  F1 Help"))
        await until(pilot, lambda: "The answer is coming…" in screen_text(pilot))
        answer.open()
        await until(pilot, lambda: keys(pilot) == "F1 Help  F2 Budget  ^t Thought  ^n New  ^q Quit  ^y Copy")
        await until(pilot, lambda: "Ask a question…" in screen_text(pilot))


async def test_without_a_budget_there_is_none_to_raise() -> None:
    hold = Gate()
    async with make_app(Script(gates={3: hold})).run_test(size=SMALL) as pilot:
        await app_of(pilot).ask("12 + 30?")
        await until(pilot, lambda: keys(pilot).startswith("F3 Answer now  F5 Pause  Esc Stop"))
        await pilot.press("f4")
        await until(pilot, lambda: "This thought has no budget to raise." in screen_text(pilot))
        hold.open()
        await until(pilot, lambda: not app_of(pilot).busy)


@pytest.mark.parametrize("size", [(40, 16), (46, 20), SMALL, (200, 50)])
async def test_what_is_said_in_passing_covers_neither_the_box_nor_the_status(size: tuple[int, int]) -> None:
    hold = Gate()
    async with make_app(Script(gates={3: hold})).run_test(size=size) as pilot:
        app = app_of(pilot)
        await app.ask("12 + 30?")
        await until(pilot, lambda: app.query_one(Turn).thought.tokens == 3)
        await until(pilot, lambda: "A hint for" in screen_text(pilot))
        before = screen_text(pilot).splitlines()[-5:]
        assert app.give_hint("use ten") and app.give_hint("or twenty")
        await pilot.press("f4", "ctrl+y")
        await until(pilot, lambda: "There is no answer to copy yet." in screen_text(pilot))
        after = screen_text(pilot).splitlines()
        assert after[-5:] == before and before[0].startswith("╭") and before[3].startswith(" budget")
        assert "This thought has no budget" in screen_text(pilot) and not app.query("Toast")
        assert 1 <= app.query_one(Notices).size.height <= 4
        for notice in app.query(Notice):
            await notice.on_click()
        await pilot.pause()
        assert app.query_one(Notices).size.height == 0
        hold.open()
        await until(pilot, lambda: not app.busy)


async def test_a_notice_goes_by_itself_and_is_no_markup_where_it_is_none() -> None:
    async with make_app().run_test(size=SMALL) as pilot:
        app = app_of(pilot)
        app.notify("[bold]one[/x]", title="Of a file", markup=False, timeout=0.05)
        app.notify("[bold]two[/]", timeout=60)
        await until(pilot, lambda: [notice.words.plain for notice in app.query(Notice)] == ["two"])


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
        reply = app.query_one(Turn).reply
        assert reply is not None
        (decision,) = [one for one in reply.decisions if one.rule == "hint"]
        assert (decision.words, decision.quote) == ("a hint was put in", "use ten") and decision.number
        assert "─ answer · 1 token · with your hint" in screen_text(pilot)


async def test_what_is_said_of_a_turn_goes_with_it_and_nothing_else_does() -> None:
    hold = Gate()
    async with make_app(Script(gates={3: hold})).run_test(size=SMALL) as pilot:
        app = app_of(pilot)
        await app.ask("12 + 30?")
        await until(pilot, lambda: app.query_one(Turn).thought.tokens == 3)
        app.notify("stays", timeout=60)
        assert app.give_hint("use ten")
        await until(pilot, lambda: "A hint: it is put into the thought" in screen_text(pilot))
        hold.open()
        await until(pilot, lambda: not app.busy)
        await until(pilot, lambda: [notice.words.plain for notice in app.query(Notice)] == ["stays"])
        assert "with your hint" not in screen_text(pilot)  # the scripted model takes none


@pytest.mark.parametrize("key", ["f3", "f4", "f5"])
async def test_a_key_that_comes_too_late_for_a_fast_model_says_so(key: str) -> None:
    async with make_app(Script(), budget=64).run_test(size=SMALL) as pilot:
        app = app_of(pilot)
        await until(pilot, lambda: app.ready)
        await pilot.press(key)
        await until(pilot, lambda: "No turn is under way." in screen_text(pilot))
        await app.ask("12 + 30?")
        await until(pilot, lambda: not app.busy)
        await pilot.press(key)
        await until(pilot, lambda: "Too late: this turn has ended." in screen_text(pilot))
        assert len(app.query(Turn)) == 1 and not app.busy
        assert "Ctrl+T" not in screen_text(pilot)  # all of the thought is there
        await pilot.press("ctrl+t", key)
        await until(pilot, lambda: "Ctrl+T shows the whole of its thought." in screen_text(pilot))


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

"""Keys and clicks: they steer a turn, fold its thought, set the budget, and are told on the last line."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.containers import Horizontal
from textual.widgets import Static

from tests.fakes.scripted_responder import Script, ScriptedResponder
from tests.tui.helpers import (
    LARGE,
    NARROW,
    SMALL,
    app_of,
    ask,
    begin,
    conversation,
    gate,
    make_app,
    screen_text,
    until,
)
from tui.question_box import QuestionBox
from tui.turn import Turn


async def test_answer_now_ends_the_thought() -> None:
    async with make_app(Script(gates={2: gate()})).run_test(size=SMALL) as pilot:
        turn = await begin(pilot, "12 + 30?")
        await until(pilot, lambda: turn.thought.tokens == 2)
        await pilot.press("f3")
        await until(pilot, lambda: turn.over)
        assert "2 tokens · you asked for the answer" in screen_text(pilot)
        assert turn.answer.text == "The sum is **42**."


@pytest.mark.parametrize(("pieces", "kept"), [(2, "12 +"), (8, "The sum")])
async def test_stop_keeps_what_was_written(pieces: int, kept: str) -> None:
    async with make_app(Script(gates={pieces: gate()})).run_test(size=SMALL) as pilot:
        turn = await begin(pilot, "12 + 30?")
        await until(pilot, lambda: kept in turn.thought.text + turn.answer.text)
        await pilot.press("escape")
        await until(pilot, lambda: turn.over)
        text = screen_text(pilot)
    assert kept in text
    assert "Stopped; what was written is kept." in text


async def test_ctrl_c_stops_a_turn_and_else_says_what_leaves() -> None:
    async with make_app(Script(gates={2: gate()})).run_test(size=SMALL) as pilot:
        turn = await begin(pilot, "12 + 30?")
        await until(pilot, lambda: "12 +" in turn.thought.text)
        await pilot.press("ctrl+c")
        await until(pilot, lambda: turn.over)
        assert "Stopped; what was written is kept." in screen_text(pilot)
        await pilot.press("ctrl+c")
        await until(pilot, lambda: "Ctrl+Q leaves." in screen_text(pilot))


async def test_the_budget_key_goes_down_and_around_and_holds_for_the_next_question() -> None:
    responder = ScriptedResponder()
    async with make_app(responder=responder).run_test(size=SMALL) as pilot:
        await until(pilot, lambda: app_of(pilot).ready)
        shown = []
        for key in ["f2"] * 7 + ["shift+f2", "f14", "f2"]:
            await pilot.press(key)
            line = next(line for line in screen_text(pilot).splitlines() if line.startswith(" budget"))
            shown.append(line.split("  ")[0].strip().removeprefix("budget ").removesuffix(" tokens"))
        assert shown[:7] == ["256", "128", "64", "32", "16", "off", "unlimited"]
        assert shown[7:] == ["off", "16", "off"]
        await ask(pilot, "12 + 30?")
        assert "thinking is off" in screen_text(pilot)
        await pilot.press("ctrl+b")
        await pilot.click("BudgetLabel")
        await ask(pilot, "12 + 30?")
    assert [request.budget.tokens for request in responder.requests] == [0, 256]


LONG = Script(thinking=tuple(f"line {number}\n" for number in range(20)))


async def test_a_long_thought_folds_when_it_ends() -> None:
    async with make_app(Script(), LONG).run_test(size=LARGE) as pilot:
        assert not (await ask(pilot, "short")).thought.folded
        assert (await ask(pilot, "long")).thought.folded
        assert "▶ thought" in screen_text(pilot) and "line 7" not in screen_text(pilot)


async def test_what_the_user_unfolds_stays_unfolded(tmp_path: Path) -> None:
    preferences = tmp_path / "tui.json"
    async with make_app(LONG, preferences=preferences).run_test(size=LARGE) as pilot:
        first = await ask(pilot, "one")
        assert first.thought.folded
        await pilot.press("ctrl+t")
        await pilot.pause()
        assert not first.thought.folded
        second = await ask(pilot, "two")
        assert not second.thought.folded and not first.thought.folded
        await pilot.click(second.thought.query_one("ThoughtTitle"))
        assert second.thought.folded and not first.thought.folded
    async with make_app(LONG, preferences=preferences).run_test(size=LARGE) as pilot:
        assert not (await ask(pilot, "three")).thought.folded


async def test_a_folded_thought_lays_nothing_out_while_it_grows() -> None:
    hold = gate()
    async with make_app(Script(gates={5: hold})).run_test(size=SMALL) as pilot:
        await pilot.press("ctrl+t")
        turn = await begin(pilot, "12 + 30?")
        await until(pilot, lambda: turn.thought.tokens == 5)
        assert turn.thought.text and not turn.thought.query("LiveText")
        hold.set()
        await until(pilot, lambda: turn.over)


async def test_enter_sends_and_ctrl_j_breaks_the_line_and_up_recalls() -> None:
    async with make_app().run_test(size=SMALL) as pilot:
        box = pilot.app.query_one(QuestionBox)
        await pilot.press("a", "ctrl+j", "b")
        assert box.text == "a\nb"
        await pilot.press("enter")
        await until(pilot, lambda: bool(pilot.app.query(Turn)) and not app_of(pilot).busy)
        assert box.text == ""
        await ask(pilot, "second")
        await pilot.press("d", "up")
        assert box.text == "second"
        await pilot.press("up")
        assert box.text == "a\nb"
        await pilot.press("down", "down")
        assert box.text == "d"


async def test_copying_takes_the_newest_answer() -> None:
    async with make_app().run_test(size=SMALL) as pilot:
        await ask(pilot, "12 + 30?")
        await pilot.press("ctrl+y")
        assert pilot.app.clipboard == "The sum is **42**."


async def test_the_keys_on_the_last_line_can_be_clicked() -> None:
    async with make_app().run_test(size=SMALL) as pilot:
        await pilot.pause()
        assert screen_text(pilot).splitlines()[-1] == " F1 Help  F2 Budget  ^t Thought  ^n New  ^q Quit"
        await pilot.click("KeyLine", offset=(12, 0))
        assert app_of(pilot).budget == 256


@pytest.mark.parametrize(
    ("width", "idle", "asked"),
    [
        (
            120,
            "F1 Help  F2 Budget  ^t Thought  ^n New  ^q Quit",
            "F3 Answer now  F4 Think more  F5 Pause  Esc Stop  F1 Help  F2 Budget  ^t Thought  ^n New  ^q Quit",
        ),
        (
            80,
            "F1 Help  F2 Budget  ^t Thought  ^n New  ^q Quit",
            "F3 Answer now  F4 Think more  F5 Pause  Esc Stop  F1 Help  ^n New  ^q Quit",
        ),
        (44, "F1 Help  F2 Budget  ^n New  ^q Quit", "F3 Answer now  F5 Pause  Esc Stop  F1 Help"),
        (30, "F1 Help  ^n New  ^q Quit", "F3 Answer now  Esc Stop"),
    ],
)
async def test_keys_that_do_not_fit_leave_the_line_whole(width: int, idle: str, asked: str) -> None:
    hold = gate()
    async with make_app(Script(gates={1: hold}), budget=64).run_test(size=(width, 20)) as pilot:
        await until(pilot, lambda: screen_text(pilot).splitlines()[-1].strip() == idle)
        await app_of(pilot).ask("12 + 30?")
        await until(pilot, lambda: screen_text(pilot).splitlines()[-1].strip() == asked)
        assert "…" not in screen_text(pilot).splitlines()[-1]
        hold.set()
        await until(pilot, lambda: not app_of(pilot).busy)


@pytest.mark.parametrize("size", [SMALL, NARROW])
async def test_help_is_laid_out_in_two_columns_at_any_width(size: tuple[int, int]) -> None:
    async with make_app().run_test(size=size) as pilot:
        await pilot.press("f1")
        await pilot.pause()
        rows = [tuple(row.query(Static)) for row in pilot.app.screen.query(Horizontal)]
        assert len({words.region.x for _, words in rows}) == 1
        assert {key.size.height for key, _ in rows} == {1}
        assert size != SMALL or {words.size.height for _, words in rows} == {1}


async def test_help_opens_and_closes() -> None:
    async with make_app().run_test(size=SMALL) as pilot:
        await pilot.press("f1")
        await pilot.pause()
        assert "answer now: end the thought and answer" in screen_text(pilot)
        await pilot.press("escape")
        await pilot.pause()
        assert "Keys" not in screen_text(pilot)


async def test_typing_while_the_conversation_has_the_focus_goes_to_the_box() -> None:
    async with make_app().run_test(size=SMALL) as pilot:
        conversation(pilot).focus()
        await pilot.press("h", "i")
        assert pilot.app.query_one(QuestionBox).text == "hi"

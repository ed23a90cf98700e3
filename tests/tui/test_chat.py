"""A conversation as its user sees it, on a scripted responder: asked, thought about, answered, shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rich.style import Style
from textual.pilot import Pilot

import tui.conversation
from runtime.request import Message
from runtime.responder import Responder
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
from tui.app import KangaeApp
from tui.question_box import QuestionBox
from tui.turn import Turn
from tui.welcome import JAPANESE, Example, Welcome


@pytest.mark.parametrize("size", [SMALL, LARGE, NARROW])
async def test_a_question_is_thought_about_and_answered(size: tuple[int, int]) -> None:
    async with make_app(budget=64).run_test(size=size) as pilot:
        await ask(pilot, "What is 12 + 30?")
        text = screen_text(pilot)
    assert "❯ What is 12 + 30?" in text
    assert "▼ thought" in text and "6/64" in text and "─ answer · 5 tokens" in text
    assert "finished by itself" in text
    assert "The sum is 42." in text  # the Markdown's stars are gone
    assert "12 + 30 is 42." in text
    if size != NARROW:
        assert "scripted · Q8_0 · 123 tok/s · context 19/2048" in text


async def test_the_thought_is_shown_with_its_budget_while_it_goes_on() -> None:
    hold = gate()
    async with make_app(Script(gates={3: hold}), budget=4).run_test(size=SMALL) as pilot:
        turn = await begin(pilot, "12 + 30?")
        await until(pilot, lambda: turn.thought.tokens == 3)
        text = screen_text(pilot)
        assert "▼ thinking" in text and "3/4 tokens" in text and "━━━━━━━━━───" in text
        assert "12 + 30" in text.split("thinking")[1]
        assert "Answer now" in text and "Stop" in text
        hold.set()
        await until(pilot, lambda: turn.over)
        text = screen_text(pilot)
    assert "4/4 tokens · ended by the budget" in text
    assert "Answer now" not in text


async def test_a_second_question_carries_the_answers_and_not_the_thoughts() -> None:
    responder = ScriptedResponder()
    async with make_app(responder=responder).run_test(size=SMALL) as pilot:
        await ask(pilot, "12 + 30?")
        await ask(pilot, "And twice that?")
    assert responder.requests[1].messages == (
        Message("user", "12 + 30?"),
        Message("assistant", "The sum is **42**."),
        Message("user", "And twice that?"),
    )
    assert responder.closed


async def test_a_turn_that_was_stopped_before_its_answer_is_not_carried_on() -> None:
    responder = ScriptedResponder([Script(gates={1: gate()}), Script()])
    async with make_app(responder=responder).run_test(size=SMALL) as pilot:
        turn = await begin(pilot, "first")
        await until(pilot, lambda: turn.thought.tokens == 1)
        await pilot.press("escape")
        await until(pilot, lambda: turn.over)
        await ask(pilot, "second")
    assert [message.content for message in responder.requests[1].messages] == ["second"]


async def test_japanese_questions_and_answers() -> None:
    script = Script(thinking=("12", "個と", "30個を", "足す。"), answer=("合計は", "**42個**", "です。"))
    async with make_app(script).run_test(size=SMALL) as pilot:
        await until(pilot, lambda: app_of(pilot).ready)
        await pilot.click(next(e for e in pilot.app.query(Example) if e._question == JAPANESE[0]))
        await until(pilot, lambda: any(turn.over for turn in pilot.app.query(Turn)))
        text = screen_text(pilot)
    assert f"❯ {JAPANESE[0]}" in text
    assert "合計は42個です。" in text
    assert not pilot.app.query(Welcome)


async def test_long_lines_are_wrapped_where_they_can_be_read() -> None:
    code = "total = sum(day.parts for day in week if day.name != 'Sunday' and day.line == 3 and day.shift == 2)"
    async with make_app(Script(answer=(f"```py\n{code}\n```",))).run_test(size=SMALL) as pilot:
        await ask(
            pilot, "月曜日から金曜日までの生産数を合計してください。休憩時間と段取り替えの時間は含めないでください。"
        )
        lines = screen_text(pilot).splitlines()
    assert "day.shift == 2)" in "\n".join(lines)
    begin = next(number for number, line in enumerate(lines) if "❯" in line)
    assert lines[begin].startswith(" ❯ 月曜日") and lines[begin + 1].startswith("   ")  # a hanging indent
    assert lines[begin + 1].strip().endswith("含めないでください。")


async def test_a_file_that_is_loaded_is_told_by_its_name() -> None:
    hold = gate()

    def opener(_: Callable[[float], None]) -> Responder:
        hold.wait(20)
        return ScriptedResponder()

    async with KangaeApp(opener, model_name="/a/long/way/to/model.gguf").run_test(size=SMALL) as pilot:
        await until(pilot, lambda: " loading model.gguf …" in screen_text(pilot))
        hold.set()


async def test_model_text_cannot_steer_the_terminal_and_is_no_markup() -> None:
    script = Script(
        thinking=("[bold]x", "\x1b]52;c;QUJD\x07", "\x9b2J", "[/nonsense]"),
        answer=("[red]a[/blue] ", "\x1b[2J", "<b>3 < 4</b> and 2*3*4"),
    )
    async with make_app(script).run_test(size=SMALL) as pilot:
        await pilot.press("ctrl+t")
        await pilot.press("ctrl+t")
        turn = await ask(pilot, "x")
        text = screen_text(pilot)
        strips = "".join(strip.text for strip in pilot.app.screen._compositor.render_strips())
    assert not {"\x1b", "\x07", "\x9b"} & set(strips + turn.thought.text + turn.answer.text)
    assert "[bold]x]52;c;QUJD2J[/nonsense]" in text
    assert "[red]a[/blue] [2J<b>3 < 4</b> and 2*3*4" in text


async def test_a_question_during_a_turn_waits_in_the_box() -> None:
    hold = gate()
    responder = ScriptedResponder([Script(gates={7: hold})])  # in its answer: while it thinks this would be a hint
    async with make_app(responder=responder).run_test(size=SMALL) as pilot:
        turn = await begin(pilot, "first")
        await until(pilot, lambda: turn.thought.over)
        pilot.app.query_one(QuestionBox).text = "second"
        await pilot.press("enter")
        await pilot.pause()
        assert pilot.app.query_one(QuestionBox).text == "second"
        hold.set()
        await until(pilot, lambda: not app_of(pilot).busy)
    assert len(responder.requests) == 1


async def test_a_new_conversation_forgets_and_stops() -> None:
    responder = ScriptedResponder([Script(), Script(gates={1: gate()}), Script()])
    async with make_app(responder=responder).run_test(size=SMALL) as pilot:
        await ask(pilot, "first")
        await begin(pilot, "second")
        await pilot.press("ctrl+n")
        await until(pilot, lambda: bool(pilot.app.query(Welcome)))
        assert not app_of(pilot).busy
        await ask(pilot, "third")
    assert [message.content for message in responder.requests[-1].messages] == ["third"]


async def test_old_turns_leave_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tui.conversation, "MOST_TURNS", 3)
    async with make_app(Script(thinking=("a",), answer=("b",))).run_test(size=SMALL) as pilot:
        for number in range(5):
            await app_of(pilot).ask(f"question {number}")
            await until(pilot, lambda: not app_of(pilot).busy)
        turns = list(conversation(pilot).query(Turn))
    assert [turn.question for turn in turns] == ["question 2", "question 3", "question 4"]


def styles(pilot: Pilot[Any]) -> set[Style]:
    """Those of all that is drawn."""
    lines = pilot.app.screen._compositor.render_strips()
    return {segment.style for line in lines for segment in line if segment.style is not None}


@pytest.mark.parametrize("value", ["", None])
async def test_colours_are_there_unless_they_are_unwanted(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is None:
        monkeypatch.delenv("NO_COLOR", raising=False)
    else:
        monkeypatch.setenv("NO_COLOR", value)  # an empty one says nothing (no-color.org)
    async with make_app().run_test(size=SMALL) as pilot:
        await ask(pilot, "12 + 30?")
        seen = {style.color.triplet for style in styles(pilot) if style.color is not None and style.color.triplet}
    assert any(len(set(triplet)) > 1 for triplet in seen)  # and no greys alone


async def test_without_colours_all_is_said_in_words_and_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    hold = gate()
    async with make_app(Script(gates={3: hold}), budget=4).run_test(size=SMALL) as pilot:
        assert pilot.app.no_color
        turn = await begin(pilot, "12 + 30?")
        await until(pilot, lambda: turn.thought.tokens == 3)
        assert "━━━━━━━━━───" in screen_text(pilot)
        hold.set()
        await until(pilot, lambda: turn.over)
        assert not any(style.color or style.bgcolor or style.dim for style in styles(pilot))
        assert any(style.reverse for style in styles(pilot))  # the cursor is seen
        await pilot.click("KeyLine", offset=(12, 0))  # and keys are clicked as ever
        assert app_of(pilot).budget == 0

"""Asking, steering and keeping a conversation, through keys and clicks, on a scripted responder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from textual.containers import Horizontal
from textual.widgets import Static

import tui.app
import tui.conversation
import tui.turn_feed
from models.errors import CannotMeetError, InternalError, InterruptedByUser, KangaeError, ModelError
from runtime.events import Event, Failed
from runtime.request import Message
from runtime.responder import Responder
from runtime.worker.worker import WorkerError
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
    conversation,
    gate,
    make_app,
    screen_text,
    stored,
    until,
)
from tui.app import KangaeApp
from tui.note import Note
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


async def test_copying_takes_the_newest_answer() -> None:
    async with make_app().run_test(size=SMALL) as pilot:
        await ask(pilot, "12 + 30?")
        await pilot.press("ctrl+y")
        assert pilot.app.clipboard == "The sum is **42**."


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


async def test_old_turns_leave_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tui.conversation, "MOST_TURNS", 3)
    async with make_app(Script(thinking=("a",), answer=("b",))).run_test(size=SMALL) as pilot:
        for number in range(5):
            await app_of(pilot).ask(f"question {number}")
            await until(pilot, lambda: not app_of(pilot).busy)
        turns = list(conversation(pilot).query(Turn))
    assert [turn.question for turn in turns] == ["question 2", "question 3", "question 4"]


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


async def test_typing_while_the_conversation_has_the_focus_goes_to_the_box() -> None:
    async with make_app().run_test(size=SMALL) as pilot:
        conversation(pilot).focus()
        await pilot.press("h", "i")
        assert pilot.app.query_one(QuestionBox).text == "hi"

"""A turn that is paused in one run of the interface, and gone on with by F5 in the next."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.app import App, ComposeResult
from textual.content import Content
from textual.pilot import Pilot

from runtime.backends.fake import FakeBackend
from runtime.events import Closed, Progress, ThinkingDelta
from runtime.reply import ModelLabel
from runtime.request import Budget, Message, Request, Resumable
from runtime.responder import Hint, More
from runtime.settings import Settings
from runtime.turn.clock import TurnTimes
from runtime.turn.kept_turn import KeptTurn
from runtime.turn.kept_turns import KeptTurns
from runtime.turn.log import Earlier
from tests.fakes.scripted_responder import FACTS, ScriptedResponder
from tests.tui.helpers import (
    ANSWER,
    LARGE,
    NARROW,
    SMALL,
    THOUGHT,
    app_of,
    ask,
    begin,
    conversation,
    make_app,
    screen_text,
    stored,
    thinker,
    until,
)
from tui.cli import make_turns
from tui.interrupted_turn import InterruptedTurn
from tui.note import Note
from tui.preferences import Preferences
from tui.turn import Turn
from tui.turn_search import TurnSearch

OFFER = "A thought was interrupted: 1+1? · F5 goes on."


def offered(pilot: Pilot[Any]) -> bool:
    return app_of(pilot)._search.found is not None


async def pause_and_leave(*keys: str, question: str = "1+1?", **more: Any) -> str:
    """A run that is left while its first turn is paused; the beginning of the thought that was shown."""
    hold = threading.Event()
    async with make_app(responder=thinker(hold), turns=KeptTurns, **more).run_test(size=SMALL) as pilot:
        turn = await begin(pilot, question)
        await until(pilot, lambda: turn.thought.tokens > 4)
        await pilot.press(*keys, "f5")
        hold.set()
        await until(pilot, lambda: any(KeptTurns().folder.glob("*.turn")))
        text = turn.thought.text
    assert THOUGHT.startswith(text) and text != THOUGHT
    return text


@pytest.mark.parametrize("size", [SMALL, LARGE, NARROW])
async def test_f5_goes_on_with_what_the_run_before_left_paused(size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "sessions.sqlite3"
    left = await pause_and_leave(path=path)
    assert [reply["finish"] for reply in stored(path)["1+1?"]] == ["cancelled"]
    hold = threading.Event()
    second = make_app(responder=thinker(hold, at=2), turns=KeptTurns, path=path)
    async with second.run_test(size=size) as pilot:
        await until(pilot, lambda: "F5 goes on." in " ".join(screen_text(pilot).split()))
        if size != NARROW:
            assert OFFER in screen_text(pilot) and "It thinks first" in screen_text(pilot)
        await pilot.press("f5")
        await until(pilot, lambda: bool(pilot.app.query(Turn)) and left in pilot.app.query_one(Turn).thought.text)
        turn = pilot.app.query_one(Turn)
        await until(pilot, lambda: "❯ 1+1?" in screen_text(pilot))
        assert "was interrupted" not in screen_text(pilot)
        hold.set()
        await until(pilot, lambda: not app_of(pilot).busy)
        assert (turn.thought.text.strip(), turn.answer.text.strip()) == (THOUGHT, ANSWER)
        await until(pilot, lambda: not app_of(pilot)._keeper.busy)
        assert KeptTurns().all() == []
        await ask(pilot, "And once more?")
    first, second_reply = stored(path)["1+1?"]
    assert (first["finish"], first["thinking"], first["answer"]) == ("stop", THOUGHT, ANSWER)
    assert second_reply["question"] == "And once more?"
    assert [message.content for message in second._history] == ["1+1?", ANSWER, "And once more?", ANSWER]


async def test_asking_something_else_ends_the_offer_and_leaves_the_turn() -> None:
    await pause_and_leave()
    async with make_app(responder=thinker(), turns=KeptTurns).run_test(size=SMALL) as pilot:
        await until(pilot, lambda: OFFER in screen_text(pilot))
        await ask(pilot, "2+2?")
        assert "was interrupted" not in screen_text(pilot)
        await pilot.press("f5")
        await pilot.pause()
        assert len(pilot.app.query(Turn)) == 1 and not app_of(pilot).busy
        assert [turn.question for turn in KeptTurns().all()] == ["1+1?"]


def remove(path: Path) -> None:
    path.unlink()


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40] + b"x" * 40)
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(("spoil", "said"), [(remove, "No turn is kept as"), (damage, "cannot be gone on with")])
async def test_a_turn_that_is_lost_after_the_offer_is_one_note(spoil: Callable[[Path], None], said: str) -> None:
    await pause_and_leave()
    async with make_app(responder=thinker(), turns=KeptTurns).run_test(size=LARGE) as pilot:
        await until(pilot, lambda: OFFER in screen_text(pilot))
        (path,) = KeptTurns().folder.glob("*.turn")
        spoil(path)
        await pilot.press("f5")
        await until(pilot, lambda: bool(pilot.app.query(Turn)) and not app_of(pilot).busy)
        turn = pilot.app.query_one(Turn)
        error = turn.error
        assert error is not None and said in error.detail
        await until(pilot, lambda: error.title in screen_text(pilot))
        assert len(conversation(pilot).query("Note.-error")) == 1
        assert (await ask(pilot, "2+2?")).reply is not None


async def test_a_damaged_turn_is_not_offered() -> None:
    await pause_and_leave()
    (path,) = KeptTurns().folder.glob("*.turn")
    damage(path)
    looked = threading.Event()

    class Watched(KeptTurns):
        def all(self) -> list[KeptTurn]:
            try:
                return super().all()
            finally:
                looked.set()

    async with make_app(responder=thinker(), turns=Watched).run_test(size=SMALL) as pilot:
        await until(pilot, looked.is_set)
        await pilot.press("f5")
        await pilot.pause()
        assert not pilot.app.query(Turn) and "interrupted" not in screen_text(pilot)


async def test_a_search_that_fails_is_one_note_and_all_else_goes_on(own_folders: Path) -> None:
    def fail() -> KeptTurns:
        raise ZeroDivisionError("a fault of ours")

    async with make_app(turns=fail).run_test(size=LARGE) as pilot:
        await until(pilot, lambda: "ZeroDivisionError: a fault of ours" in screen_text(pilot))
        assert len(conversation(pilot).query(Note)) == 1
        assert (await ask(pilot, "12 + 30?")).reply is not None
    assert len(list((own_folders / "state" / "reports").iterdir())) == 1


async def test_a_turn_of_another_model_is_not_offered() -> None:
    await pause_and_leave()
    kept = KeptTurns().all()[0]
    other = replace(kept, request=replace(kept.request, id="other"), model=replace(kept.model, file="/a/other.gguf"))
    KeptTurns().write(replace(other, kept=kept.kept + 1.0))
    async with make_app(responder=thinker(), turns=KeptTurns).run_test(size=SMALL) as pilot:
        await until(pilot, lambda: offered(pilot))
        assert app_of(pilot)._search.found == InterruptedTurn(kept)


def test_a_turn_that_takes_more_context_than_is_open_is_not_found() -> None:
    small = kept()
    large = replace(small, request=replace(small.request, id="2"), context=4096, kept=1.0)
    for turn in (small, large):
        KeptTurns().write(turn)
    for context, expected in ((2048, small), (4095, small), (4096, large), (None, large)):
        looked = threading.Event()
        search = TurnSearch(KeptTurns, looked.set)
        search.begin(FACTS.file, context)
        assert looked.wait(20) and search.end() == InterruptedTurn(expected)


async def test_a_turn_that_takes_more_context_than_the_model_is_open_with_is_not_offered() -> None:
    await pause_and_leave()
    kept = KeptTurns().all()[0]
    large = replace(kept, request=replace(kept.request, id="large"), context=kept.context + 1, kept=kept.kept + 1.0)
    KeptTurns().write(large)
    async with make_app(responder=thinker(), turns=KeptTurns).run_test(size=SMALL) as pilot:
        await until(pilot, lambda: offered(pilot))
        assert app_of(pilot)._search.found == InterruptedTurn(kept)


async def test_nothing_is_kept_where_nothing_is_to_be_kept(own_folders: Path) -> None:
    assert make_turns(Settings(store=False)) is None
    turns = make_turns(Settings())
    assert turns is not None and turns().folder == own_folders / "state" / "turns"
    asked: list[type[Request]] = []
    for keep in (None, KeptTurns):
        responder = ScriptedResponder()
        async with make_app(responder=responder, turns=keep).run_test(size=SMALL) as pilot:
            await ask(pilot, "12 + 30?")
        asked += [type(request) for request in responder.requests]
    assert asked == [Request, Resumable]


async def test_a_budget_that_was_raised_stays_so_when_it_goes_on_and_where_it_breaks_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pause_and_leave("f4", budget=100)
    path, broken = tmp_path / "sessions.sqlite3", threading.Event()

    def fail(backend: FakeBackend) -> None:
        broken.wait(20)
        raise ZeroDivisionError("a fault of ours")

    breaking = thinker()
    monkeypatch.setattr(breaking._backend, "_on_decode", fail)
    async with make_app(responder=breaking, turns=KeptTurns, path=path).run_test(size=SMALL) as pilot:
        await until(pilot, lambda: offered(pilot))
        await pilot.press("f5")
        await until(pilot, lambda: bool(pilot.app.query(Turn)) and bool(pilot.app.query_one(Turn).thought.tokens))
        assert "/164 tokens" in screen_text(pilot)
        await pilot.press("f4")
        assert pilot.app.query_one(Turn).thought.budget == 164 + 82
        broken.set()
        await until(pilot, lambda: not app_of(pilot).busy)
    (reply,) = stored(path)["1+1?"]
    assert (reply["finish"], reply["budget"]["tokens"]) == ("error", 164 + 82)


LONG_THOUGHT = "\n".join(f"Line {number}." for number in range(30))


@pytest.mark.parametrize("folded", [None, True])
@pytest.mark.parametrize("size", [SMALL, NARROW])
async def test_what_goes_on_shows_its_question_and_thought_however_fast_it_ends_and_is_offered_once(
    folded: bool | None, size: tuple[int, int], tmp_path: Path
) -> None:
    hold, preferences = threading.Event(), tmp_path / "tui.json"
    Preferences(folded).save(preferences)
    more: dict[str, Any] = {"turns": KeptTurns, "preferences": preferences}
    async with make_app(responder=thinker(hold, thought=LONG_THOUGHT), **more).run_test(size=size) as pilot:
        turn = await begin(pilot, "1+1?")
        await until(pilot, lambda: turn.thought.tokens > 4)
        await pilot.press("f5")
        hold.set()
        await until(pilot, lambda: any(KeptTurns().folder.glob("*.turn")))
    async with make_app(responder=thinker(thought=LONG_THOUGHT), **more).run_test(size=size) as pilot:
        await until(pilot, lambda: offered(pilot) and "F5 Go on" in screen_text(pilot).splitlines()[-1])
        await pilot.press("f5")
        await until(pilot, lambda: bool(pilot.app.query(Turn)) and not app_of(pilot).busy)
        await until(pilot, lambda: "It is 2." in screen_text(pilot))
        text = screen_text(pilot)
        assert "❯ 1+1?" in text and "▼ thought" in text and "Line 29." in text and "Line 0." not in text
        assert "F5" not in text.splitlines()[-1]
        await pilot.press("ctrl+t", "ctrl+home")
        await until(pilot, lambda: "Line 0." in screen_text(pilot))
    looked = threading.Event()

    class Watched(KeptTurns):
        def all(self) -> list[KeptTurn]:
            found = super().all()
            looked.set()
            return found

    async with make_app(responder=thinker(), turns=Watched).run_test(size=size) as pilot:
        await until(pilot, looked.is_set)
        assert not offered(pilot) and "interrupted" not in screen_text(pilot)


def kept(question: str = "1+1?", *, thinking: float | None = None, answer: float | None = None) -> KeptTurn:
    return KeptTurn(
        request=Request(
            (
                Message("system", "Be brief."),
                Message("user", "First?"),
                Message("assistant", "Yes."),
                Message("user", question),
            ),
            Budget(100, seconds=9.0),
            id="1",
        ),
        model=ModelLabel("m", FACTS.file, "Q8_0", "llama"),
        weights="",
        context=2048,
        history=(1,),
        held=0,
        earlier=Earlier((), TurnTimes(4.0, thinking=thinking, answer=answer), wishes=(More(64), Hint("x"), More(9))),
        kept=0.0,
    )


def test_what_is_told_of_a_kept_turn() -> None:
    turn = InterruptedTurn(kept(thinking=1.5))
    assert (turn.granted, turn.budget, turn.seconds_left, turn.thought_for) == (73, 173, 5.0, 2.5)
    assert InterruptedTurn(kept(thinking=1.5, answer=3.0)).thought_for == 1.5
    assert InterruptedTurn(kept()).thought_for == 0.0
    paused = TurnTimes(40.0, thinking=1.5, answer=5.0, stands=((1.0, 0.5), (4.0, 2.0), (40.0, 30.0)))
    assert InterruptedTurn(replace(kept(), earlier=Earlier((), paused))).thought_for == 1.5
    assert InterruptedTurn(replace(kept(), earlier=Earlier((), replace(paused, answer=None)))).thought_for == 6.5
    assert [one.content for one in turn.earlier] == ["First?", "Yes."]
    assert (turn.request.resumed, turn.request.id) == (True, "1")
    fits = [turn.goes_on(*one) for one in ((FACTS.file, 2048), (FACTS.file, None), (FACTS.file, 2047), ("/x", 2048))]
    assert fits == [True, True, False, False]


@pytest.mark.parametrize(
    "question", ["1+1?", "How many of 320\nbolts are left? " * 9, "棚にボルトが320個あります。" * 9]
)
def test_the_offer_is_one_line_of_80_columns(question: str) -> None:
    for offer in (InterruptedTurn(kept(question)).offer, InterruptedTurn(kept(question, answer=3.0)).offer):
        assert offer.startswith(("A thought was interrupted: ", "An answer was interrupted: "))
        assert offer.endswith(" · F5 goes on.")
        assert question[:6] in offer or question.startswith(offer.split(": ")[1][:6])
        assert Content(offer).cell_length <= 75 and "\n" not in offer


async def test_what_is_told_again_counts_as_time_but_not_as_speed_and_earlier_questions_are_named() -> None:
    before = InterruptedTurn(kept()).earlier
    turn = Turn("1+1?", 173, folded=None, started=100.0, earlier=before, thought_for=2.5)

    class Page(App[None]):
        def compose(self) -> ComposeResult:
            yield turn

    async with Page().run_test(size=SMALL) as pilot:
        await pilot.pause()
        assert "Its conversation had 1 question before; the model knows what was said." in screen_text(pilot)
        again = [ThinkingDelta("12 + ", 300), ThinkingDelta("(ten)", 300, forced=True), ThinkingDelta("30", 400)]
        await turn.apply((101.0 + number / 1000, event) for number, event in enumerate(again))
        turn.tick(101.0)
        assert turn.tokens_per_second is None and "2.5 s · 400/173 tokens" in turn.thought.title().plain
        await turn.apply([(102.0, Progress(9, 9)), (103.0, ThinkingDelta("x", 401))])
        await turn.apply([(104.0, ThinkingDelta("y", 411))])
        assert turn.tokens_per_second == 10.0
        turn.pause(True, 104.0)
        turn.tick(204.0)
        turn.pause(False, 204.0)
        await turn.apply([(205.0, Closed("budget", 411))])
        # 2.5 s before, 3 s since: not the second in which it was read again, and not the pause
        assert "thought 5.5 s · 411/173 tokens" in turn.thought.title().plain

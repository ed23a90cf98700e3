"""The rules behind the panes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest
from textual.app import App, ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from models.tiny.thought import PHRASES
from runtime.answers.decline import declines
from runtime.end_sentences import end_sentences
from runtime.events import Closed, ThinkingDelta
from runtime.settings import Settings
from tests.fakes.scripted_responder import FACTS, Script
from tests.runtime.test_profile_store import PROFILE
from tests.tui.helpers import ask, make_app, reply_that, screen_text
from tui.answer_pane import AnswerPane, settled_length
from tui.app import KangaeApp
from tui.budget_bar import budget_bar
from tui.budget_steps import budget_name, budget_steps, larger_budget, smaller_budget, thought_length
from tui.chat_options import ChatOptions
from tui.cli import make_log
from tui.close_reason import close_words
from tui.live_text import LiveText
from tui.markdown_rules import make_parser
from tui.pauses import Pauses
from tui.status_line import facts_line
from tui.thought_pane import ThoughtPane, ThoughtTitle, seconds_words
from tui.turn import Turn


@pytest.mark.parametrize(
    ("context", "own", "steps"),
    [
        (512, None, (None, 256, 128, 64, 32, 16, 0)),
        (8191, None, (None, 2048, 1024, 512, 256, 128, 64, 32, 16, 0)),
        (8192, None, (None, 4096, 2048, 1024, 512, 256, 0)),
        (40960, 2000, (None, 16384, 8192, 4096, 2048, 2000, 1024, 512, 256, 0)),
        (512, 2000, (None, 2000, 256, 128, 64, 32, 16, 0)),
        (512, 64, (None, 256, 128, 64, 32, 16, 0)),
        (512, 0, (None, 256, 128, 64, 32, 16, 0)),
        (20, None, (None, 0)),
        (0, 2000, (None, 2000, 0)),
    ],
)
def test_the_budgets_follow_the_context_and_what_the_user_began_with(
    context: int, own: int | None, steps: tuple[int | None, ...]
) -> None:
    assert budget_steps(context, own) == steps


@pytest.mark.parametrize(
    ("context", "length", "steps"),
    [
        (2048, 83, (None, 256, 128, 64, 32, 16, 0)),
        (2048, 128, (None, 256, 128, 64, 32, 16, 0)),
        (2048, 129, (None, 512, 256, 128, 64, 32, 16, 0)),
        (40960, 1500, (None, 4096, 2048, 1024, 512, 256, 128, 0)),
        (512, 1500, (None, 256, 128, 0)),
        (2048, 1, (None, 0)),
    ],
)
def test_the_first_budget_below_unlimited_is_near_the_length_of_a_usual_thought(
    context: int, length: int, steps: tuple[int | None, ...]
) -> None:
    assert budget_steps(context, length=length) == steps


def test_a_usual_thought_is_as_long_as_the_profile_measured_or_as_the_size_says() -> None:
    assert thought_length(FACTS) == 128
    assert thought_length(replace(FACTS, parameters=8_000_000_000)) is None
    for parameters in (1_000, 8_000_000_000):
        assert thought_length(replace(FACTS, parameters=parameters, profile=PROFILE)) == 83
    assert thought_length(replace(FACTS, profile=replace(PROFILE, efforts=None, rows=()))) == 128


def test_the_budgets_go_around_both_ways() -> None:
    steps = budget_steps(300)
    down, up = [steps[0]], [steps[0]]
    for _ in steps:
        down.append(smaller_budget(down[-1], steps))
        up.append(larger_budget(up[-1], steps))
    assert [budget_name(step) for step in down] == ["unlimited", "128", "64", "32", "16", "off", "unlimited"]
    assert up == down[::-1]


def test_a_budget_between_the_steps_goes_to_the_next_one() -> None:
    steps = budget_steps(300)
    assert (smaller_budget(50, steps), larger_budget(50, steps)) == (32, 64)
    assert (smaller_budget(500, steps), larger_budget(500, steps)) == (128, None)


@pytest.mark.parametrize(
    ("spent", "budget", "bar"),
    [(0, 64, "────────"), (1, 64, "━───────"), (32, 64, "━━━━────"), (64, 64, "━━━━━━━━"), (5, None, ""), (0, 0, "")],
)
def test_the_bar_fills_with_the_budget(spent: int, budget: int | None, bar: str) -> None:
    assert budget_bar(spent, budget, 8).plain == bar


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (0, "kangae-tiny · Q8_0 · 123 tok/s · context 19/2048"),
        (48, "kangae-tiny · Q8_0 · 123 tok/s · context 19/2048"),
        (47, "kangae-tiny · Q8_0 · context 19/2048"),
        (35, "kangae-tiny · Q8_0"),
        (5, "kangae-tiny · Q8_0"),
    ],
)
def test_facts_that_do_not_fit_are_left_out_whole(width: int, line: str) -> None:
    assert facts_line(("kangae-tiny · Q8_0", "123 tok/s", "context 19/2048"), width).plain == line
    assert facts_line(("kangae-tiny", "", ""), width).plain == "kangae-tiny"


def test_every_close_reason_has_words() -> None:
    from typing import get_args

    from runtime.reply import CloseReason

    assert all(close_words(reason) != reason for reason in get_args(CloseReason))


@pytest.mark.parametrize(
    ("text", "settled"),
    [
        ("one", ""),
        ("one\n\ntwo", "one\n\n"),
        ("one\n\n```py\na\n\nb", "one\n\n"),
        ("```py\na\n\nb\n```\n\nafter", "```py\na\n\nb\n```\n\n"),
        ("```\n~~~\n\n", ""),
    ],
)
def test_an_open_fence_is_not_settled(text: str, settled: str) -> None:
    assert text[: settled_length(text)] == settled


@pytest.mark.parametrize(
    ("source", "html"),
    [
        ("2*3*4 = 24", "<p>2*3*4 = 24</p>\n"),
        ("(2)*(3)*4", "<p>(2)*(3)*4</p>\n"),
        ("*so* and **42**", "<p><em>so</em> and <strong>42</strong></p>\n"),
        ("一行目\n二行目", "<p>一行目<br />\n二行目</p>\n"),
        ("<think>x</think>", "<p>&lt;think&gt;x&lt;/think&gt;</p>\n"),
    ],
)
def test_markdown_as_people_mean_it(source: str, html: str) -> None:
    parser = make_parser()
    parser.options["xhtmlOut"] = True
    assert parser.render(source) == html


class _Bench(App[None]):
    def compose(self) -> ComposeResult:
        yield LiveText()
        yield AnswerPane()


async def test_live_text_settles_in_blocks_and_loses_nothing() -> None:
    app = _Bench()
    lines = [f"line {number} of a long thought" for number in range(400)]
    async with app.run_test() as pilot:
        live = app.query_one(LiveText)
        for line in lines:
            live.append(line + "\n")
        await pilot.pause()
        blocks = list(live.query(Static))
        assert len(blocks) > 5
        assert max(len(str(block.content)) for block in blocks) < 2000
        assert "\n".join(str(block.content) for block in blocks) == "\n".join(lines)


async def test_an_answer_grows_by_paragraphs_and_ends_as_one_document() -> None:
    source = "First **one**.\n\n- a\n- b\n\n```py\nx = 1\n\ny = 2\n```\n\nLast 一 `code`."
    app = _Bench()
    async with app.run_test(size=(80, 40)) as pilot:
        pane = app.query_one(AnswerPane)
        for sign in source:
            await pane.add(sign)
        await pilot.pause()
        assert app.query_one("AnswerPane LiveText Static", Static).content.plain == "Last 一 `code`."  # type: ignore[union-attr]
        await pane.end()
        await pilot.pause()
        grown = [type(block).__name__ for block in pane.query("MarkdownBlock")]
        assert not pane.query(LiveText)
    assert pane.text == source
    assert grown.count("MarkdownFence") == 1 and grown.count("MarkdownParagraph") >= 2


async def test_what_was_put_in_by_force_is_told_apart() -> None:
    pane = ThoughtPane(8)

    class Page(App[None]):
        def compose(self) -> ComposeResult:
            yield pane

    def styles() -> dict[str, str]:
        shown = pane.query_one(LiveText).query(Static).last().content
        assert isinstance(shown, Content)
        return {shown.plain[span.start : span.end]: str(span.style) for span in shown.spans}

    async with Page().run_test() as pilot:
        pane.think("12 + 30", 3, 0.1)
        pane.think("\nTime is up.", 3, 0.1, forced=True)
        pane.think(" So", 4, 0.2)
        await pilot.pause()
        assert pane.text == "12 + 30\nTime is up. So"
        assert styles() == {"\nTime is up.": "dim italic"}
        pane.fold(True, by_user=True)
        pane.fold(False, by_user=True)
        await pilot.pause()
        assert styles() == {"\nTime is up.": "dim italic"}


async def test_forced_and_own_text_stay_apart_when_they_come_together() -> None:
    turn = Turn("?", 8, folded=None, started=0.0)

    class Page(App[None]):
        def compose(self) -> ComposeResult:
            yield turn

    async with Page().run_test() as pilot:
        own, forced = ThinkingDelta("12", 1), ThinkingDelta(" Time is up.", 1, forced=True)
        await turn.apply([(0.1, own), (0.1, own), (0.2, forced)])
        await pilot.pause()
        shown = turn.thought.query_one(LiveText).query(Static).last().content
        assert isinstance(shown, Content)
        assert [(span.start, span.end) for span in shown.spans] == [(4, 16)]


def test_pauses_are_left_out_once_and_only_where_they_were() -> None:
    pauses = Pauses()
    pauses.begin(10.0)
    pauses.begin(11.0)
    assert (pauses.between(0.0, 9.0), pauses.between(0.0, 14.0), pauses.between(12.0, 14.0)) == (0.0, 4.0, 2.0)
    pauses.end(14.0)
    pauses.end(20.0)
    pauses.add(13.0, 16.0)
    pauses.add(2.0, 3.0)
    pauses.add(5.0, 5.0)
    assert (pauses.between(0.0, 20.0), pauses.between(13.5, 15.0), pauses.between(2.5, 4.0)) == (7.0, 1.5, 0.5)


async def test_a_pause_between_two_ticks_neither_stops_the_clock_nor_speeds_the_tokens_up() -> None:
    turn = Turn("?", 64, folded=None, started=100.0)

    class Page(App[None]):
        def compose(self) -> ComposeResult:
            yield turn

    async with Page().run_test(size=(80, 24)):
        turn.tick(100.0)
        await turn.apply([(100.07, ThinkingDelta("a", 1))])
        turn.pause(True, 100.08)
        for tick in (100.1, 100.2, 130.0):
            turn.tick(tick)
        turn.pause(False, 130.04)
        await turn.apply([(130.05, ThinkingDelta("b", 2))])
        assert turn.tokens_per_second is None  # too short to tell by
        await turn.apply([(132.04, ThinkingDelta("c", 41)), (132.1, Closed("natural", 41))])
        assert turn.tokens_per_second == pytest.approx(40 / 2.01)
        assert "thought 2.1 s · 41/64 tokens · finished by itself" in turn.thought.title().plain


REASONS = [
    "finished by itself",
    "you asked for the answer",
    "was going in circles",
    "ended by the budget",
    "time was up",
]


@pytest.mark.parametrize("columns", [40, 46, 60, 80, 200])
@pytest.mark.parametrize("words", REASONS)
async def test_why_a_thought_ended_stands_whole_on_every_width(columns: int, words: str) -> None:
    pane = ThoughtPane(16384)

    class Page(App[None]):
        CSS_PATH = KangaeApp.CSS_PATH

        def compose(self) -> ComposeResult:
            with VerticalScroll():
                yield pane

    async with Page().run_test(size=(columns, 20)) as pilot:
        pane.think("棚にボルトが320個あります。" * 9, 12345, 100.2)
        await pilot.pause()
        width = pane.query_one(ThoughtTitle).size.width
        assert "12345/16384" in pane.title().plain and pane.title().cell_length <= width
        pane.end(words, 123.4, 12345)
        await pilot.pause()
        lines = [line.text.strip() for line in pilot.app.screen._compositor.render_strips()]
        assert "12345/16384" in lines[0] and "123.4 s" in lines[0]
        assert [line for line in lines if line.endswith(words)]
        assert (columns < 60) == lines[1].startswith(words) and (columns < 60 or lines[0].endswith(words))


def test_a_title_says_what_fits() -> None:
    assert [seconds_words(seconds) for seconds in (0.0, 0.04, 0.06, 3.24)] == ["<0.1 s", "<0.1 s", "0.1 s", "3.2 s"]


async def test_of_a_long_thought_the_end_is_shown_until_it_stands_or_is_unfolded() -> None:
    pane = ThoughtPane(64)

    class Page(App[None]):
        CSS_PATH = KangaeApp.CSS_PATH

        def compose(self) -> ComposeResult:
            yield pane

    def shows(number: int) -> bool:
        return any(line.text.strip("▌ ▁▂▃▄▅▆▇█") == f"line {number}" for line in app.screen._compositor.render_strips())

    app = Page()
    async with app.run_test(size=(80, 50)) as pilot:
        for number in range(36):
            pane.think(f"line {number}\n", number, 0.1)
            await pilot.pause()
        assert shows(35) and not shows(5) and pane.size.height <= 26 and pane.cut
        pane.pause(True)
        await pilot.pause()
        assert shows(5) and shows(35) and not pane.cut
        pane.pause(False)
        pane.end("budget spent", 1.0, 36)
        pane.keep_tail()
        await pilot.pause()
        assert not shows(5) and shows(35) and pane.cut
        pane.fold(False, by_user=True)
        await pilot.pause()
        assert shows(5) and shows(35) and not pane.cut


JAPANESE_THOUGHT = tuple(f"{number}行目。棚にボルトが320個あります。145個出荷しました。\n" for number in range(14))


@pytest.mark.parametrize("size", [(46, 20), (80, 24)])
async def test_all_of_a_turn_is_seen_at_a_glance(size: tuple[int, int]) -> None:
    question = "棚にボルトが320個あります。145個出荷しました。60個届きました。残りは何個？"
    async with make_app(Script(JAPANESE_THOUGHT, ("235 個",)), budget=64).run_test(size=size) as pilot:
        turn = await ask(pilot, question)
        text = screen_text(pilot)
        assert "❯ 棚にボルトが" in text and "14/64" in text and "finished by itself" in text
        assert "─ answer · 1 token" in text and "235 個" in text and "13行目" in text
        await pilot.press("ctrl+t")
        await pilot.pause()
        assert not turn.thought.folded and not turn.thought.cut
        await pilot.press("ctrl+t")
        await pilot.pause()
        assert turn.thought.folded


@pytest.mark.parametrize("language", ["en", "ja"])
async def test_that_the_model_declined_is_told_above_its_answer(language: Literal["en", "ja"]) -> None:
    refusal = PHRASES[language].refusal
    assert declines(f" {refusal}\n") and not declines(f"{refusal} 12") and not declines("")
    async with make_app(Script(answer=(refusal,)), Script()).run_test(size=(46, 20)) as pilot:
        await ask(pilot, "Who wrote it?")
        assert "─ answer: the model declined · 1 token" in screen_text(pilot)
        assert refusal in screen_text(pilot)
        await ask(pilot, "12 + 30?")
        assert "─ answer · 5 tokens" in screen_text(pilot)


@pytest.mark.parametrize(
    ("ends", "sentences"),
    [
        ({}, []),
        ({"flags": ("unsure",)}, ["Flagged: unsure"]),
        ({"finish": "cancelled"}, ["Stopped; what was written is kept."]),
        ({"finish": "error", "flags": ("Cannot be met: too late.",)}, ["Cannot be met: too late."]),
        ({"finish": "error"}, ["The reply ended early by an error; asking again may help."]),
    ],
)
def test_how_a_reply_ended_is_said_once(ends: dict[str, Any], sentences: list[str]) -> None:
    assert end_sentences(reply_that(**ends)) == sentences


def test_what_the_user_wants_of_the_store_holds_for_conversations() -> None:
    options = ChatOptions(system="Be brief.")
    assert make_log(options, Settings(store=False)) is None
    log = make_log(options, Settings(thinking_days=3))
    assert log is not None
    assert log().thinking_days == 3 and log() is not log()

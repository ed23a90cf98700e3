"""The rules behind the panes."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult
from textual.widgets import Static

from tui.answer_pane import AnswerPane, settled_length
from tui.budget_bar import budget_bar
from tui.budget_steps import STEPS, budget_name, next_budget
from tui.close_reason import close_words
from tui.live_text import LiveText
from tui.markdown_rules import make_parser


def test_the_budgets_go_around() -> None:
    step: int | None = None
    seen = []
    for _ in STEPS:
        step = next_budget(step)
        seen.append(step)
    assert tuple(seen) == STEPS
    assert next_budget(50) == 64
    assert next_budget(500) is None
    assert [budget_name(step) for step in STEPS] == ["off", "16", "32", "64", "128", "unlimited"]


@pytest.mark.parametrize(
    ("spent", "budget", "bar"),
    [(0, 64, "────────"), (1, 64, "━───────"), (32, 64, "━━━━────"), (64, 64, "━━━━━━━━"), (5, None, ""), (0, 0, "")],
)
def test_the_bar_fills_with_the_budget(spent: int, budget: int | None, bar: str) -> None:
    assert budget_bar(spent, budget, 8).plain == bar


def test_every_close_reason_has_words() -> None:
    from typing import get_args

    from runtime.events import CloseReason

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

"""A turn that was to be judged is, also where the interface goes on with it; and what puts an answer in doubt."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from runtime.commands.reply_end import exit_code_of
from runtime.end_sentences import end_sentences
from runtime.reply import Check, Reply
from runtime.request import Request
from runtime.turn.kept_turns import KeptTurns
from runtime.verification import judged
from runtime.verifiers.registry import choose
from tests.fakes.scripted_responder import Script
from tests.tui.helpers import SMALL, app_of, ask, begin, make_app, reply_that, screen_text, stored, thinker, until
from tui.turn import Turn


async def interrupted(verifiers: Sequence[str], **options: Any) -> Request:
    """A turn that these were to judge, left while it was paused: what is kept of it."""
    hold = threading.Event()
    async with make_app(responder=thinker(hold), turns=KeptTurns).run_test(size=SMALL) as pilot:
        turn = await begin(pilot, "What is 1 + 1?")
        await until(pilot, lambda: turn.thought.tokens > 4)
        await pilot.press("f5")
        hold.set()
        await until(pilot, lambda: any(KeptTurns().folder.glob("*.turn")))
    (kept,) = KeptTurns().all()
    request = replace(kept.request, verifiers=tuple(verifiers), verifier_options=options)
    KeptTurns().write(replace(kept, request=request))
    return request


async def gone_on(pilot: Pilot[Any]) -> Reply:
    app = app_of(pilot)
    await until(pilot, lambda: app._search.found is not None)
    await pilot.press("f5")
    await until(pilot, lambda: bool(app.query(Turn)) and not app.busy and not app._keeper.busy)
    reply = app.query_one(Turn).reply
    assert reply is not None
    return reply


LIMITS = {"limits": {"maximum": 1}}


@pytest.mark.parametrize(
    ("verifiers", "options", "kinds", "said"),
    [
        (["arithmetic", "units"], {}, [("arithmetic", "truth", True)], ""),
        (["units"], LIMITS, [("units", "form", False)], "Doubtful: units: "),
        (["units"], {"limits": {"maximum": 9}}, [("units", "form", True)], "Only the form was checked (units)"),
        ([], LIMITS, [], ""),
    ],
)
async def test_a_turn_that_goes_on_is_judged_as_one_that_ran_through(
    verifiers: list[str], options: dict[str, Any], kinds: list[tuple[str, str, bool]], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "sessions.sqlite3"
    request = await interrupted(verifiers, **options)
    async with make_app(responder=thinker(), turns=KeptTurns, path=path).run_test(size=SMALL) as pilot:
        reply = await gone_on(pilot)
        assert [(one.name, one.kind, one.passed) for one in reply.checks] == kinds
        bare = replace(reply, checks=(), flags=tuple(flag for flag in reply.flags if not flag.startswith("verify: ")))
        known = [one for name in verifiers for one in choose(name)]
        again = judged(bare, known, request.budget.seconds, options=options)
        assert replace(again, timings=reply.timings) == reply
        assert said in screen_text(pilot) and ("Doubtful" in screen_text(pilot)) is said.startswith("Doubtful")
    (record,) = next(iter(stored(path).values()))
    assert len(record.get("checks", [])) == len(kinds)


async def test_a_turn_whose_verifier_is_gone_is_not_taken_for_judged() -> None:
    await interrupted(["uninstalled"])
    async with make_app(responder=thinker(), turns=KeptTurns).run_test(size=SMALL) as pilot:
        reply = await gone_on(pilot)
        assert reply.answer and not reply.checks and exit_code_of(reply) == 8
        assert "Doubtful: the answer was not judged: There is no verifier 'uninstalled'" in screen_text(pilot)


UNREPAIRED = "1+1:1+1=3,3\nso 3\nWait, check\n1+1 ok\n3-1:3-1=2,2=2\n2~1 no"


async def test_a_thought_that_objects_to_its_own_answer_is_told_below_it() -> None:
    async with make_app(responder=thinker(thought=UNREPAIRED)).run_test(size=SMALL) as pilot:
        turn = await ask(pilot, "1+1?")
        assert turn.reply is not None and exit_code_of(turn.reply) == 8
        await until(pilot, lambda: "Doubtful: the thought's own check said no, and nothing was" in screen_text(pilot))


async def test_two_hints_are_counted_above_the_answer() -> None:
    hold = threading.Event()
    async with make_app(Script(), responder=thinker(hold)).run_test(size=SMALL) as pilot:
        turn = await begin(pilot, "1+1?")
        await until(pilot, lambda: bool(turn.thought.tokens))
        assert app_of(pilot).give_hint("use ten") and app_of(pilot).give_hint("or twenty")
        hold.set()
        await until(pilot, lambda: not app_of(pilot).busy)
        assert "─ answer · 1 token · with 2 hints of yours" in screen_text(pilot)


def test_what_stands_below_an_answer() -> None:
    passed = Check("units", True, "It is in range.", "form")
    form = "Only the form was checked (units); nothing recomputed the answer."
    assert end_sentences(reply_that()) == []
    assert end_sentences(reply_that(checks=(passed,))) == [form]
    assert end_sentences(reply_that(checks=(replace(passed, kind="truth"),))) == []
    assert end_sentences(reply_that(flags=("leak: it goes on", "unsure: so"), checks=(passed,))) == [
        "Doubtful: so.", "Flagged: leak: it goes on",
    ]  # fmt: skip


def test_a_wrong_sum_of_the_thought_is_quoted_below_the_answer() -> None:
    reply = judged(reply_that(thinking="3 + 4 = 8, so 8.", answer="8"), choose("arithmetic"), None)
    assert reply.flags == ("verify: arithmetic: Line 1 of the thinking has a wrong sum, which comes to 7.",)
    assert end_sentences(reply) == [
        "Doubtful: arithmetic: Line 1 of the thinking has a wrong sum, “3 + 4 = 8”, which comes to 7."
    ]

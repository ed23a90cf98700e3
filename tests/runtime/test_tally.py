"""Rules that act on single draws are told once each: bans, the penalty on doubts, the ramp."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from runtime.phase import Phase
from runtime.reply import Decision, Reply
from runtime.request import Endings
from runtime.turn.decisions import decisions_of
from runtime.turn.log import Drew, PutHint, Step, steps_as_json, steps_from_json
from runtime.turn.tally import Fired, Tally
from tests.fakes.scripted_model import ask, model, reply_of, responder
from tests.runtime.test_decisions import COURSE, closed
from tests.runtime.test_endings import WORDS, doubts, drawn, ended, thinking


def acted(reply: Reply) -> list[Decision]:
    return [one for one in reply.decisions if one.rule in ("minimum", "opener", "end", "hesitation", "ramp")]


def test_a_closer_that_was_refused() -> None:
    reply = reply_of(responder(model("<think>ab</think>2")).respond(ask(minimum=6)))
    count = reply.thinking.count("~")  # what the script has in the closer's place
    (found,) = acted(reply)
    assert count >= 1
    assert (found.rule, found.number) == ("minimum", count)
    assert reply.decisions.index(found) == 1 and 2 <= found.token < 6
    ending = reply_of(responder(model("<think>ab")).respond(ask(minimum=6)))  # ends its turn inside the thought
    (found,) = acted(ending)
    assert (found.rule, found.number) == ("minimum", ending.thinking.count("~"))
    assert not acted(reply_of(responder(model("<think>abcdefgh</think>2")).respond(ask(minimum=6))))


def test_an_opener_and_an_end_that_were_refused() -> None:
    again = reply_of(responder(model("<think>a</think>b<think>c")).respond(ask()))
    (found,) = acted(again)
    assert (found.rule, found.token, found.number) == ("opener", again.usage.thinking_tokens, 1)
    assert found == again.decisions[-1]
    empty = reply_of(responder(model("<think>a</think>")).respond(ask()))
    (found,) = acted(empty)
    assert (found.rule, found.token) == ("end", 1) and 1 <= (found.number or 0) <= 4
    assert found.words.startswith("the model was kept from ending its turn without an answer")


def test_hesitant_words_that_were_passed_over() -> None:
    doubtful = thinking(WORDS, doubts)
    (found,) = acted(ended(doubtful, Endings(hesitation=1.5), vocabulary=WORDS))
    assert (found.rule, found.token, found.number) == ("hesitation", 0, 3)
    assert found.words == "a hesitant word was the likeliest, and 1.5 nats less made another one so, at 3 draws"
    assert not acted(ended(doubtful, Endings(hesitation=0.5), vocabulary=WORDS))  # it was too little to turn any
    assert not acted(ended(doubtful, Endings(), vocabulary=WORDS))


def test_a_closer_that_was_made_likelier_is_told_whether_or_not_it_closed() -> None:
    replies = [drawn(seed, ramp=True) for seed in range(12)]
    late = [reply for reply in replies if reply.usage.thinking_tokens > 43]
    assert {reply.close for reply in late} >= {"soft"}
    for reply in late:
        (found,) = acted(reply)
        assert found.rule == "ramp" and found.token >= 42
        assert found.number == reply.usage.thinking_tokens - found.token + (reply.close != "budget")
    assert not acted(drawn(0, ramp=False))


def test_each_is_told_where_it_first_acted() -> None:
    fired = (Fired("end", 40, 2), Fired("ramp", 33, 5), Fired("minimum", 3, 1))
    course = replace(
        COURSE, close="soft", marks=((20, PutHint("\nuse ten\n", (4, 5))), closed("soft", 40)), fired=fired
    )
    told = decisions_of(replace(course, hints_left=1))
    assert [one.rule for one in told] == ["opened", "minimum", "hint", "ramp", "soft", "forced", "hint", "end"]
    tokens = [one.token for one in told]
    assert tokens == sorted(tokens)
    words = [one.words for one in told if one.rule in ("ramp", "minimum")]
    assert words[0].endswith("at 1 draw") and words[1].endswith("at 5 draws")
    assert course.start is Phase.BEFORE


def test_draws_are_counted_by_what_acted_on_them() -> None:
    tally = Tally()
    for token, step in enumerate((Drew(1), Drew(2, banned="minimum"), Drew(3, True, turned=True), Drew(4, True))):
        tally.count(step, token)
    assert tally.fired == (Fired("minimum", 1, 1), Fired("hesitation", 2, 1), Fired("ramp", 2, 2))


@pytest.mark.parametrize(
    "step",
    [
        Drew(5),
        Drew(5, banned="opener"),
        Drew(5, True, -0.5, "minimum", True),
        Drew(5, turned=True),
        PutHint(late=True),
        PutHint("x", (1, 2)),
    ],
)
def test_the_log_keeps_what_acted_on_a_draw(step: Step) -> None:
    assert steps_from_json(json.loads(json.dumps(steps_as_json([step])))) == (step,)


def test_a_log_of_before_is_read_and_a_wrong_one_is_not() -> None:
    old = [["drew", 5, True, None], ["hint", "x", [1, 2]], [7, 8]]
    assert steps_from_json(old) == (Drew(5, True), PutHint("x", (1, 2)), Drew(7), Drew(8))
    with pytest.raises(ValueError, match="no ban"):
        steps_from_json([["drew", 5, False, None, "because", False]])

"""Thoughts that never end: of ten thousand tokens and new words for ever, or of one round again and again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from runtime.backends.fake import CLOSE_THINK, IM_END, THINK, FakeBackend, Script
from runtime.reply import Reply
from runtime.request import Budget, Endings
from tests.fakes.scripted_model import FORCED_CLOSE, VOCABULARY, ask, reply_of, responder

LENGTH = 10_000
ANSWER = b"It is 2"


def prose(length: int) -> bytes:
    """Sentences of words that are never the same for long, a token each sign."""
    drawn = random.Random(7)
    words = ("".join(drawn.choices("abcdefghijklmnoprstuvw", k=drawn.randint(2, 9))) for _ in range(length))
    return ". ".join(" ".join(next(words) for _ in range(6)) for _ in range(length // 18)).encode()[:length]


def thinking(thought: bytes, round_of: bytes) -> Script:
    """Thinks this thought, then rounds of another text for ever; answers once it is closed. Of a token that was made
    unlikely the next likely is drawn, and the text goes on behind it."""

    def follow(ids: tuple[int, ...]) -> Sequence[int]:
        if THINK not in ids:
            return THINK, ord("~")
        place = len(ids) - ids.index(THINK) - 1
        if CLOSE_THINK in ids:
            said = len(ids) - ids.index(CLOSE_THINK) - 1 - len("\n\n")
            return ANSWER[said] if said < len(ANSWER) else IM_END, ord("~")
        return (*(thought[place : place + 1] or round_of[place % len(round_of) :][:1]), ord("~"))

    return follow


def answered(script: Script, tokens: int | None) -> Reply:
    backend = FakeBackend(script, VOCABULARY, context=4 * LENGTH)
    return reply_of(
        responder(backend).respond(replace(ask(), budget=Budget(tokens=tokens), endings=Endings(loops=True)))
    )


@pytest.mark.parametrize("tokens", [1, 64, 1_000, LENGTH - 500])
def test_ten_thousand_tokens_that_never_close_end_within_the_budget(tokens: int) -> None:
    reply = answered(thinking(prose(LENGTH), b"~"), tokens)
    assert (reply.close, reply.finish, reply.answer) == ("budget", "stop", ANSWER.decode())
    assert tokens / 2 <= reply.usage.thinking_tokens <= tokens
    assert reply.budget.overshoot_tokens == 0
    assert reply.usage.forced_tokens == len(VOCABULARY.tokenize(FORCED_CLOSE, markers=True))


ROUNDS = {
    "a phrase": b"so it goes on. ",
    "a doubt": b"Wait, let me check again. 3 + 4 = 8, no, 3 + 4 = 7.\n",
    "figures": b"1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11\n",
    "one sign": b"0",
    "a long sentence": prose(100) + b"\n",
    "the longest of words": prose(127) + b"\n",
    "the longest of figures": bytes(random.Random(128).choices(b"0123456789+-=|", k=128)),
}


@pytest.mark.parametrize("before", [0, 37, 2_000])
@pytest.mark.parametrize("round_of", ROUNDS)
def test_rounds_are_ended_within_600_tokens_of_their_beginning(before: int, round_of: str) -> None:
    reply = answered(thinking(prose(before), ROUNDS[round_of]), None)
    assert (reply.close, reply.finish, reply.answer) == ("loop", "stop", ANSWER.decode())
    assert before + 64 < reply.usage.thinking_tokens <= before + 600
    assert [one.rule for one in reply.decisions] == ["opened", "repetition", "loop", "forced"]

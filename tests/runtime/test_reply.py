"""The JSON object of a reply: what stands in it always, and what only where it applies."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from models.plain_text import json_line
from runtime.reply import Check, Decision, Reply, Vote
from tests.runtime.test_store import REPLY

DECISIONS = (
    Decision(0, "opened", None, None, "the model opened the thought"),
    Decision(31, "trial", 0.93, 0.95, "a trial answer, for 9 tokens", "4?"),
    Decision(64, "budget", 64, 64, "the budget was spent"),
)


def as_read(reply: Reply) -> Any:
    """Its JSON object as it comes back from text."""
    return json.loads(json_line(reply.as_json()))


def test_decisions_stand_in_the_json_with_their_numbers() -> None:
    record = as_read(replace(REPLY, decisions=DECISIONS))
    assert record["decisions"] == [
        {"token": 0, "rule": "opened", "number": None, "limit": None, "words": "the model opened the thought"},
        {"token": 31, "rule": "trial", "number": 0.93, "limit": 0.95, "words": "a trial answer, for 9 tokens",
         "quote": "4?"},
        {"token": 64, "rule": "budget", "number": 64, "limit": 64, "words": "the budget was spent"},
    ]  # fmt: skip


def test_what_does_not_apply_is_left_out() -> None:
    often = {"checks", "flags", "votes", "decisions", "confidence", "expected", "correct"}
    assert not often & set(REPLY.as_json())
    full = replace(
        REPLY,
        checks=(Check("sum", True, "2 + 2 = 4", "truth"),),
        flags=("unsure: x",),
        votes=(Vote("4", 0.5, "natural", 3),),
        decisions=DECISIONS,
        confidence=0.5,
        expected="4",
        correct=True,
    )
    assert often <= set(full.as_json())


def test_the_json_leaves_the_reply_as_it_is() -> None:
    reply = replace(REPLY, decisions=DECISIONS)
    assert "quote" not in reply.as_json()["decisions"][0]
    assert reply.decisions == DECISIONS
    assert hash(reply) == hash(replace(REPLY, decisions=DECISIONS))

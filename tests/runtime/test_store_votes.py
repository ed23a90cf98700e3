"""Each vote of a kept reply can be audited: its thought, its checks, flags and decisions, as long as they are kept."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from models.columns import cells
from runtime.commands.trace import trace_lines
from runtime.reply import Check, Decision, Reply, Vote
from runtime.store import Store
from runtime.store_schema import _MIGRATIONS, SCHEMA
from tests.runtime.test_reply import DECISIONS, as_read
from tests.runtime.test_store import REPLY

HINT = Decision(3, "hint", 4, None, "a hint was put in", "the secret recipe")
OTHER = replace(
    REPLY,
    thinking="two and two\nis the secret five",
    answer="5",
    finish="length",
    close="budget",
    checks=(Check("units", False, "no unit"),),
    flags=("loop: x",),
    decisions=(*DECISIONS, HINT),
    confidence=0.25,
)
WON = Decision(70, "vote", 0.8, 0.5, "1 of 1 votes gave this answer")


def voted() -> Reply:
    """A reply of a vote of three: itself, one that was cut, and one that an older version told less of."""
    won = replace(REPLY, decisions=DECISIONS[:2], confidence=0.9)
    votes = (
        Vote.of(OTHER, 0.0, seed=0),
        Vote.of(won, 0.9, seed=1, agrees=True, chosen=True),
        Vote("6", 0.1, "natural", 3),
    )
    return replace(won, votes=votes, decisions=(*won.decisions, WON))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kangae.sqlite3"


def test_a_vote_tells_all_that_a_reply_does() -> None:
    cut, won, old = as_read(voted())["votes"]
    assert {name: cut[name] for name in ("answer", "weight", "close", "thinking_tokens", "finish", "seed")} == {
        "answer": "5", "weight": 0.0, "close": "budget", "thinking_tokens": 3, "finish": "length", "seed": 0,
    }  # fmt: skip
    assert cut["thinking"] == OTHER.thinking and cut["flags"] == ["loop: x"] and cut["confidence"] == 0.25
    assert [one["rule"] for one in cut["decisions"]] == ["opened", "trial", "budget", "hint"]
    assert "agrees" not in cut and "chosen" not in cut and "quote" not in cut["decisions"][0]
    assert (won["agrees"], won["chosen"], won["answer_tokens"]) == (True, True, 1)
    assert old == {"answer": "6", "weight": 0.1, "close": "natural", "thinking_tokens": 3}


def test_votes_come_back_as_they_were_and_the_winners_thought_is_kept_once(path: Path) -> None:
    with Store.open(path) as store:
        conversation = store.new_conversation("Sums")
        for reply in (voted(), REPLY, voted()):
            store.add_reply(conversation, reply)
    with Store.open(path) as store:
        first, none, last = store.replies(conversation)
        assert first.record == last.record == as_read(voted())
        assert [list(one) for one in first.record["votes"]] == [list(one) for one in as_read(voted())["votes"]]
        assert none.record == as_read(REPLY)
        assert store._connection.execute("SELECT count(*) FROM vote_thought").fetchone() == (2,)
        store.change_reply(first.number, replace(voted(), votes=voted().votes[1:]))
        assert [one["answer"] for one in store.replies(conversation)[0].record["votes"]] == [REPLY.answer, "6"]


def test_their_thoughts_and_quotes_are_forgotten_and_all_else_stays(path: Path) -> None:
    with Store.open(path) as store:
        conversation = store.new_conversation("Sums")
        store.add_reply(conversation, voted())
        for table in ("thought", "vote_thought", "reply"):
            store._connection.execute(f"UPDATE {table} SET created = created - 86400 * 3")
        store.add_reply(conversation, voted())
        assert store.forget_thoughts(older_than_days=2) == 1
        aged, fresh = store.replies(conversation)
        cut, won, _ = aged.record["votes"]
        assert (cut["thinking"], won["thinking"], aged.record["thinking"]) == ("", "", "")
        assert [one["rule"] for one in cut["decisions"]] == ["opened", "trial", "budget", "hint"]
        assert not any("quote" in one for vote in (cut, won) for one in vote["decisions"])
        assert cut["checks"] == as_read(voted())["votes"][0]["checks"]
        assert fresh.record == as_read(voted())
        store.remove(conversation)
        for table in ("vote_thought", "vote_decision"):
            assert store._connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    assert b"secret" not in path.read_bytes()


def test_a_text_is_found_in_the_thought_of_a_vote(path: Path) -> None:
    with Store.open(path) as store:
        conversation = store.new_conversation("Sums")
        number = store.add_reply(conversation, voted())
        (hit,) = store.search("SECRET five")
        assert (hit.reply, hit.place) == (number, "thinking") and "is the secret five" in hit.excerpt
        assert len(store.search("two and two")) == 1  # though several thoughts say so
        assert store.search("secret recipe") == []


@pytest.mark.parametrize("version", range(1, SCHEMA))
def test_a_store_of_each_older_version_takes_votes(path: Path, version: int) -> None:
    old = '{"id": "r1", "question": "q", "answer": "2", "votes": [{"answer": "2", "weight": 1.0}]}'
    with sqlite3.connect(path) as connection:
        for step in _MIGRATIONS[:version]:
            connection.executescript(step)
        connection.execute("INSERT INTO conversation VALUES ('c0ffee00', 'Sums', '', 'm', 1, 2)")
        connection.execute("INSERT INTO reply VALUES (1, 'c0ffee00', NULL, 2, 'q', '2', ?)", (old,))
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    with Store.open(path) as store:
        store.add_reply("c0ffee00", voted())
        before, after = store.replies("c0ffee00")
        assert before.record["votes"] == json.loads(old)["votes"]
        assert after.record == as_read(voted())


def test_decisions_stand_indented_below_their_vote() -> None:
    lines = trace_lines(as_read(voted()), [])
    start = lines.index("Votes:")
    assert lines[start + 2 : lines.index("", start + 2)] == [
        "- 0.00  5 (budget, 3 thinking tokens, 1 answer token, answer cut, confidence",
        "  0.250, seed 0)",
        "  - FAILED  units (form): no unit",
        "  - flag: loop: x",
        "  -  0  opened: the model opened the thought",
        "  - 31  trial 0.93 (limit 0.95): a trial answer, for 9 tokens: “4?”",
        "  - 64  budget 64 (limit 64): the budget was spent",
        "  -  3  hint 4: a hint was put in: “the secret recipe”",
        "- 0.90  4 考え (natural, 3 thinking tokens, 1 answer token, confidence 0.900,",
        "  seed 1, this reply)",
        "- 0.10  6 (natural, 3 thinking tokens)",
    ]
    assert all(cells(line) <= 80 for line in lines)
    assert "- 70  vote 0.8 (limit 0.5): 1 of 1 votes gave this answer" in lines
    assert not any("is the secret five" in line for line in lines)
    shown = trace_lines(as_read(voted()), [], thinking=True)
    assert "  > is the secret five" in shown and sum("two and two" in line for line in shown) == 1

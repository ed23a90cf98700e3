"""Decisions in the store: whole, apart from the thought they quote, and in stores that older versions wrote."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.errors import WriteError
from runtime.commands.trace import trace_lines
from runtime.reply import Decision
from runtime.store import Store
from runtime.store_schema import _MIGRATIONS, SCHEMA
from tests.runtime.test_reply import DECISIONS, as_read
from tests.runtime.test_store import REPLY

TOLD = replace(REPLY, flags=("unsure: x",), decisions=DECISIONS, confidence=0.5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kangae.sqlite3"


@pytest.fixture
def old(path: Path) -> Path:
    """A store as the first version wrote it, with a reply, a flag, and a person's verdict on it."""
    with sqlite3.connect(path) as connection:
        connection.executescript(_MIGRATIONS[0])
        connection.execute("INSERT INTO conversation VALUES ('c0ffee00', 'Sums', '', 'm', 1, 2)")
        record = '{"id": "r1", "question": "1+1?", "answer": "2", "close": "natural"}'
        connection.execute("INSERT INTO reply VALUES (1, 'c0ffee00', NULL, 2, '1+1?', '2', ?)", (record,))
        connection.execute("INSERT INTO thought VALUES (1, 2, 'one and one')")
        connection.execute("INSERT INTO flag VALUES (7, 1, 2, 'unsure')")
        connection.execute("INSERT INTO flag VALUES (8, 1, 2, 'leak')")
        connection.execute("INSERT INTO decision VALUES (1, 7, 3, 'Aiko', 'right', 'by hand')")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    return path


def test_decisions_come_back_as_they_were_and_in_their_place(path: Path) -> None:
    with Store.open(path) as store:
        conversation = store.new_conversation("Sums")
        store.add_reply(conversation, TOLD)
        store.add_reply(conversation, REPLY)
        store.add_reply(conversation, replace(TOLD, decisions=DECISIONS[:1]))
    with Store.open(path) as store:
        whole, none, one = store.replies(conversation)
    assert whole.record == as_read(TOLD)
    assert list(whole.record) == list(as_read(TOLD))
    assert [type(each["number"]) for each in whole.record["decisions"]] == [type(None), float, int]
    assert "decisions" not in none.record
    assert len(one.record["decisions"]) == 1


def test_a_rung_comes_back_and_is_told_before_its_rule(path: Path) -> None:
    climbed = tuple(replace(one, rung="long") for one in DECISIONS)
    with Store.open(path) as store:
        conversation = store.new_conversation("Sums")
        store.add_reply(conversation, replace(TOLD, decisions=climbed))
        (reply,) = store.replies(conversation)
    assert [one["rung"] for one in reply.record["decisions"]] == ["long"] * len(climbed)
    assert f"long, {climbed[0].rule}" in "\n".join(trace_lines(reply.record, ()))


def test_a_turn_that_went_on_has_the_decisions_of_its_end(path: Path) -> None:
    with Store.open(path) as store:
        conversation = store.new_conversation("Sums")
        number = store.add_reply(conversation, TOLD)
        last = Decision(80, "natural", 80, None, "the model closed the thought")
        store.change_reply(number, replace(TOLD, decisions=(DECISIONS[0], last)))
        (reply,) = store.replies(conversation)
        assert [one["token"] for one in reply.record["decisions"]] == [0, 80]


def test_what_decisions_quote_is_forgotten_with_the_thought_and_all_else_stays(path: Path) -> None:
    hint = Decision(3, "hint", 4, None, "a hint was put in", "the secret recipe")
    with Store.open(path) as store:
        conversation = store.new_conversation("Sums")
        number = store.add_reply(conversation, replace(TOLD, decisions=(*DECISIONS, hint)))
        store._connection.execute("UPDATE thought SET created = created - 86400 * 3")
        store.add_reply(conversation, TOLD)
        assert store.forget_thoughts(older_than_days=2) == 1
        aged, fresh = store.replies(conversation)
        assert aged.number == number and aged.record["thinking"] == ""
        assert [one["rule"] for one in aged.record["decisions"]] == ["opened", "trial", "budget", "hint"]
        assert not any("quote" in one for one in aged.record["decisions"])
        assert fresh.record == as_read(TOLD)
    assert b"secret recipe" not in path.read_bytes()


def test_a_removed_session_leaves_no_decision(path: Path) -> None:
    with Store.open(path) as store:
        conversation = store.new_conversation("Sums")
        store.add_reply(conversation, TOLD)
        (flag,) = store.flags()
        store.decide(flag.number, "wrong", person="Aiko", note="the secret note")
        store.remove(conversation)
        for table in ("decision", "verdict", "flag"):
            assert store._connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    assert b"secret note" not in path.read_bytes()


def test_an_older_store_is_brought_up_to_date_with_all_that_was_in_it(old: Path) -> None:
    with Store.open(old) as store:
        assert store._connection.execute("PRAGMA user_version").fetchone() == (SCHEMA,)
        assert store._connection.execute("PRAGMA foreign_key_check").fetchall() == []
        (reply,) = store.replies("c0ffee00")
        assert (reply.record["thinking"], reply.record["answer"], "decisions" in reply.record) == (
            "one and one", "2", False,
        )  # fmt: skip
        settled, still_open = store.flags(only_open=False)
        (verdict,) = settled.settlements
        assert (settled.number, verdict.verdict, verdict.person, verdict.created, verdict.note) == (
            7, "right", "Aiko", 3, "by hand",
        )  # fmt: skip
        assert (still_open.reason, still_open.verdict) == ("leak", None)
        store.decide(8, "wrong", person="Ken")
        assert store.flags() == []
        store.add_reply("c0ffee00", TOLD)
        assert store.replies("c0ffee00")[1].record == as_read(TOLD)
    with Store.open(old) as store:
        assert len(store.replies("c0ffee00")) == 2


def test_an_older_store_that_cannot_be_written_is_read_from_a_copy(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect

    def read_only(database: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(database, **options)
        if database != ":memory:":  # as a file without write permission is, and for root too
            connection.execute("PRAGMA query_only = ON")
        assert isinstance(connection, sqlite3.Connection)
        return connection

    monkeypatch.setattr(sqlite3, "connect", read_only)
    with Store.open_for_reading(old) as store:
        assert not store.writable
        assert [flag.number for flag in store.flags()] == [8]
    connection = connect(old)
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    connection.close()


def test_an_older_store_behind_a_full_disk_is_read_from_a_copy(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path | None = None) -> Store:
        raise WriteError("the disk is full")

    before = old.read_bytes()
    monkeypatch.setattr(Store, "open", full)
    with Store.open_for_reading(old) as store:
        assert not store.writable
        assert [reply.record["answer"] for reply in store.replies("c0ffee00")] == ["2"]
        assert [flag.verdict for flag in store.flags(only_open=False)] == ["right", None]
    assert old.read_bytes() == before


def test_flags_that_are_no_doubts_wait_for_nobody_and_stay_in_the_record(path: Path) -> None:
    notes = ("resumed: the draws began anew", "probe: no answers were tried, for it cannot fork")
    with Store.open(path) as store:
        number = store.add_reply(store.new_conversation("a"), replace(TOLD, flags=notes))
        assert store.flags() == []
        store.change_reply(number, replace(TOLD, flags=(*notes, "late: the answer was cut off")))
        (flag,) = store.flags()
        assert flag.reason == "late: the answer was cut off"
        (reply,) = store.replies(flag.conversation)
        assert reply.record["flags"] == [*notes, flag.reason]
        lines = trace_lines(reply.record, [flag])
        assert lines[lines.index("Notes:") + 2 :][: len(notes)] == [f"- {note}" for note in notes]


def test_flags_of_one_session_with_all_that_was_decided_on_them(path: Path) -> None:
    with Store.open(path) as store:
        first, second = (store.new_conversation(name) for name in "ab")
        for conversation in (first, second):
            store.add_reply(conversation, TOLD)
        flag, other = store.flags()
        assert (flag.conversation, other.conversation) == (first, second)
        store.decide(flag.number, "right", person="Aiko")
        store.decide(flag.number, "wrong", person="Ken", note="seen again")
        (found,) = store.flags(conversation=first, only_open=False)
        assert found.verdict == "wrong"
        assert [(one.verdict, one.person, one.note) for one in found.settlements] == [
            ("right", "Aiko", ""), ("wrong", "Ken", "seen again"),
        ]  # fmt: skip
        assert store.flags(conversation=first) == []
        assert store.flags() == [other]

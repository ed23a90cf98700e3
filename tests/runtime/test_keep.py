"""Replies of a command and of a talk are kept in one way, and old thoughts are forgotten on it."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from models.errors import WriteError
from runtime.commands.keep import Keeper, KeptConversation
from runtime.settings import Settings
from runtime.store import Store, StoredReply, store_path
from tests.runtime.test_store import REPLY


def kept(path: Path) -> list[StoredReply]:
    with Store.open(path) as store:
        (conversation,) = store.conversations()
        return store.replies(conversation.id)


def make_old(path: Path) -> None:
    """As if all thoughts had been kept two days ago."""
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE thought SET created = created - 2 * 86400")
    connection.close()


@pytest.mark.parametrize("linked", [True, False])
def test_a_conversation_begins_with_its_first_reply_and_goes_on(tmp_path: Path, linked: bool) -> None:
    path = tmp_path / "sessions.sqlite3"
    conversation = KeptConversation(system="Be brief.", linked=linked, path=path)
    conversation.add([replace(REPLY, thinking="", answer="", finish="cancelled")])
    assert not path.exists()  # nothing was produced
    conversation.add([REPLY])
    conversation.add([replace(REPLY, answer="", finish="cancelled")])
    first, second = kept(path)
    assert (first.parent, second.parent) == (None, first.number if linked else None)
    with Store.open(path) as store:
        (listed,) = store.conversations()
    assert (listed.title, listed.system, listed.model) == ("What is 2 + 2?", "Be brief.", "kangae-tiny")


@pytest.mark.parametrize(
    ("days", "thoughts"), [(1, ["", "two and two"]), (3, ["two and two"] * 2), (0, ["two and two"] * 2)]
)
def test_thoughts_older_than_wanted_are_forgotten(tmp_path: Path, days: int, thoughts: list[str]) -> None:
    path = tmp_path / "sessions.sqlite3"
    conversation = KeptConversation(thinking_days=days, path=path)
    conversation.add([REPLY])
    make_old(path)
    conversation.add([REPLY])
    assert [reply.record["thinking"] for reply in kept(path)] == thoughts


def test_a_command_keeps_by_the_settings(capsys: pytest.CaptureFixture[str]) -> None:
    Keeper(Settings(store=False), wanted=True, title="t", system="", model="m").keep([REPLY])
    Keeper(Settings(), wanted=False, title="t", system="", model="m").keep([REPLY])
    assert not store_path().exists()
    keeper = Keeper(Settings(thinking_days=1), wanted=True, title="Sums", system="", model="m")
    keeper.keep([REPLY])
    make_old(store_path())
    keeper.keep([replace(REPLY, thinking="")])
    assert [reply.record["thinking"] for reply in kept(store_path())] == ["", ""]
    assert capsys.readouterr().err == ""


def test_what_cannot_be_written_is_told_once(own_folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own_folders / "state").write_text("no folder")
    with pytest.raises(WriteError):
        KeptConversation().add([REPLY])
    keeper = Keeper(Settings(), wanted=True, title="Sums", system="", model="m")
    keeper.keep([REPLY])
    keeper.keep([REPLY])
    assert capsys.readouterr().err.count("The reply is not kept: ") == 1


def test_a_session_that_is_removed_meanwhile_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sessions.sqlite3"
    conversation = KeptConversation(linked=True, path=path)

    def remove() -> None:
        with Store.open(path) as store:
            for one in store.conversations():
                store.remove(one.id)

    conversation.add([REPLY])
    remove()
    conversation.add([REPLY])
    assert len(kept(path)) == 1
    find = Store.reply_of_turn

    def found_and_then_removed(store: Store, turn: str) -> StoredReply | None:
        reply = find(store, turn)
        remove()
        return reply

    monkeypatch.setattr(Store, "reply_of_turn", found_and_then_removed)
    conversation.change(replace(REPLY, answer="5"))
    assert [reply.record["answer"] for reply in kept(path)] == ["5"]

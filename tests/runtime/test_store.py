"""What was kept is found again, whole, after crashes too; what cannot be written is told."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from models.errors import UsageError, WriteError
from runtime.reply import ModelLabel, Reply, SpentBudget, Timings, Usage
from runtime.store import Store

ROOT = Path(__file__).parents[2]
REPLY = Reply(
    id="r1",
    question="What is 2 + 2?",
    model=ModelLabel("kangae-tiny", "k.gguf", "Q8_0", "llama"),
    thinking="two and two",
    answer="4 考え",
    close="natural",
    finish="stop",
    usage=Usage(thinking_tokens=3, answer_tokens=1),
    budget=SpentBudget(tokens=64),
    timings=Timings(total_s=0.5),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "kangae.sqlite3"


def test_a_reply_comes_back_as_it_was(path: Path) -> None:
    with Store.open(path) as store:
        conversation = store.new_conversation("Sums", system="Be brief.", model="kangae-tiny")
        first = store.add_reply(conversation, REPLY)
        store.add_reply(conversation, replace(REPLY, question="And 3 + 3?", thinking=""), parent=first)
    with Store.open(path) as store:
        (listed,) = store.conversations()
        assert (listed.title, listed.system, listed.model, listed.replies) == ("Sums", "Be brief.", "kangae-tiny", 2)
        assert store.conversation(conversation[:5]) == listed
        replies = store.replies(conversation)
        assert replies[0].record == REPLY.as_json()
        assert list(replies[0].record) == list(REPLY.as_json())
        assert replies[1].parent == first
        assert replies[1].record["thinking"] == ""


def test_only_its_owner_may_read_it(path: Path) -> None:
    Store.open(path).close()
    assert path.stat().st_mode & 0o077 == 0


def test_thoughts_are_kept_apart_and_can_be_forgotten(path: Path) -> None:
    with Store.open(path) as store:
        conversation = store.new_conversation("Sums")
        store.add_reply(conversation, REPLY)
        assert store.forget_thoughts(older_than_days=1) == 0
        assert store.forget_thoughts(older_than_days=-1) == 1
        (reply,) = store.replies(conversation)
        assert (reply.record["thinking"], reply.record["answer"]) == ("", "4 考え")


def test_search_finds_questions_answers_and_thoughts_and_takes_signs_as_they_are(path: Path) -> None:
    with Store.open(path) as store:
        conversation = store.new_conversation("Sums")
        store.add_reply(conversation, REPLY)
        store.add_reply(conversation, replace(REPLY, question="100% of 5_0", thinking="", answer="50"))
        assert [hit.place for hit in store.search("TWO AND")] == ["thinking"]
        assert [hit.place for hit in store.search("考")] == ["answer"]
        assert len(store.search("%")) == 1
        assert len(store.search("_")) == 1
        assert store.search("'; DROP TABLE reply; --") == []
        with pytest.raises(UsageError):
            store.search("  ")


def test_removing_a_conversation_leaves_no_trace_in_the_file(path: Path) -> None:
    with Store.open(path) as store:
        conversation = store.new_conversation("Sums")
        store.add_reply(conversation, replace(REPLY, thinking="the secret recipe"))
        store.remove(conversation)
        assert store.conversations() == []
        assert store.search("secret") == []
        with pytest.raises(UsageError):
            store.conversation(conversation)
    assert b"secret recipe" not in path.read_bytes()


def test_an_id_must_mean_one(path: Path) -> None:
    with Store.open(path) as store:
        for _ in range(40):
            store.new_conversation("x")
        for wrong in ("", "%", "zz"):
            with pytest.raises(UsageError):
                store.conversation(wrong)


def test_flags_and_decisions(path: Path) -> None:
    with Store.open(path) as store:
        store.add_reply(store.new_conversation("Sums"), replace(REPLY, flags=("unsure", "loop")))
        first, second = store.flags()
        store.decide(first.number, "accepted", person="Aiko", note="checked by hand")
        assert [flag.reason for flag in store.flags()] == ["loop"]
        assert [flag.verdict for flag in store.flags(only_open=False)] == ["accepted", None]
        assert second.verdict is None
        with pytest.raises(UsageError):
            store.decide(99, "accepted", person="Aiko")


def test_a_newer_store_is_left_alone(path: Path) -> None:
    Store.open(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(WriteError, match="newer"):
        Store.open(path)


def test_a_damaged_store_is_told(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(WriteError, match="damaged"):
        Store.open(path)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="KANGAE_STATE_DIR"):
        Store.open(tmp_path / "file" / "kangae.sqlite3")


def test_a_full_disk_loses_nothing_that_was_kept(path: Path) -> None:
    with Store.open(path) as store:
        conversation = store.new_conversation("Sums")
        store.add_reply(conversation, REPLY)
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(WriteError, match="full"):
            store.add_reply(conversation, replace(REPLY, thinking="x" * 100_000))
        assert len(store.replies(conversation)) == 1
    with Store.open(path) as store:
        assert store._connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_a_killed_writer_loses_nothing_that_it_acknowledged(path: Path) -> None:
    """The child says each number once it is kept; it is killed in the middle, three times over."""
    code = (
        "import sys; from pathlib import Path; from runtime.store import Store\n"
        "from tests.runtime.test_store import REPLY\n"
        "store = Store.open(Path(sys.argv[1])); c = store.new_conversation('x')\n"
        "while True: print(store.add_reply(c, REPLY), flush=True)"
    )
    acknowledged = 0
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        numbers = [int(child.stdout.readline()) for _ in range(5)]
        os.kill(child.pid, signal.SIGKILL)
        numbers += [int(line) for line in child.stdout.read().split("\n")[:-1]]
        child.wait()
        child.stdout.close()
        acknowledged = max(numbers)
        with Store.open(path) as store:
            assert store._connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            kept = {row[0] for row in store._connection.execute("SELECT number FROM reply")}
        assert set(range(1, acknowledged + 1)) <= kept
    assert acknowledged >= 15


def test_a_reply_that_went_on_stands_in_its_place_and_a_doubt_is_told_once(path: Path) -> None:
    with Store.open(path) as store:
        conversation = store.new_conversation("Sums")
        number = store.add_reply(conversation, replace(REPLY, flags=("old",)))
        for _ in range(2):
            assert store.change_reply(number, replace(REPLY, answer="5", flags=("old", "new")))
        assert [flag.reason for flag in store.flags()] == ["old", "new"]
        assert [reply.record["answer"] for reply in store.replies(conversation)] == ["5"]
        store.remove(conversation)
        assert not store.change_reply(number, REPLY)

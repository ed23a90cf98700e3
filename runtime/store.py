"""Conversations, replies, decisions and flags in one SQLite file, shared by all front ends. Thoughts are kept apart."""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import UsageError, WriteError
from models.locations import state_folder
from models.write_fault import write_error
from runtime.reply import Reply
from runtime.store_decisions import DECISION, clean
from runtime.store_flags import Flag, read_flags
from runtime.store_rows import ReplyRows, escaped, excerpt, record_of
from runtime.store_schema import SCHEMA, bring_up_to_date
from runtime.store_votes import forget_votes, read_votes

_FILE = "kangae.sqlite3"
_BUSY_SECONDS = 5.0


@dataclass(frozen=True)
class Conversation:
    """One conversation. `created` and `updated` are seconds since 1970; `replies` counts them."""

    id: str
    title: str
    system: str
    model: str
    created: float
    updated: float
    replies: int

    def as_json(self) -> dict[str, Any]:
        """What `kangae sessions list --json` says of it."""
        return dict(vars(self))


@dataclass(frozen=True)
class StoredReply:
    """A reply as it was given; `record` is its JSON object (`Reply.as_json`). Once its thought is forgotten, that is
    empty, and the decisions quote nothing."""

    number: int
    conversation: str
    parent: int | None
    created: float
    record: dict[str, Any]


@dataclass(frozen=True)
class Hit:
    """Where a searched text stands: in the question, the answer or the thought of a reply, or in that of a vote."""

    conversation: str
    title: str
    reply: int
    created: float
    place: str
    excerpt: str


def store_path() -> Path:
    """The store's file in the state directory; it need not be there."""
    return state_folder() / _FILE


class Store:
    """An open store. Each call is one transaction that is on disk when it returns; use it from one thread."""

    def __init__(self, connection: sqlite3.Connection, path: Path, *, writable: bool = True) -> None:
        self._connection = connection
        self.path = path
        self.writable = writable

    @classmethod
    def open(cls, path: Path | None = None) -> Store:
        """Open the store, made or brought up to date as needed. Raises WriteError where it cannot be written."""
        path = store_path() if path is None else path
        connection = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not path.exists():
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            bring_up_to_date(connection, path)
            return cls(connection, path)
        except (sqlite3.Error, OSError) as error:
            if connection is not None:
                connection.close()
            raise _cannot_write(path, error) from error

    @classmethod
    def open_for_reading(cls, path: Path | None = None) -> Store:
        """Like `open`; where a store is there that cannot be written, it is opened to be read alone."""
        path = store_path() if path is None else path
        try:
            return cls.open(path)
        except WriteError:
            for options in ("mode=ro", "mode=ro&immutable=1"):
                try:
                    connection = sqlite3.connect(
                        f"{path.absolute().as_uri()}?{options}", uri=True, timeout=_BUSY_SECONDS
                    )
                    connection.execute("SELECT count(*) FROM reply").fetchone()
                    return cls(_of_this_schema(connection, path), path, writable=False)
                except (sqlite3.Error, OSError):
                    continue
            raise

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # conversations

    def new_conversation(self, title: str, *, system: str = "", model: str = "") -> str:
        """Begin a conversation; returns its id."""
        now = time.time()
        while True:
            identity = secrets.token_hex(4)
            with self._change() as change:
                done = change.execute(
                    "INSERT OR IGNORE INTO conversation VALUES (?, ?, ?, ?, ?, ?)",
                    (identity, clean(title), clean(system), clean(model), now, now),
                )
                if done.rowcount:
                    return identity

    def conversations(self, limit: int = -1) -> list[Conversation]:
        """The newest first; a negative limit: all."""
        return [
            Conversation(*row)
            for row in self._query(_CONVERSATIONS + " ORDER BY updated DESC, c.rowid DESC LIMIT ?", (limit,))
        ]

    def conversation(self, identity: str) -> Conversation:
        """The one whose id begins with `identity`; raises UsageError if none or several do."""
        pattern = escaped(identity.strip().lower()) + "%"
        found = (
            self._query(_CONVERSATIONS + " WHERE c.id LIKE ? ESCAPE '\\' ORDER BY c.id LIMIT 9", (pattern,))
            if identity.strip()
            else []
        )
        if len(found) != 1:
            fault = (
                f"begins the ids of several: {', '.join(row[0] for row in found)}" if found else "is no session's id"
            )
            raise UsageError(f"{identity!r} {fault}; see `kangae sessions list`.")
        return Conversation(*found[0])

    def begins_conversations(self, start: str) -> bool:
        """Whether the id of any begins so."""
        pattern = escaped(start.strip().lower()) + "%"
        query = "SELECT 1 FROM conversation WHERE id LIKE ? ESCAPE '\\'"
        return bool(start.strip()) and bool(self._query(query, (pattern,)))

    def has_conversation(self, identity: str) -> bool:
        """Whether the one with this very id is there."""
        return bool(self._query("SELECT 1 FROM conversation WHERE id = ?", (identity,)))

    def remove(self, conversation: str) -> None:
        """Forget a conversation with all its replies, also in the file's free pages."""
        with self._change() as change:
            change.execute("PRAGMA secure_delete = ON")
            change.execute("DELETE FROM conversation WHERE id = ?", (conversation,))

    # replies

    def add_reply(self, conversation: str, reply: Reply, *, parent: int | None = None) -> int:
        """Keep a reply with its thought, decisions and flags; returns its number."""
        now, rows = time.time(), ReplyRows.of(reply)
        with self._change() as change:
            number = change.execute(
                "INSERT INTO reply (conversation, parent, created, question, answer, record) VALUES (?, ?, ?, ?, ?, ?)",
                (conversation, parent, now, rows.question, rows.answer, rows.record),
            ).lastrowid
            if number is None:
                raise sqlite3.DatabaseError("the reply got no number")
            rows.add_beside(change, number, now)
            change.execute("UPDATE conversation SET updated = ? WHERE id = ?", (now, conversation))
        return number

    def change_reply(self, number: int, reply: Reply) -> bool:
        """The turn of a kept reply went on: this one stands in its place, with its thought and decisions; its flags
        come to those that are there. False: it was removed meanwhile, and nothing has changed."""
        now, rows = time.time(), ReplyRows.of(reply)
        with self._change() as change:
            found = change.execute(
                "UPDATE reply SET question = ?, answer = ?, record = ? WHERE number = ?",
                (rows.question, rows.answer, rows.record, number),
            )
            if not found.rowcount:
                return False
            rows.add_beside(change, number, now)
            change.execute(
                "UPDATE conversation SET updated = ? WHERE id = (SELECT conversation FROM reply WHERE number = ?)",
                (now, number),
            )
        return True

    def reply_of_turn(self, turn: str) -> StoredReply | None:
        """The newest reply of the turn with this id; None: none was kept."""
        found = self._query(
            "SELECT conversation, number FROM reply WHERE record LIKE ? ESCAPE '\\' ORDER BY number DESC",
            (f'%"id": "{escaped(turn)}"%',),
        )
        for conversation, number in found:
            for reply in self.replies(conversation):
                if reply.number == number and reply.record.get("id") == turn:
                    return reply
        return None

    def replies(self, conversation: str) -> list[StoredReply]:
        """Replies of a conversation, the first first."""
        decisions: dict[int, list[tuple[Any, ...]]] = {}
        for number, *decision in self._query(
            f"SELECT d.reply, {DECISION} FROM decision d WHERE d.reply IN "
            "(SELECT number FROM reply WHERE conversation = ?) ORDER BY d.reply, d.place",
            (conversation,),
        ):
            decisions.setdefault(number, []).append(tuple(decision))
        found = self._query(
            "SELECT r.number, r.conversation, r.parent, r.created, r.record, coalesce(t.text, '') FROM reply r "
            "LEFT JOIN thought t ON t.reply = r.number WHERE r.conversation = ? ORDER BY r.number",
            (conversation,),
        )
        votes = read_votes(self._query, conversation)
        return [
            StoredReply(
                number, own, parent, created, record_of(record, thought, decisions.get(number, []), votes.get(number))
            )
            for number, own, parent, created, record, thought in found
        ]

    def forget_thoughts(self, older_than_days: float) -> int:
        """Forget the thoughts of old replies and of their votes, and what decisions quote of them; the replies stay.
        Returns of how many."""
        before = time.time() - older_than_days * 86400
        with self._change() as change:
            change.execute("PRAGMA secure_delete = ON")
            forget_votes(change, before)
            forgotten = change.execute("DELETE FROM thought WHERE created < ?", (before,)).rowcount
            if forgotten:
                change.execute(
                    "UPDATE decision SET quote = '' WHERE quote != '' AND reply NOT IN (SELECT reply FROM thought)"
                )
        return forgotten

    def search(self, text: str, *, limit: int = 50) -> list[Hit]:
        """Where `text` stands, in any case (of Latin letters), the newest first."""
        if not text.strip():
            raise UsageError("The text to search for is empty.")
        pattern = f"%{escaped(text)}%"
        found = self._query(
            "SELECT c.id, c.title, r.number, r.created, r.question, r.answer, coalesce(t.text, ''), "
            "coalesce(v.text, '') FROM reply r JOIN conversation c ON c.id = r.conversation "
            "LEFT JOIN thought t ON t.reply = r.number LEFT JOIN (SELECT reply, text, min(vote) FROM vote_thought "
            "WHERE text LIKE ?1 ESCAPE '\\' GROUP BY reply) v ON v.reply = r.number "
            "WHERE r.question LIKE ?1 ESCAPE '\\' OR r.answer LIKE ?1 ESCAPE '\\' OR t.text LIKE ?1 ESCAPE '\\' "
            "OR v.text IS NOT NULL ORDER BY r.number DESC LIMIT ?2",
            (pattern, limit),
        )
        hits = []
        for identity, title, number, created, *texts in found:
            places = zip(("question", "answer", "thinking", "thinking"), texts, strict=True)
            place, where = next(((p, t) for p, t in places if text.lower() in t.lower()), ("question", texts[0]))
            hits.append(Hit(identity, title, number, created, place, excerpt(where, text)))
        return hits

    # flags

    def flags(self, *, conversation: str | None = None, only_open: bool = True) -> list[Flag]:
        """Flags of one conversation, or (None) of all, the oldest first, each with the decisions on it."""
        return read_flags(self._query, conversation=conversation, only_open=only_open)

    def decide(self, flag: int, verdict: str, *, person: str, note: str = "") -> None:
        """Keep a person's decision on a flag; earlier ones stay."""
        if not self._query("SELECT 1 FROM flag WHERE number = ?", (flag,)):
            raise UsageError(f"There is no flag {flag}; see `kangae sessions list --flagged`.")
        with self._change() as change:
            change.execute(
                "INSERT INTO verdict (flag, created, person, verdict, note) VALUES (?, ?, ?, ?, ?)",
                (flag, time.time(), clean(person), clean(verdict), clean(note)),
            )

    # inside

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        except (sqlite3.Error, OSError) as error:
            raise _cannot_write(self.path, error) from error

    def _query(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise WriteError(f"The sessions in {self.path} cannot be read ({error}).") from error


_CONVERSATIONS = (
    "SELECT c.id, c.title, c.system, c.model, c.created, c.updated, "
    "(SELECT count(*) FROM reply WHERE conversation = c.id) FROM conversation c"
)


def _cannot_write(path: Path, error: Exception) -> WriteError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if "not a database" in reason or "malformed" in reason:
        return WriteError(f"The sessions in {path} are damaged ({reason}); move that file away and a new one is made.")
    return write_error(path, error, "set KANGAE_STATE_DIR to another folder", what=f"The sessions in {path}")


def _of_this_schema(connection: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """A store that cannot be written as the newest schema has it: itself, or a copy in memory that is brought up to
    date. Raises WriteError for a newer one."""
    if connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA:
        return connection
    copy = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.backup(copy)
        bring_up_to_date(copy, path)
    except BaseException:
        copy.close()
        raise
    finally:
        connection.close()
    return copy

"""The store's tables, and how an older store is brought up to date."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from models.errors import WriteError

_MIGRATIONS: Final[tuple[str, ...]] = (
    """
    CREATE TABLE conversation (
        id TEXT PRIMARY KEY, title TEXT NOT NULL, system TEXT NOT NULL DEFAULT '', model TEXT NOT NULL DEFAULT '',
        created REAL NOT NULL, updated REAL NOT NULL
    );
    CREATE TABLE reply (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        conversation TEXT NOT NULL REFERENCES conversation(id) ON DELETE CASCADE,
        parent INTEGER REFERENCES reply(number) ON DELETE SET NULL,
        created REAL NOT NULL, question TEXT NOT NULL, answer TEXT NOT NULL, record TEXT NOT NULL
    );
    CREATE INDEX reply_conversation ON reply(conversation, number);
    CREATE TABLE thought (
        reply INTEGER PRIMARY KEY REFERENCES reply(number) ON DELETE CASCADE, created REAL NOT NULL, text TEXT NOT NULL
    );
    CREATE TABLE flag (
        number INTEGER PRIMARY KEY AUTOINCREMENT, reply INTEGER NOT NULL REFERENCES reply(number) ON DELETE CASCADE,
        created REAL NOT NULL, reason TEXT NOT NULL
    );
    CREATE TABLE decision (
        number INTEGER PRIMARY KEY AUTOINCREMENT, flag INTEGER NOT NULL REFERENCES flag(number) ON DELETE CASCADE,
        created REAL NOT NULL, person TEXT NOT NULL, verdict TEXT NOT NULL, note TEXT NOT NULL DEFAULT ''
    );
    CREATE INDEX flag_reply ON flag(reply);
    CREATE INDEX decision_flag ON decision(flag);
    """,
    # What a person decides on a flag is a verdict; decisions are those of the rules, at a token of the thought.
    """
    ALTER TABLE decision RENAME TO verdict;
    DROP INDEX decision_flag;
    CREATE INDEX verdict_flag ON verdict(flag);
    CREATE TABLE decision (
        reply INTEGER NOT NULL REFERENCES reply(number) ON DELETE CASCADE, place INTEGER NOT NULL,
        token INTEGER NOT NULL, rule TEXT NOT NULL, number NUMERIC, "limit" NUMERIC,
        words TEXT NOT NULL, quote TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (reply, place)
    ) WITHOUT ROWID;
    """,
    # Of a vote not only the winner is to be audited, but each thought.
    """
    CREATE TABLE vote_thought (
        reply INTEGER NOT NULL REFERENCES reply(number) ON DELETE CASCADE, vote INTEGER NOT NULL,
        created REAL NOT NULL, text TEXT NOT NULL, PRIMARY KEY (reply, vote)
    );
    CREATE TABLE vote_decision (
        reply INTEGER NOT NULL REFERENCES reply(number) ON DELETE CASCADE, vote INTEGER NOT NULL,
        place INTEGER NOT NULL, token INTEGER NOT NULL, rule TEXT NOT NULL, number NUMERIC, "limit" NUMERIC,
        words TEXT NOT NULL, quote TEXT NOT NULL DEFAULT '',
        rung TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (reply, vote, place)
    ) WITHOUT ROWID;
    ALTER TABLE decision ADD COLUMN rung TEXT NOT NULL DEFAULT '';
    """,
)
"""Step n leads from schema n to n + 1; a step that was shipped is never changed."""

SCHEMA: Final = len(_MIGRATIONS)
"""The number of the newest schema."""


def bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the schema up to date, step by step, each whole or not at all. Raises WriteError for a newer one,
    sqlite3.Error for what SQLite cannot do."""
    while True:
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            if version > len(_MIGRATIONS):
                raise WriteError(
                    f"{path} was written by a newer Kangae (schema {version}); update Kangae, or move the file away."
                )
            if version == len(_MIGRATIONS):
                connection.execute("COMMIT")
                return
            for statement in _MIGRATIONS[version].split(";"):
                if statement.strip():
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

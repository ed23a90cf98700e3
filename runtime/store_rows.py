"""How a reply becomes rows of the store, and rows a reply's JSON object again."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any, Final

from runtime.reply import Decision, Reply, Vote
from runtime.store_decisions import DECISION, DECISION_VALUES, clean, decision_of, decision_row
from runtime.store_votes import VoteParts, add_votes, put_back, take_out

NOTES: Final = ("resumed: ", "probe: ")
"""What the flags begin with that tell how the turn went and put nothing in doubt: no person has to settle them."""


@dataclass(frozen=True)
class ReplyRows:
    """A reply as it is kept: what is not its thought is one record; the thought, which may be forgotten sooner, and the
    decisions, which quote it, are kept apart; so are those of its votes. `flags` are those that a person is to settle;
    the record holds all."""

    question: str
    answer: str
    record: str
    thinking: str
    decisions: tuple[Decision, ...]
    votes: tuple[Vote, ...]
    flags: tuple[str, ...]

    @classmethod
    def of(cls, reply: Reply) -> ReplyRows:
        """The rows of this reply."""
        record = reply.as_json()
        del record["thinking"]
        if reply.decisions:
            record["decisions"] = []  # their place
        take_out(record)
        flags = tuple(flag for flag in reply.flags if not flag.startswith(NOTES))
        return cls(
            question=clean(reply.question),
            answer=clean(reply.answer),
            record=json.dumps(record),
            thinking=reply.thinking,
            decisions=reply.decisions,
            votes=reply.votes,
            flags=flags,
        )

    def add_beside(self, change: sqlite3.Connection, number: int, now: float) -> None:
        """What stands beside the record of a reply, in the place of what stood there; its flags come to those that are
        there."""
        change.execute("DELETE FROM thought WHERE reply = ?", (number,))
        change.execute("DELETE FROM decision WHERE reply = ?", (number,))
        if self.thinking:
            change.execute("INSERT INTO thought VALUES (?, ?, ?)", (number, now, clean(self.thinking)))
        change.executemany(
            f"INSERT INTO decision (reply, place, {DECISION}) VALUES (?, ?, {DECISION_VALUES})",
            [(number, place, *decision_row(one)) for place, one in enumerate(self.decisions)],
        )
        add_votes(change, number, now, self.votes)
        change.executemany(
            "INSERT INTO flag (reply, created, reason) SELECT ?1, ?2, ?3 "
            "WHERE NOT EXISTS (SELECT 1 FROM flag WHERE reply = ?1 AND reason = ?3)",
            [(number, now, clean(reason)) for reason in self.flags],
        )


def record_of(
    record: str, thought: str, decisions: list[tuple[Any, ...]], votes: VoteParts | None = None
) -> dict[str, Any]:
    """The record with the thought where it stood, before the answer, and with the decisions in their place, its own and
    those of its votes."""
    values: dict[str, Any] = json.loads(record)
    ordered: dict[str, Any] = {}
    for name, value in values.items():
        if name == "answer":
            ordered["thinking"] = thought
        ordered[name] = value
    if decisions:
        ordered["decisions"] = [decision_of(row) for row in decisions]
    put_back(ordered, votes or VoteParts())
    return ordered


def escaped(text: str) -> str:
    """`text` as a part of a pattern of LIKE that stands for itself."""
    return clean(text).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def excerpt(text: str, wanted: str, *, around: int = 40) -> str:
    """Where `wanted` stands in `text`, with what is around it, on one line."""
    found = max(0, text.lower().find(wanted.lower()))
    start, end = max(0, found - around), found + len(wanted) + around
    return ("…" if start else "") + " ".join(text[start:end].split()) + ("…" if end < len(text) else "")

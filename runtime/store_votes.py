"""What stands beside the record of a reply for each of its votes: its thought, which may be forgotten sooner, and its
decisions, which quote it. The record keeps their places."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from runtime.reply import Vote
from runtime.store_decisions import DECISION, DECISION_VALUES, clean, decision_of, decision_row

Query = Callable[[str, tuple[Any, ...]], list[Any]]


@dataclass
class VoteParts:
    """The thoughts and decisions of one reply's votes, by the votes' numbers in their order."""

    thoughts: dict[int, str] = field(default_factory=dict)
    decisions: dict[int, list[dict[str, Any]]] = field(default_factory=dict)


def take_out(record: dict[str, Any]) -> None:
    """Leave of the votes in a reply's JSON object only the places of what `add_votes` keeps."""
    for vote in record.get("votes", ()):
        for name, place in (("thinking", ""), ("decisions", [])):
            if name in vote:
                vote[name] = place


def put_back(record: dict[str, Any], parts: VoteParts) -> None:
    """The votes of a record with their thoughts and decisions; that of the chosen one is the reply's own. Votes that
    were kept without any stay as they are."""
    for number, vote in enumerate(record.get("votes", ())):
        if "thinking" in vote:
            vote["thinking"] = record["thinking"] if vote.get("chosen") else parts.thoughts.get(number, "")
        if "decisions" in vote:
            vote["decisions"] = parts.decisions.get(number, [])


def add_votes(change: sqlite3.Connection, reply: int, now: float, votes: Sequence[Vote]) -> None:
    """Keep what stands beside the record of this reply, in the place of what stood there."""
    change.execute("DELETE FROM vote_thought WHERE reply = ?", (reply,))
    change.execute("DELETE FROM vote_decision WHERE reply = ?", (reply,))
    change.executemany(
        "INSERT INTO vote_thought (reply, vote, created, text) VALUES (?, ?, ?, ?)",
        [
            (reply, number, now, clean(vote.thinking))
            for number, vote in enumerate(votes)
            if vote.thinking and not vote.chosen  # the reply's own is kept with the reply
        ],
    )
    change.executemany(
        f"INSERT INTO vote_decision (reply, vote, place, {DECISION}) VALUES (?, ?, ?, {DECISION_VALUES})",
        [
            (reply, number, place, *decision_row(one))
            for number, vote in enumerate(votes)
            for place, one in enumerate(vote.decisions)
        ],
    )


def read_votes(query: Query, conversation: str) -> dict[int, VoteParts]:
    """What stands beside the records of a conversation, by the number of the reply."""
    found: dict[int, VoteParts] = {}
    own = "reply IN (SELECT number FROM reply WHERE conversation = ?)"
    for reply, vote, text in query(f"SELECT reply, vote, text FROM vote_thought WHERE {own}", (conversation,)):
        found.setdefault(reply, VoteParts()).thoughts[vote] = text
    for reply, vote, *decision in query(
        f"SELECT reply, vote, {DECISION} FROM vote_decision WHERE {own} ORDER BY reply, vote, place", (conversation,)
    ):
        parts = found.setdefault(reply, VoteParts())
        parts.decisions.setdefault(vote, []).append(decision_of(tuple(decision)))
    return found


def forget_votes(change: sqlite3.Connection, before: float) -> None:
    """Forget the thoughts that were kept `before` (seconds since 1970), and what the decisions of such replies quote of
    them."""
    change.execute("DELETE FROM vote_thought WHERE created < ?", (before,))
    change.execute(
        "UPDATE vote_decision SET quote = '' WHERE quote != '' "
        "AND reply IN (SELECT number FROM reply WHERE created < ?)",
        (before,),
    )

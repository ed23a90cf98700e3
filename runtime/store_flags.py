"""Flags of kept replies, and what persons decided on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

Query = Callable[[str, tuple[Any, ...]], list[Any]]


@dataclass(frozen=True)
class Settlement:
    """What a person decided on a flag. `created`: when, in seconds since 1970."""

    verdict: str
    person: str
    created: float
    note: str


@dataclass(frozen=True)
class Flag:
    """A doubt about a reply that a person should settle. `settlements`: all decisions on it, the first first."""

    number: int
    reply: int
    conversation: str
    created: float
    reason: str
    settlements: tuple[Settlement, ...] = ()

    @property
    def verdict(self) -> str | None:
        """The last decision; None while it is open."""
        return self.settlements[-1].verdict if self.settlements else None

    def as_json(self) -> dict[str, Any]:
        """What `kangae sessions` says of it with `--json`."""
        return {
            "number": self.number,
            "session": self.conversation,
            "reply": self.reply,
            "created": self.created,
            "reason": self.reason,
            "verdict": self.verdict,
            "settlements": [asdict(one) for one in self.settlements],
        }


def read_flags(query: Query, *, conversation: str | None, only_open: bool) -> list[Flag]:
    """The flags of one conversation, or (None) of all, the oldest first."""
    where = "" if conversation is None else "WHERE r.conversation = ? "
    values: tuple[Any, ...] = () if conversation is None else (conversation,)
    settled: dict[int, list[Settlement]] = {}
    for flag, *rest in query(
        "SELECT v.flag, v.verdict, v.person, v.created, v.note FROM verdict v JOIN flag f ON f.number = v.flag "
        f"JOIN reply r ON r.number = f.reply {where}ORDER BY v.number",
        values,
    ):
        settled.setdefault(flag, []).append(Settlement(*rest))
    rows = query(
        "SELECT f.number, f.reply, r.conversation, f.created, f.reason FROM flag f "
        f"JOIN reply r ON r.number = f.reply {where}ORDER BY f.number",
        values,
    )
    flags = [
        Flag(number, reply, session, created, reason, tuple(settled.get(number, ())))
        for number, reply, session, created, reason in rows
    ]
    return [flag for flag in flags if flag.verdict is None or not only_open]

"""How a vote that is under way is told: each answer on a line while they are few, the standing now and then while they
are many."""

from __future__ import annotations

from typing import Final

from models.plain_text import shorten
from models.plural import counted
from runtime.events import Voted

_FEW: Final = 12
"""Votes of which each has a line."""
_LINES: Final = 10
"""So many lines, at least, tell a longer vote."""
_SHOWN: Final = 3
_SIGNS: Final = 40
_LONGEST: Final = 200
"""Signs of an answer; the whole one is printed once it has won."""


def vote_line(voted: Voted) -> str:
    """`vote 3 of 5: 583 parts; so far 583 parts ×2, 590`; of the answers so far the first few."""
    line = f"vote {voted.done} of {voted.total}: {shorten(voted.answer, _LONGEST)}"
    if voted.done < 2 or not voted.standing:
        return line
    told = [
        shorten(answer, _SIGNS) + (f" ×{thoughts}" if thoughts > 1 else "")
        for answer, thoughts in voted.standing[:_SHOWN]
    ]
    others = len(voted.standing) - _SHOWN
    if others > 0:
        told.append(counted(others, "other"))
    return f"{line}; so far {', '.join(told)}"


def is_news(before: Voted | None, now: Voted) -> bool:
    """Whether a vote is worth a line of its own, `before` being the last that had one: always while there are few; else
    where another answer leads, a tenth of all votes more have come, or it is the last."""
    if now.total <= _FEW or before is None or now.done in (1, now.total) or now.done < before.done:
        return True
    leader, earlier = (next((answer for answer, _ in one.standing), None) for one in (now, before))
    return leader != earlier or now.done - before.done >= now.total / _LINES

"""Whether an answer declines its question: an honest answer, which gives no value."""

from __future__ import annotations

from models.family import families
from models.plain_text import one_line


def declines(answer: str) -> bool:
    """Whether this is, as a whole, how a family that is known here declines. Of other models nobody can tell."""
    said = one_line(answer).strip()
    return any(said in family.declines for family in families())

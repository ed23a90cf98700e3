"""A count and its noun, or the word that goes with a count, in English: the language of all that Kangae says itself."""

from __future__ import annotations


def plural(count: int, one: str, many: str = "") -> str:
    """The word that goes with `count`: `one` with 1, else `many`, which is `one` with an s where it is not given."""
    return one if count == 1 else many or f"{one}s"


def counted(count: int, one: str, many: str = "") -> str:
    """`1 token`, `2 tokens`, `0 tokens`."""
    return f"{count} {plural(count, one, many)}"

"""How decisions become rows of the store, and rows a decision's JSON object again."""

from __future__ import annotations

from typing import Any, Final

from runtime.reply import Decision

_NAMES: Final = ("token", "rule", "number", "limit", "words", "quote", "rung")
DECISION: Final = 'token, rule, number, "limit", words, quote, rung'
"""The columns of a decision, in the order of its fields."""
DECISION_VALUES: Final = ", ".join("?" * len(_NAMES))
"""What stands for their values in a statement."""
_WHERE_THERE_IS_ONE: Final = ("quote", "rung")


def decision_row(decision: Decision) -> tuple[Any, ...]:
    """The values of its columns."""
    words, quote = clean(decision.words), clean(decision.quote)
    return decision.token, decision.rule, decision.number, decision.limit, words, quote, decision.rung


def decision_of(row: tuple[Any, ...]) -> dict[str, Any]:
    """The JSON object of a decision from its columns."""
    values = dict(zip(_NAMES, row, strict=True))
    return {name: value for name, value in values.items() if value or name not in _WHERE_THERE_IS_ONE}


def clean(text: str) -> str:
    """SQLite takes only what UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode()

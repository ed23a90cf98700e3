"""Rows as aligned columns of a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def cells(text: str) -> int:
    """The columns of a terminal that `text` takes: two for wide signs (Japanese), none for combining ones."""
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text
    )


def table(rows: Sequence[Sequence[str]], *, right: bool = False) -> str:
    """Rows as columns, two spaces apart; the first row is the heading. `right`: all but the first to the right."""
    widths = [max(cells(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        padded = []
        for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
            blanks = " " * (width - cells(cell))
            padded.append(blanks + cell if right and column else cell + blanks)
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)

"""A reply's checks, flags, votes and decisions as lines that a person can read on a terminal of 80 columns."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from models.columns import cells
from models.plain_text import one_line, strip_controls
from runtime.store_rows import NOTES

if TYPE_CHECKING:
    from runtime.store_flags import Flag, Settlement

_WIDTH = 80


def trace_lines(record: Mapping[str, Any], flags: Iterable[Flag]) -> list[str]:
    """What there is of it, part by part, each behind a heading and before a blank line. `record` is the JSON object of
    a kept reply, `flags` are the store's, with what persons decided on them. Headings and list items are Markdown."""
    parts: list[tuple[str, list[str]]] = [
        ("Checks", [_check(one) for one in record.get("checks", ())]),
        ("Flags", [flag_text(one) for one in flags]),
        ("Notes", [one_line(one) for one in record.get("flags", ()) if one.startswith(NOTES)]),
        ("Votes", [_vote(one) for one in record.get("votes", ())]),
        ("Decisions, by thinking token", list(_decisions(record.get("decisions", ())))),
    ]
    lines: list[str] = []
    for heading, texts in parts:
        if texts:
            lines += [f"{heading}:", "", *(line for text in texts for line in folded(f"- {text}", indent=2)), ""]
    return lines


def flag_text(flag: Flag) -> str:
    """A flag with its number, its reason, and what was decided on it."""
    settled = "".join(f"; {settlement_text(one)}" for one in flag.settlements)
    return f"{flag.number}  {'open' if flag.verdict is None else flag.verdict}: {one_line(flag.reason)}{settled}"


def settlement_text(settlement: Settlement) -> str:
    """What a person decided, who did, when, and why."""
    note = f" ({one_line(settlement.note)})" if settlement.note else ""
    return f"{settlement.verdict}, {one_line(settlement.person)}, {when(settlement.created)}{note}"


def when(seconds: float) -> str:
    """A time since 1970 as this machine's clock shows it."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def folded(text: str, *, indent: int, width: int = _WIDTH) -> list[str]:
    """`text` on lines of at most `width` columns, all but the first indented. It is broken at spaces, and within a word
    that is longer than a line, as those of Japanese are."""
    lines, line = [], ""
    for word in _parts(strip_controls(text, lines=False), width - indent):
        if line.strip() and cells(line + word.rstrip()) > width:
            lines.append(line.rstrip())
            line, word = " " * indent, word.lstrip()
        line += word
    return [*lines, line.rstrip()]


def _parts(text: str, width: int) -> Iterator[str]:
    """Words, each with the space behind it, none wider than `width`."""
    word = ""
    for sign in text:
        if cells(word + sign) > width or (word.endswith(" ") and sign != " "):
            yield word
            word = ""
        word += sign
    if word:
        yield word


def counted(tokens: int, kind: str) -> str:
    """`1 answer token`, `2 answer tokens`."""
    return f"{tokens} {kind} token{'' if tokens == 1 else 's'}"


def _check(check: Mapping[str, Any]) -> str:
    name = one_line(f"{check['name']} ({check.get('kind', 'form')})")
    return f"{'passed' if check['passed'] else 'FAILED'}  {name}: {one_line(check['detail'])}"


def _vote(vote: Mapping[str, Any]) -> str:
    answer = one_line(vote["answer"]) or "(no answer)"
    return f"{vote['weight']:.2f}  {answer} ({vote['close']}, {counted(vote['thinking_tokens'], 'thinking')})"


def _decisions(decisions: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Tokens stand in one column."""
    width = max((len(str(one["token"])) for one in decisions), default=0)
    for one in decisions:
        number, limit = one["number"], one["limit"]
        figures = "" if number is None else f" {number:.6g}"
        figures += "" if limit is None else f" (limit {limit:.6g})"
        quote = f": “{one_line(one['quote'])}”" if one.get("quote") else ""
        yield f"{one['token']:>{width}}  {one['rule']}{figures}: {one_line(one['words'])}{quote}"

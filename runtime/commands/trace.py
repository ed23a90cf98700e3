"""A reply's checks, flags, votes and decisions as lines that a person can read on a terminal of 80 columns."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from models.columns import cells
from models.plain_text import one_line, strip_controls
from models.plural import counted
from runtime.store_rows import NOTES

if TYPE_CHECKING:
    from runtime.store_flags import Flag, Settlement

_WIDTH = 80
_ENDS = {"length": "answer cut", "cancelled": "stopped", "error": "failed"}


def trace_lines(record: Mapping[str, Any], flags: Iterable[Flag], *, thinking: bool = False) -> list[str]:
    """What there is of it, part by part, each behind a heading and before a blank line. `record` is the JSON object of
    a kept reply, `flags` are the store's, with what persons decided on them; `thinking`: with the thoughts of votes.
    Headings and list items are Markdown."""
    decisions = [_item(one) for one in _decisions(record.get("decisions", ()))]
    parts: list[tuple[str, list[list[str]]]] = [
        ("Checks", [_item(_check(one)) for one in record.get("checks", ())]),
        ("Flags", [_item(flag_text(one)) for one in flags]),
        ("Notes", [_item(one_line(one)) for one in record.get("flags", ()) if one.startswith(NOTES)]),
        ("Votes", [list(_vote_lines(one, thinking=thinking)) for one in record.get("votes", ())]),
        ("Decisions, by thinking token", decisions),
    ]
    lines: list[str] = []
    for heading, items in parts:
        if items:
            lines += [f"{heading}:", "", *(line for item in items for line in item), ""]
    return lines


def _item(text: str, *, level: int = 0) -> list[str]:
    """A list item on lines of 80 columns, `level` lists deep."""
    indent = "  " * level
    return [indent + line for line in folded(f"- {text}", indent=2, width=_WIDTH - len(indent))]


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


def _check(check: Mapping[str, Any]) -> str:
    name = one_line(f"{check['name']} ({check.get('kind', 'form')})")
    return f"{'passed' if check['passed'] else 'FAILED'}  {name}: {one_line(check['detail'])}"


def _vote_lines(vote: Mapping[str, Any], *, thinking: bool) -> Iterator[str]:
    """A vote, and indented below it what was decided on the way to it. Of the one that is the reply all of that stands
    with the reply."""
    yield from _item(_vote(vote))
    if vote.get("chosen"):
        return
    texts = [_check(one) for one in vote.get("checks", ())]
    texts += [f"flag: {one_line(one)}" for one in vote.get("flags", ())]
    texts += _decisions(vote.get("decisions", ()))
    for text in texts:
        yield from _item(text, level=1)
    if thinking and vote.get("thinking"):
        yield from ("", *(f"  > {line}" for line in vote["thinking"].split("\n")), "")


def _vote(vote: Mapping[str, Any]) -> str:
    answer = one_line(vote["answer"]) or "(no answer)"
    facts = [vote["close"], counted(vote["thinking_tokens"], "thinking token")]
    if vote.get("answer_tokens") is not None:
        facts.append(counted(vote["answer_tokens"], "answer token"))
    if (ended := _ENDS.get(vote.get("finish", "stop"))) is not None:
        facts.append(ended)
    if vote.get("confidence") is not None:
        facts.append(f"confidence {vote['confidence']:.3f}")
    if vote.get("seed") is not None:
        facts.append(f"seed {vote['seed']}")
    if vote.get("chosen"):
        facts.append("this reply")
    return f"{vote['weight']:.2f}  {answer} ({', '.join(facts)})"


def _decisions(decisions: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Tokens stand in one column."""
    width = max((len(str(one["token"])) for one in decisions), default=0)
    for one in decisions:
        number, limit = one["number"], one["limit"]
        figures = "" if number is None else f" {number:.6g}"
        figures += "" if limit is None else f" (limit {limit:.6g})"
        quote = f": “{one_line(one['quote'])}”" if one.get("quote") else ""
        rung = f"{one['rung']}, " if one.get("rung") and one["rule"] != "rung" else ""
        yield f"{one['token']:>{width}}  {rung}{one['rule']}{figures}: {one_line(one['words'])}{quote}"

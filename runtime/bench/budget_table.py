"""What `bench budget` measured, as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from models.columns import table
from models.plain_text import shorten, strip_controls
from runtime.bench.budget import show_budget
from runtime.bench.methods import METHODS

_MOST_FLAGGED: Final = 20
_MOST_SIGNS: Final = 60

_HEADERS: Final[Mapping[str, str]] = {
    "BUDGET": "thinking tokens that a question may take",
    "METHOD": "how a thought is ended; explained below",
    "95 %": "where the accuracy lies with problems like these (bootstrap)",
    "TOK/CORRECT": "all tokens behind the prompts, for each right answer",
    "S/CORRECT": "seconds of the whole run, for each right answer",
    "THOUGHT": "thinking tokens of a reply, on average",
    "OVER": "thinking tokens beyond the budget, at worst",
    "COMPLETE": "share of replies whose answer ended by itself",
    "AT CAP": "the same, of those whose thought the budget or a deadline closed",
    "LEAKS": "replies that show a tag, or think on in the answer",
    "LOST": "share that is wrong here, of what is right with an unlimited budget",
    "CLOSES": "what ended the thoughts, and how often",
}
_FLAG_HEADERS: Final[Mapping[str, str]] = {
    "FLAGGED": "replies that a person should look at, for a check, a doubt or a vote without a majority",
    "PRECISION": "share of the flagged that is wrong",
    "FALSE ACCEPT": "share of the others that is wrong",
    "REASONS": "why they were flagged, and how often",
}
_UNANSWERED: Final[Mapping[str, str]] = {
    "UNANSWERED": "problems that could not be met or failed; they count as wrong",
}


def table_of(found: dict[str, Any]) -> str:
    """The object as tables for a terminal."""
    head = [
        "BUDGET",
        "METHOD",
        "N",
        "ACCURACY",
        "95 %",
        "TOK/CORRECT",
        "S/CORRECT",
        "THOUGHT",
        "OVER",
        "COMPLETE",
        "AT CAP",
        "LEAKS",
        "LOST",
        "CLOSES",
    ]
    rows = [head]
    for row in found["rows"]:
        low, high = row["ci"]
        closes = " ".join(f"{name}:{count}" for name, count in row["closes"].items() if count)
        rows.append(
            [
                show_budget(row["budget"]), row["method"], str(row["n"]), f"{row['accuracy']:.3f}",
                f"{low:.3f}-{high:.3f}", _number(row["tokens_per_correct"], 1), _number(row["seconds_per_correct"], 3),
                f"{row['thinking_tokens']:.1f}", str(row["overshoot_max"]), f"{row['completion']:.3f}",
                _number(row["completion_at_cap"], 3), str(row["leaks"]), _number(row["lost_correct"], 3), closes,
            ]
        )  # fmt: skip
    unanswered = any(row.get("unanswered") for row in found["rows"])
    if unanswered:
        for line, cell in zip(rows, ["UNANSWERED", *(str(row["unanswered"]) for row in found["rows"])], strict=True):
            line.append(cell)
    parts = [table(rows, right=True)]
    judging = [row for row in found["rows"] if "flagged" in row]
    if judging:
        parts.append(_flag_table(judging))
    if found.get("flagged"):
        parts.append(_flagged_table(found["flagged"]))
    for field, groups in found.get("groups", {}).items():
        several = len({row["method"] for row in found["rows"]}) > 1
        first: list[dict[str, Any]] = next(iter(groups.values()), [])
        heads = [(f"{row['method']} " if several else "") + show_budget(row["budget"]) for row in first]
        lines = [[field.upper(), "N", *heads]]
        lines += [
            [value, str(own[0]["n"]), *(f"{row['accuracy']:.3f}" for row in own)] for value, own in groups.items()
        ]
        parts.append(table(lines, right=True))
    if found["rows"]:
        headers = {**_HEADERS, **(_UNANSWERED if unanswered else {}), **(_FLAG_HEADERS if judging else {})}
        parts.append(_key(dict.fromkeys(row["method"] for row in found["rows"]), headers))
    return strip_controls("\n\n".join(parts))


def _flag_table(rows: Iterable[Mapping[str, Any]]) -> str:
    lines = [["BUDGET", "METHOD", *_FLAG_HEADERS]]
    for row in rows:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in row["flag_reasons"].items()) or "-"
        worth = [_number(row[name], 3) for name in ("flag_precision", "false_accept")]
        lines.append([show_budget(row["budget"]), row["method"], str(row["flagged"]), *worth, reasons])
    return table(lines, right=True)


def _flagged_table(replies: list[dict[str, Any]]) -> str:
    """The flagged replies; beyond some only how many more there are, for `--json` lists them all."""
    lines = [["FLAGGED REPLY", "BUDGET", "METHOD", "ANSWER", "EXPECTED", "WHY"]]
    for one in replies[:_MOST_FLAGGED]:
        said = [
            shorten(str(one[name] if one[name] is not None else ""), _MOST_SIGNS) for name in ("answer", "expected")
        ]
        lines.append([one["id"], show_budget(one["budget"]), one["method"], *said, ", ".join(one["reasons"])])
    more = len(replies) - _MOST_FLAGGED
    return table(lines) + (f"\n… and {more} more, listed by --json" if more > 0 else "")


def _key(methods: Iterable[str], headers: Mapping[str, str]) -> str:
    """What the headers and the methods of a table mean."""
    known = {name: METHODS.get("votes:K" if name.startswith("votes:") else name, "") for name in methods}
    if any(meaning.startswith("as message") for meaning in known.values()):
        known = {"message": METHODS["message"], **known}
    told = {**headers, **known}
    width = max(map(len, told))
    return "\n".join(f"{name:<{width}}  {meaning}" for name, meaning in told.items() if meaning)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"

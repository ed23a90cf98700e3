"""A report as tables for a terminal of 80 columns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from models.cli import human_bytes
from models.columns import table
from models.plain_text import shorten, strip_controls
from models.plural import counted
from quantize.quality.row import FormRow

if TYPE_CHECKING:
    from quantize.quality.report import Report

_LABEL: Final = 12
_COST: Final = ("FORM", "SIZE", "BITS", "KL", "KL 99 %", "THOUGHT", "ANSWER", "SAME", "MEM")
_WORTH: Final = ("FORM", "RIGHT", "95 %", "± REF", "THOUGHT", "LOOPS", "TOK/S", "S/RIGHT", "T/RIGHT")
_KEY: Final = """\
SIZE, BITS  bytes on disk; bits for each weight
KL          how far the next token's probabilities are from the reference's, in
            nats: mean, 99th percentile, mean in thoughts and in answers
SAME        places at which the likeliest token is the same
MEM         the most MB that a process takes which runs the form for one person
RIGHT       share of right answers, with its 95 % interval (bootstrap), and how
            many points more or less than the reference, problem by problem
THOUGHT     thinking tokens of a reply, and how many times the reference's
LOOPS       share of thoughts that went in circles
TOK/S       tokens a second of one reply; S/RIGHT, T/RIGHT: seconds and tokens
            of all replies, one at a time, for each right one"""


def report_text(report: Report) -> str:
    """What forms cost and what they do, what the columns mean, and what failed."""
    parts = [_head(report)]
    labels = told_apart([short_label(row) for row in report.rows])
    costs = [[label, *_cost(row)[1:]] for label, row in zip(labels, report.rows, strict=True)]
    worths = [[label, *_worth(row, report.reference)[1:]] for label, row in zip(labels, report.rows, strict=True)]
    parts.append(table([list(_COST), *costs], right=True))
    parts.append(table([list(_WORTH), *worths], right=True))
    parts.append(_KEY)
    cut = [(label, row) for label, row in zip(labels, report.rows, strict=True) if label.endswith(")")]
    if cut:
        parts.append("\n".join(f"{label}  {shorten(Path(row.file).name, 62)}" for label, row in cut))
    failures = [f"{row.label}, {one['measure']}: {one['detail']}" for row in report.rows for one in row.errors]
    if failures:
        parts.append("\n".join(failures))
    return strip_controls("\n\n".join(parts))


def short_label(row: FormRow, width: int = _LABEL) -> str:
    """What a column or a picture has room for: `Q4_K_M` for `gguf:Q4_K_M`. Of a long one the end, which tells files of
    one form apart, is kept too."""
    text = row.label.removeprefix("gguf:")
    half = (width - 1) // 2
    return text if len(text) <= width else f"{text[: width - 1 - half]}…{text[-half:]}"


def told_apart(labels: list[str]) -> list[str]:
    """Labels that several rows share, numbered: "Q2_K (1)", "Q2_K (2)"."""
    seen: dict[str, int] = {}
    found = []
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        stem = label.split(" ")[0]
        found.append(f"{stem} ({seen[label]})" if labels.count(label) > 1 else label)
    return found


def _head(report: Report) -> str:
    name = (report.reference.answers or {}).get("name", report.reference.label)
    parts = [counted(len(report.settings.problems), "problem"), f"KL on {report.kl_tokens:,} tokens"]
    return f"{shorten(str(name), 30)}: {', '.join(parts)}\nmeasured on {shorten(report.machine, 66)}"


def _cost(row: FormRow) -> list[str]:
    told = row.divergence or {}
    numbers = [told.get(name) for name in ("kl_mean", "kl_p99", "kl_thinking", "kl_answer")]
    return [
        short_label(row),
        human_bytes(row.bytes),
        f"{row.bits_per_weight:.2f}" if row.bits_per_weight else "-",
        *(_nats(number) for number in numbers),
        f"{told['top1']:.2%}" if told else "-",
        f"{row.peak_bytes / (1 << 20):.0f}" if row.answers is not None else "-",
    ]


def _worth(row: FormRow, reference: FormRow) -> list[str]:
    if row.answers is None:
        return [short_label(row), *["-"] * (len(_WORTH) - 1)]
    low, high = row.accuracy_interval
    against = None if row is reference else row.difference(reference)
    length = reference.thinking_tokens
    times = f" x{row.thinking_tokens / length:.2f}" if length and row is not reference else ""
    seconds, tokens = row.per_correct("seconds"), row.per_correct("tokens")
    return [
        short_label(row),
        f"{row.accuracy:.1%}",
        f"{100 * low:.0f}-{100 * high:.0f}",
        f"{100 * against[0]:+.1f}" if against is not None else "-",
        f"{row.thinking_tokens:.0f}{times}",
        f"{row.share('circled') or 0.0:.1%}",
        f"{row.answers['decode_tps']:.0f}",
        _seconds(seconds),
        "-" if tokens is None else f"{tokens:.0f}",
    ]


def _nats(value: float | None) -> str:
    return "-" if value is None else divergence_text(value)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if value < 10 else f"{value:.1f}"


def divergence_text(value: float) -> str:
    """A divergence in nats with two digits that tell something, however small it is: "0.014", "3.1e-05"."""
    return f"{value:.2g}" if 0 < value < 1 else f"{value:.2f}"

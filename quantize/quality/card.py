"""The model card of a set of forms: what the hub shows of a folder of files (README.md)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from models.cli import human_bytes
from models.plain_text import one_line
from models.plural import counted
from quantize.quality.report_table import divergence_text, short_label
from quantize.quality.row import FormRow

if TYPE_CHECKING:
    from quantize.quality.report import Report


@dataclass(frozen=True)
class CardFacts:
    """What a report does not measure. Empty ones are left out. `made`: sentences on how the forms were made (quantizer,
    calibration, compensation); `problems`: what the problems are, in a few words."""

    name: str
    licence: str = ""
    base_model: str = ""
    quantized_by: str = ""
    made: tuple[str, ...] = ()
    problems: str = "problems with known answers"
    pictures: tuple[str, ...] = ()


def model_card(report: Report, facts: CardFacts) -> str:
    """Front matter, the table, what to use when, how it was made, how to run it."""
    parts = [_front(report, facts), f"# {_plain(facts.name)}, quantized"]
    parts += [_tables(report), _measured(report, facts), _choice(report)]
    parts += [f"![{name}]({name})" for name in facts.pictures]
    parts += [_made(report, facts), _running(report, facts)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front(report: Report, facts: CardFacts) -> str:
    told = report.reference.answers or {}
    kinds = {row.form.partition(":")[0] for row in report.rows}
    fields: dict[str, object] = {
        "license": facts.licence or told.get("licence", ""),
        "base_model": facts.base_model or told.get("base_model", "").removeprefix("https://huggingface.co/"),
        "base_model_relation": "quantized" if facts.base_model or told.get("base_model") else "",
        "quantized_by": facts.quantized_by,
        "pipeline_tag": "text-generation",
        "tags": sorted({*kinds, "reasoning", "kangae"}),
    }
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items() if value]
    return "\n".join(("---", *lines, "---"))


def _tables(report: Report) -> str:
    head = ["Form", "File", "Size", "Bits", "KL", "KL thought", "KL answer", "Same token", "Right", "95 %", "Thought",
            "Loops", "Tokens/s", "s/right", "Memory"]  # fmt: skip
    lines = [_line(head), _line(["---"] + ["---:"] * (len(head) - 1))]
    return "\n".join([*lines, *(_line(_cells(row)) for row in report.rows)])


def _cells(row: FormRow) -> list[str]:
    told, answers = row.divergence or {}, row.answers
    low, high = row.accuracy_interval
    seconds = row.per_correct("seconds")
    cells = [short_label(row, 40), f"`{Path(row.file).name}`", human_bytes(row.bytes), f"{row.bits_per_weight:.2f}"]
    cells += [
        divergence_text(told[name]) if told.get(name) is not None else "–"
        for name in ("kl_mean", "kl_thinking", "kl_answer")
    ]
    cells.append(f"{told['top1']:.2%}" if told else "–")
    if answers is None:
        return [*cells, "not measured", *["–"] * 6]
    return [
        *cells,
        f"{row.accuracy:.1%}", f"{low:.1%} … {high:.1%}", f"{row.thinking_tokens:.0f}",
        f"{row.share('circled') or 0.0:.1%}", f"{answers['decode_tps']:.0f}",
        "–" if seconds is None else f"{seconds:.3g}", human_bytes(row.peak_bytes),
    ]  # fmt: skip


def _measured(report: Report, facts: CardFacts) -> str:
    budget = report.settings.budget
    thoughts = "the thoughts not limited" if budget is None else f"thoughts of at most {budget} tokens"
    text = (
        f"Measured on {counted(len(report.settings.problems), _plain(facts.problems), _plain(facts.problems))} "
        f"({_plain(report.machine)}), {thoughts}. "
        "KL is the mean divergence of the next token's probabilities from the reference's, in nats, at each token of "
        f"the reference's own replies to these problems ({report.kl_tokens:,} tokens). Right answers come with their "
        "95 % bootstrap interval; thoughts in tokens; memory is the peak of a process that runs one form alone."
    )
    failed = [f"{row.label}: {one['detail']}" for row in report.rows for one in row.errors]
    return text + ("\n\nNot measured: " + " ".join(map(_plain, failed)) if failed else "")


def _choice(report: Report) -> str:
    """What to use when: by the rule of `recommend`, and the least that still stays within chance of the reference."""
    from models.errors import KangaeError
    from quantize.quality.recommend import recommend

    try:
        found = recommend(report)
    except KangaeError:
        return ""
    lines = [
        "## Which one",
        "",
        f"Take **{short_label(found.row, 40)}** without other limits. {' '.join(found.reasons)}",
    ]
    whole = [row for row in report.rows if row.answers is not None and row.accuracy]
    if whole:
        right = max(whole, key=lambda row: (row.accuracy, -row.bytes))
        cheap = min(whole, key=lambda row: row.per_correct("seconds") or float("inf"))
        small = min(whole, key=lambda row: row.bytes)
        lines += [
            "",
            f"- most right answers: {short_label(right, 40)} ({right.accuracy:.1%})",
            f"- fewest seconds for each right answer: {short_label(cheap, 40)} "
            f"({cheap.per_correct('seconds') or 0:.3g} s)",
            f"- fewest bytes: {short_label(small, 40)} ({human_bytes(small.bytes)}, {small.accuracy:.1%} right)",
        ]
    return "\n".join(lines)


def _made(report: Report, facts: CardFacts) -> str:
    lines = ["## How it was made", ""]
    lines += [f"- {_plain(one)}" for one in facts.made]
    lines.append(f"- reference: `{Path(report.reference.file).name}`")
    lines += [f"- `{Path(row.file).name}`: SHA-256 `{row.sha256}`" for row in report.rows if row.sha256]
    return "\n".join(lines)


def _running(report: Report, facts: CardFacts) -> str:
    ggufs = [row for row in report.rows if row.form.startswith("gguf:") and not row.reference]
    row = next(iter(ggufs), report.reference)
    file = Path(row.file).name
    lines = ["## How to run it", "", "```sh", f'kangae ask -m {file} "…"   # thoughts under control']
    if row.form.startswith("gguf:"):
        lines += [
            f"llama-cli -m {file} --jinja",
            f"echo 'FROM ./{file}' > Modelfile && ollama create {_tag(facts.name)} -f Modelfile",
            f"lms import {file}   # LM Studio",
        ]
    return "\n".join([*lines, "```"])


def _tag(name: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "-._" else "-" for sign in name.lower())


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(one_line(cell).replace("|", "\\|") for cell in cells) + " |"


def _plain(text: str) -> str:
    return one_line(text).replace("<", "&lt;")

"""Measures the model that ships and writes the figures into its card and the README.

    python scripts/tiny_card.py out/card        # some half an hour on two cores; goes on where it stopped
    python scripts/tiny_card.py out/card --only-write

Every measure is a command of `kangae` on one thread, two at a time; see `scripts/card.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import card
from card import ROOT, Documents, Figures, Measure, closes, interval, percent, table
from models.tiny.thought import PHRASES
from runtime.bench.budget import show_budget

CARD, README = ROOT / "models" / "tiny" / "README.md", ROOT / "README.md"
HELD_OUT = ["--english", "tests/tiny/heldout_english.toml", "--japanese", "tests/tiny/heldout_japanese.toml"]
REFUSALS = tuple(phrases.refusal for phrases in PHRASES.values())
BUDGETS = "off,16,32,64,128"

UNSEEN = ["-n", "510", "--seed", "13", *HELD_OUT]
CHECKED = ["-n", "1020", "--seed", "16"]
BUDGET = ["bench", "budget", "--budgets", "unlimited"]
# The longest first, for they run two at a time.
MEASURES = (
    Measure("unlimited", [*BUDGET, "--by", "skill", "--by", "language"]),
    Measure("budgets", ["bench", "budget", "--budgets", BUDGETS, "--by", "skill", "--by", "language"]),
    Measure("unseen", [*BUDGET, "--by", "skill"], [UNSEEN]),
    Measure("check_en", ["bench", "continue", "-n", "340", "--then", PHRASES["en"].check], [CHECKED], "en"),
    Measure("check_ja", ["bench", "continue", "-n", "340", "--then", PHRASES["ja"].check], [CHECKED], "ja"),
    Measure("listed", [*BUDGET, "--by", "skill"], [["-n", "340", "--seed", "21", "--listed"]]),
    Measure("asked", ["ask", "--no-store"], [["-n", "340", "--seed", "16"]], many=True),
    Measure("slip", ["bench", "continue", "-n", "255"], [["-n", "510", "--seed", "15", "--plant", "slip"]]),
    Measure("misreading", ["bench", "continue", "-n", "255"], [["-n", "510", "--seed", "17", "--plant", "misreading"]]),
    Measure("altered", ["bench", "continue", "-n", "255"], [["-n", "510", "--seed", "14", "--plant", "altered"]]),
    Measure("everyday", ["bench", "budget", "--problems", "tests/tiny/everyday.jsonl", "--budgets", "off,unlimited"]),
    Measure("near", [*BUDGET, "--problems", "tests/tiny/near.jsonl"]),
)


# --- tables


def row_of(rows: Sequence[Figures], budget: int | None) -> Figures:
    """The row of one budget. Raises StopIteration where none is."""
    return next(row for row in rows if row["budget"] == budget)


def accuracy(figures: Figures, budget: int | None = None, group: tuple[str, str] | None = None) -> str:
    """In percent, of all or of one group ("skill", "stock")."""
    rows = figures["groups"][group[0]][group[1]] if group else figures["rows"]
    return percent(row_of(rows["rows"] if isinstance(rows, dict) else rows, budget)["accuracy"])


def budgets_table(found: Figures) -> str:
    """Accuracy and cost by budget."""
    rows = [*found["budgets"]["rows"], *found["unlimited"]["rows"]]
    cells = [
        (
            show_budget(row["budget"]), f"{row['n']:,}", percent(row["accuracy"]),
            interval(row), f"{row['thinking_tokens']:.0f}",
            f"{row['tokens_per_correct']:.0f}",
            closes(row),
        )
        for row in rows
    ]  # fmt: skip
    head = ("budget (tokens)", "n", "accuracy %", "95 %", "thinking tokens", "tokens per right answer", "closed by")
    overshoot, leaked = max(row["overshoot_max"] for row in rows), sum(row["leaks"] for row in rows)
    return f"{table(head, cells)}\n\nSampled thinking tokens over the budget: {overshoot}. Tags leaked: {leaked}."


def forms_table(found: Figures) -> str:
    """Accuracy by skill, and by language."""
    whole, bounded, listed, unseen = (found[name] for name in ("unlimited", "budgets", "listed", "unseen"))
    cells = []
    for skill in whole["groups"]["skill"]:
        group = ("skill", skill)
        cells.append((
            skill, accuracy(bounded, 0, group), accuracy(bounded, 64, group), accuracy(whole, None, group),
            accuracy(listed, None, group), accuracy(unseen, None, group),
        ))  # fmt: skip
    cells.append((
        "**all**", accuracy(bounded, 0), accuracy(bounded, 64), f"**{accuracy(whole)}**", accuracy(listed),
        accuracy(unseen),
    ))  # fmt: skip
    count = len(whole["groups"]["skill"])
    each = [figures["rows"][0]["n"] // count for figures in (bounded, whole, listed, unseen)]
    head = (
        "form", f"off % (n = {each[0]} each)", "64 %", f"unlimited % ({each[1]})", f"listed wording % ({each[2]})",
        f"unseen wordings % ({each[3]})",
    )  # fmt: skip
    english, japanese = (accuracy(whole, None, ("language", language)) for language in ("en", "ja"))
    return f"{table(head, cells)}\n\nEnglish {english} %, Japanese {japanese} %."


def worth_table(found: Figures) -> str:
    """What a thought is good for beyond right answers."""
    everyday, near, asked = found["everyday"], found["near"], found["asked"]
    mistaken = sum(reply.get("answer") in REFUSALS for reply in asked)

    def planted(name: str) -> str:
        return f"{percent(found[name]['accuracy'])} % of {found[name]['n']}"

    def forced(name: str) -> str:
        one = found[name]
        return f"{one['became_right']} became right, {one['became_wrong']} became wrong, of {one['n']}"

    declined = f"{accuracy(everyday)} % of {everyday['rows'][-1]['n']} ({accuracy(everyday, 0)} % without thinking)"
    near_words = "near forms declined (in words of their own: decimals, large factors, percent, boxes needed)"
    near_declined = f"{accuracy(near)} % of {near['rows'][-1]['n']}"

    rows = (
        ("everyday questions refused in the asker's language", declined, "everyday"),
        (near_words, near_declined, "near"),
        ("problems refused by mistake", f"{mistaken} of {len(asked)}", "asked"),
        ("answers that follow a finished thought with another result", planted("altered"), "altered"),
        ("planted slips repaired", planted("slip"), "slip"),
        ("planted misreadings of the question repaired", planted("misreading"), "misreading"),
        ("a second check put in by force, English", forced("check_en"), "check_en"),
        ("the same, Japanese", forced("check_ja"), "check_ja"),
    )
    commands = {measure.name: measure.written() for measure in MEASURES}
    cells = [(what, result, commands[name]) for what, result, name in rows]
    return table(("measure", "result", "command"), cells)


def short_table(found: Figures) -> str:
    """The README's: right answers by budget, and what else a reader wants to know first."""
    rows = [*found["budgets"]["rows"], *found["unlimited"]["rows"]]
    head = ["budget (thinking tokens)", *(show_budget(row["budget"]) for row in rows)]
    cells = ["right answers", *(f"{percent(row['accuracy'])} %" for row in rows)]
    everyday, near = found["everyday"], found["near"]
    return "\n".join([
        table(head, [cells]),
        "",
        f"n = {rows[-1]['n']:,} each. In wordings that it never saw "
        f"{accuracy(found['unseen'])} % are right.",
        f"It declines {accuracy(everyday)} % of {everyday['rows'][-1]['n']} everyday questions, and "
        f"{accuracy(near)} % of {near['rows'][-1]['n']} that only look like its own.",
    ])  # fmt: skip


# --- write


def documents(found: Figures) -> Documents:
    """The figures of the card and of the README."""
    blocks = {"budgets": budgets_table(found), "forms": forms_table(found), "worth": worth_table(found)}
    return {CARD: blocks, README: {"accuracy": short_table(found)}}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return card.run(__doc__ or "", MEASURES, documents, lanes=2, arguments=arguments)


if __name__ == "__main__":
    sys.exit(main())

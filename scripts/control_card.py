"""Measures thinking control on this machine and writes the figures into docs/control.md.

    python scripts/control_card.py out/control        # some two hours, alone on the machine; goes on where it stopped
    python scripts/control_card.py out/control --only-write

One measure at a time, for most of them tell times; see `scripts/card.py`. The model that ships is calibrated first, and
what is measured with its profile uses that one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import card
from card import ROOT, UNSURE, Documents, Figures, Measure, closes, interval, percent, table
from models.family import families
from models.tiny.answer_form import answer_form
from runtime.bench.budget import leaks, show_budget

DOCUMENT = ROOT / "docs" / "control.md"
FORMS = ("off", "8", "16", "32", "64", "110")
HALF = FORMS[-1]  # tokens: half of what the model that ships thinks by itself, which stands beside it in the table
DRAWN = "0.8"  # the temperature of votes
TRIAL = "scripts/deadline_trial.py"
LATE = 1  # the exit code of the trial where a reply was late
BUDGET = ("bench", "budget")


def trial(name: str, *words: str) -> Measure:
    """One run of the trial of deadlines."""
    return Measure(name, [TRIAL, *words], flags=(), codes=(0, LATE))


def forms(budget: str) -> Measure:
    """Whole replies under one budget, as anybody asks who never calibrated."""
    asked = ["ask", "--no-store", "--no-profile", "--budget", budget]
    return Measure(f"form_{budget}", asked, [["-n", "510", "--seed", "7"]], codes=(0, UNSURE), many=True)


UNSEEN = ["-n", "510", "--seed", "18"]  # by the profile, too, which was measured on problems that ship
HARD = ["-n", "170", "--seed", "9", "--hard"]
FEW = ("--parallel", "4", "--threads", "1")  # with five thoughts each
MEASURES = (
    Measure("profile", ["calibrate", "kangae-tiny", "-n", "192", "--threads", "1"], flags=()),
    *(forms(budget) for budget in FORMS),
    Measure(
        "half", [*BUDGET, "--no-profile", "-n", "510", "--budgets", f"{HALF},unlimited", "--method", "cut,message,soft"]
    ),
    Measure("early", [*BUDGET, "--budgets", "unlimited", "--method", "message,soft,probe,auto"], [UNSEEN]),
    Measure(
        "votes",
        [*BUDGET, "--budgets", "unlimited", "--method", "message,votes:5", "--temperature", DRAWN],
        [HARD],
        flags=FEW,
    ),
    Measure(
        "mix",
        [*BUDGET, "--budgets", "unlimited", "--method", "message,auto"],
        [["-n", "170", "--seed", "8"], HARD],
    ),
    Measure("cost", ["bench", "control"], flags=()),
    trial("shipped", "--shipped"),
    trial("shipped_burnt", "--shipped", "--burn"),
    trial("cancel", "--cancel", "--runs", "10"),
    trial("deadlines", "--quant", "Q4_0", "--runs", "25"),
    trial("deadlines_burnt", "--quant", "Q4_0", "--runs", "5", "--burn"),
)


# --- tables


def forms_table(found: Figures) -> str:
    """What replies look like under small budgets."""
    family = next(one for one in families() if one.name == "kangae-tiny")
    cells = []
    for budget in FORMS:
        replies = found[f"form_{budget}"]
        formed = sum(answer_form(reply["answer"]) == answer_form(reply["expected"]) for reply in replies)
        cells.append((
            budget, len(replies), percent(formed / len(replies)),
            max(reply["budget"]["overshoot_tokens"] for reply in replies),
            sum(leaks(reply["thinking"], reply["answer"], family) for reply in replies),
        ))  # fmt: skip
    head = (
        "budget (tokens)", "replies", "answers of the right form %", "most tokens over the budget",
        "tags or thinking in an answer",
    )  # fmt: skip
    return table(head, cells)


def doubts_table(found: Figures) -> str:
    """What the doubts about answers of cut thoughts are worth."""
    cells = []
    for budget in FORMS:
        replies = found[f"form_{budget}"]
        doubted = [reply for reply in replies if any(flag.startswith("unsure") for flag in reply.get("flags", ()))]
        others = [reply for reply in replies if reply not in doubted]
        wrong, slipped = (sum(not reply["correct"] for reply in some) for some in (doubted, others))
        share = f"{percent(wrong / len(doubted))} %" if doubted else "–"
        left = f"{percent(slipped / len(others))} %" if others else "–"
        caught = f"{percent(wrong / (wrong + slipped))} %" if wrong + slipped else "–"
        cells.append((budget, f"{len(doubted)} of {len(replies)}", share, left, caught))
    head = (
        "budget (tokens)",
        "in doubt",
        "of these wrong",
        "wrong among the others",
        "wrong answers that were in doubt",
    )
    return table(head, cells)


def methods_table(rows: Sequence[Figures]) -> str:
    """Rows of `bench budget`, side by side."""
    cells = [
        (
            row["method"], show_budget(row["budget"]), f"{row['n']:,}", percent(row["accuracy"]), interval(row),
            f"{row['thinking_tokens']:.0f}", f"{row['tokens_per_correct']:.0f}",
            f"{1000 * row['seconds_per_correct']:.0f}", closes(row),
        )
        for row in rows
    ]  # fmt: skip
    head = (
        "method", "budget", "n", "accuracy %", "95 %", "thinking tokens", "tokens per right answer",
        "ms per right answer", "closed by",
    )  # fmt: skip
    return table(head, cells)


def flags_table(rows: Sequence[Figures]) -> str:
    """What the flags of judged replies are worth."""

    def share(value: float | None) -> str:
        return "–" if value is None else percent(value)

    cells = [
        (
            row["method"], f"{row['flagged']:,} of {row['n']:,}", share(row["flag_precision"]),
            share(row["false_accept"]), ", ".join(f"{why} {n:,}" for why, n in row["flag_reasons"].items()) or "–",
        )
        for row in rows
        if "flagged" in row
    ]  # fmt: skip
    return table(("method", "flagged", "of these wrong %", "wrong among the others %", "reasons"), cells)


def deadlines_table(found: Figures, names: Sequence[str]) -> str:
    """Replies under deadlines, with and without another process that keeps a core busy."""
    head = (
        "deadline", "prompt (tokens)", "a core burnt", "runs", "refused", "empty", "late", "worst", "share used",
        "answer (tokens)",
    )  # fmt: skip
    return table(head, list(_deadline_cells(found, names)))


def _deadline_cells(found: Figures, names: Sequence[str]) -> Iterator[tuple[object, ...]]:
    for name in names:
        burnt = "yes" if found[name]["burn"] else "no"
        for row in found[name]["rows"]:
            share, answer = row["median_share"], row["median_answer_tokens"]
            yield (
                row["setting"], "its own" if row["prompt_tokens"] is None else row["prompt_tokens"], burnt, row["runs"],
                row["refused"], row["empty"], row["late"], f"{row['worst_lateness_ms']:+.0f} ms",
                "–" if share is None else f"{percent(share)} %", "–" if answer is None else f"{answer:g}",
            )  # fmt: skip


def cost_table(found: Figures) -> str:
    """What control costs, and how soon a cancel ends a prefill."""
    cost, cancel = found["cost"], found["cancel"]["cancel"]
    rows = (
        (
            f"decode speed with every rule but trial answers and votes, to without ({cost['pairs']} pairs)",
            f"{cost['ratio']:.3f} ({cost['ratio_low']:.3f}–{cost['ratio_high']:.3f})",
        ),
        (
            f"cancel in the midst of a prefill of {cancel['prompt_tokens']:,} tokens ({cancel['runs']} runs)",
            f"median {cancel['median_ms']:.0f} ms, worst {cancel['worst_ms']:.0f} ms",
        ),
    )
    return table(("measure", "result"), rows)


def profile_text(found: Figures) -> str:
    """What calibration chose, and why."""
    return table(("what", "why"), sorted(found["profile"]["profile"]["reasons"].items()))


def commands_table() -> str:
    """How a reader comes by each figure."""
    return table(("figures", "command"), [(measure.name, measure.written()) for measure in MEASURES])


# --- write


def documents(found: Figures) -> Documents:
    """The figures of docs/control.md."""
    natural = [row for row in found["half"]["rows"] if row["method"] == "message" and row["budget"] is None]
    half = [row for row in found["half"]["rows"] if row["budget"] is not None] + natural
    return {
        DOCUMENT: {
            "machine": f"Machine: {found['cost']['device']}.",
            "forms": forms_table(found),
            "doubts": doubts_table(found),
            "half": methods_table(half),
            "early": methods_table(found["early"]["rows"]),
            "votes": f"{methods_table(found['votes']['rows'])}\n\n{flags_table(found['votes']['rows'])}",
            "mix": f"{methods_table(found['mix']['rows'])}\n\n{flags_table(found['mix']['rows'])}",
            "deadlines": deadlines_table(found, ("deadlines", "deadlines_burnt")),
            "shipped": deadlines_table(found, ("shipped", "shipped_burnt")),
            "cost": cost_table(found),
            "profile": profile_text(found),
            "commands": commands_table(),
        }
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return card.run(__doc__ or "", MEASURES, documents, lanes=1, arguments=arguments)


if __name__ == "__main__":
    sys.exit(main())

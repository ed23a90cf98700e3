"""Measures the model that ships and writes the figures into its card and the README.

    python scripts/tiny_card.py out/card        # some half an hour on two cores; goes on where it stopped
    python scripts/tiny_card.py out/card --only-write

Every measure is a command of `kangae` in a process of its own, one thread each, two at a time; its JSON is kept in a
folder by the model file's hash, so that figures of two models never mix. What is written stands between
`<!-- figures: NAME -->` and `<!-- end of figures -->`; all other words of the two documents are a person's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.tiny.thought import PHRASES
from models.whole_file import write_whole
from runtime.bench.budget import show_budget

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "models" / "tiny" / "kangae-tiny-Q8_0.gguf"
CARD, README = ROOT / "models" / "tiny" / "README.md", ROOT / "README.md"
HELD_OUT = ["--english", "tests/tiny/heldout_english.toml", "--japanese", "tests/tiny/heldout_japanese.toml"]
REFUSALS = tuple(phrases.refusal for phrases in PHRASES.values())
UNSURE = 8  # the exit code of `ask` where an answer is flagged
BUDGETS = "off,16,32,64,128"
SHARED = ["--parallel", "16", "--threads", "1"]

Figures = Mapping[str, Any]


@dataclass(frozen=True)
class Measure:
    """One command. `problems`: what `models.tiny.problems` is to write first; `language`: only these of it."""

    name: str
    command: Sequence[str]
    problems: Sequence[str] = ()
    language: str = ""

    def words(self, asked: str) -> list[str]:
        """The command with all its flags but `--json`; `asked`: the file of its problems, where it has its own."""
        file = ["--file" if self.command[0] == "ask" else "--problems", asked] if self.problems else []
        return ["kangae", *self.command, *SHARED, *file]

    def written(self) -> str:
        """What a reader pastes in the project's folder, for a cell of a table."""
        asked = f"{self.name}.jsonl"
        lines = [self.words(asked)]
        if self.problems:
            drawn = "all.jsonl" if self.language else asked
            lines.insert(0, ["python", "-m", "models.tiny.problems", *self.problems, "-o", drawn])
        texts = [shlex.join(words).replace("\n", "\\n") for words in lines]
        if self.language:
            only = '"language": "' + self.language + '"'
            texts.insert(1, f"grep '{only}' all.jsonl > {asked}")
        return ", then ".join(f"`{text}`" for text in texts)


UNSEEN = ["-n", "510", "--seed", "13", *HELD_OUT]
CHECKED = ["-n", "1020", "--seed", "16"]
BUDGET = ["bench", "budget", "--budgets", "unlimited"]
# The longest first, for they run two at a time.
MEASURES = (
    Measure("unlimited", [*BUDGET, "--by", "skill", "--by", "language"]),
    Measure("budgets", ["bench", "budget", "--budgets", BUDGETS, "--by", "skill", "--by", "language"]),
    Measure("unseen", [*BUDGET, "--by", "skill"], UNSEEN),
    Measure("check_en", ["bench", "continue", "-n", "340", "--then", PHRASES["en"].check], CHECKED, "en"),
    Measure("check_ja", ["bench", "continue", "-n", "340", "--then", PHRASES["ja"].check], CHECKED, "ja"),
    Measure("listed", [*BUDGET, "--by", "skill"], ["-n", "340", "--seed", "21", "--listed"]),
    Measure("asked", ["ask", "--no-store"], ["-n", "340", "--seed", "16"]),
    Measure("slip", ["bench", "continue", "-n", "255"], ["-n", "510", "--seed", "15", "--plant", "slip"]),
    Measure("misreading", ["bench", "continue", "-n", "255"], ["-n", "510", "--seed", "17", "--plant", "misreading"]),
    Measure("altered", ["bench", "continue", "-n", "255"], ["-n", "510", "--seed", "14", "--plant", "altered"]),
    Measure("everyday", ["bench", "budget", "--problems", "tests/tiny/everyday.jsonl", "--budgets", "off,unlimited"]),
    Measure("near", [*BUDGET, "--problems", "tests/tiny/near.jsonl"]),
)


# --- measure


def kept_in(folder: Path) -> Path:
    """The folder of this model's figures."""
    return folder / hashlib.sha256(MODEL.read_bytes()).hexdigest()[:12]


def take(measure: Measure, folder: Path) -> None:
    """Run one measure, unless its figures are there. Raises CalledProcessError."""
    target = folder / f"{measure.name}.json"
    if target.is_file():
        return
    asked = folder / f"{measure.name}.jsonl"
    command = [sys.executable, "-m", *measure.words(str(asked.resolve())), "--json"]
    if measure.problems:
        teacher = [sys.executable, "-m", "models.tiny.problems", *measure.problems, "-o", str(asked.resolve())]
        subprocess.run(teacher, cwd=ROOT, check=True)
        if measure.language:
            lines = asked.read_text(encoding="utf-8").splitlines(keepends=True)
            own = [line for line in lines if json.loads(line)["language"] == measure.language]
            asked.write_text("".join(own), encoding="utf-8")
    print(f"{measure.name} ...", file=sys.stderr, flush=True)
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE)
    if done.returncode not in (0, UNSURE):
        raise subprocess.CalledProcessError(done.returncode, command)
    write_whole(target, done.stdout)
    print(f"{measure.name} done", file=sys.stderr, flush=True)


def read(folder: Path) -> Figures:
    """What was measured, by name; `asked` as a list of replies. Raises FileNotFoundError where one is missing."""
    found: dict[str, Any] = {}
    for measure in MEASURES:
        text = (folder / f"{measure.name}.json").read_text(encoding="utf-8")
        many = measure.name == "asked"
        found[measure.name] = [json.loads(line) for line in text.splitlines()] if many else json.loads(text)
    return found


# --- tables


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def row_of(rows: Sequence[Figures], budget: int | None) -> Figures:
    """The row of one budget. Raises StopIteration where none is."""
    return next(row for row in rows if row["budget"] == budget)


def accuracy(figures: Figures, budget: int | None = None, group: tuple[str, str] | None = None) -> str:
    """In percent, of all or of one group ("skill", "stock")."""
    rows = figures["groups"][group[0]][group[1]] if group else figures["rows"]
    return percent(row_of(rows["rows"] if isinstance(rows, dict) else rows, budget)["accuracy"])


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def budgets_table(found: Figures) -> str:
    """Accuracy and cost by budget."""
    rows = [*found["budgets"]["rows"], *found["unlimited"]["rows"]]
    cells = [
        (
            show_budget(row["budget"]), f"{row['n']:,}", percent(row["accuracy"]),
            "–".join(percent(bound) for bound in row["ci"]), f"{row['thinking_tokens']:.0f}",
            f"{row['tokens_per_correct']:.0f}",
            ", ".join(f"{reason} {count:,}" for reason, count in row["closes"].items() if count),
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

_BLOCK = re.compile(r"(<!-- figures: ([\w-]+) -->\n).*?(\n<!-- end of figures -->)", re.DOTALL)


def fill(document: str, blocks: Mapping[str, str]) -> str:
    """The document with each block's figures renewed. Raises ValueError where a block has no place, or a place none."""
    places = [found[2] for found in _BLOCK.finditer(document)]
    if sorted(places) != sorted(blocks):
        raise ValueError(f"The document has places for {sorted(places)}, and the figures are {sorted(blocks)}.")
    return _BLOCK.sub(lambda found: found[1] + blocks[found[2]] + found[3], document)


def write(found: Figures) -> None:
    """Renew the figures of the card and of the README."""
    card = {"budgets": budgets_table(found), "forms": forms_table(found), "worth": worth_table(found)}
    for path, blocks in ((CARD, card), (README, {"accuracy": short_table(found)})):
        text = fill(path.read_text(encoding="utf-8"), blocks)
        write_whole(path, text)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="where the figures are kept")
    parser.add_argument("--only-write", action="store_true", help="measure nothing: write what stands in the folder")
    options = parser.parse_args(arguments)
    folder = kept_in(options.folder)
    try:
        if not options.only_write:
            folder.mkdir(parents=True, exist_ok=True)
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda measure: take(measure, folder), MEASURES))
        write(read(folder))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"error: {' '.join(str(part) for part in error.cmd)} ended with {error.returncode}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

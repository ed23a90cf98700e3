"""What a card of figures is made of: measures, each one command in a process of its own, and where they are written.

A measure's JSON is kept in a folder by the model file's hash, so that figures of two models never mix. What is written
stands between `<!-- figures: NAME -->` and `<!-- end of figures -->`; all other words of a document are a person's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.whole_file import write_whole

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "models" / "tiny" / "kangae-tiny-Q8_0.gguf"
TOGETHER = ("--parallel", "16", "--threads", "1")
UNSURE = 8  # the exit code of `ask` where an answer is flagged

Figures = Mapping[str, Any]
Documents = Mapping[Path, Mapping[str, str]]
"""The blocks of figures of each document, by name."""


@dataclass(frozen=True)
class Measure:
    """One command: `kangae` with these words, or, where the first of them ends with .py, that script.

    `problems`: the draws of `models.tiny.problems` that make up its file; `language`: only these of them; `flags`: what
    follows the command's own words; `codes`: with which it may end; `many`: it prints one JSON object a line.
    """

    name: str
    command: Sequence[str]
    problems: Sequence[Sequence[str]] = ()
    language: str = ""
    flags: Sequence[str] = TOGETHER
    codes: Sequence[int] = (0, UNSURE)
    many: bool = False

    def words(self, asked: str) -> list[str]:
        """The command with all its flags but `--json`; `asked`: the file of its problems, where it has its own."""
        program = "python" if self.command[0].endswith(".py") else "kangae"
        file = ["--file" if self.command[0] == "ask" else "--problems", asked] if self.problems else []
        return [program, *self.command, *self.flags, *file]

    def written(self) -> str:
        """What a reader pastes in the project's folder, for a cell of a table."""
        asked = f"{self.name}.jsonl"
        drawn = [f"all-{number}.jsonl" for number, _ in enumerate(self.problems, 1)]
        whole = len(drawn) < 2 and not self.language
        texts = [
            shlex.join(["python", "-m", "models.tiny.problems", *draw, "-o", asked if whole else file])
            for draw, file in zip(self.problems, drawn, strict=True)
        ]
        if self.language:
            texts.append(f"""grep -h '"language": "{self.language}"' {" ".join(drawn)} > {asked}""")
        elif not whole:
            texts.append(f"cat {' '.join(drawn)} > {asked}")
        texts.append(shlex.join(self.words(asked)).replace("\n", "\\n"))
        return ", then ".join(f"`{text}`" for text in texts)


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
    if measure.problems:
        draw_problems(measure, asked)
    program, *words = measure.words(str(asked.resolve()))
    command = [sys.executable, *(["-m", "kangae"] if program == "kangae" else []), *words, "--json"]
    state = {"KANGAE_STATE_DIR": str(folder.resolve() / "state")}  # whoever measures has profiles of their own
    print(f"{measure.name} ...", file=sys.stderr, flush=True)
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)} | state)
    if done.returncode not in measure.codes:
        raise subprocess.CalledProcessError(done.returncode, command)
    write_whole(target, done.stdout)
    print(f"{measure.name} done", file=sys.stderr, flush=True)


def draw_problems(measure: Measure, asked: Path) -> None:
    """Write the file of a measure's problems. Raises CalledProcessError."""
    lines: list[str] = []
    for draw in measure.problems:
        teacher = [sys.executable, "-m", "models.tiny.problems", *draw, "-o", str(asked.resolve())]
        subprocess.run(teacher, cwd=ROOT, check=True)
        lines += asked.read_text(encoding="utf-8").splitlines(keepends=True)
    own = [line for line in lines if not measure.language or json.loads(line)["language"] == measure.language]
    asked.write_text("".join(own), encoding="utf-8")


def read(measures: Sequence[Measure], folder: Path) -> dict[str, Any]:
    """What was measured, by name. Raises FileNotFoundError where one is missing."""
    found: dict[str, Any] = {}
    for measure in measures:
        text = (folder / f"{measure.name}.json").read_text(encoding="utf-8")
        found[measure.name] = [json.loads(line) for line in text.splitlines()] if measure.many else json.loads(text)
    return found


# --- tables


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def interval(row: Figures) -> str:
    """The 95 % interval of a row's accuracy, in percent."""
    return "–".join(percent(bound) for bound in row["ci"])


def closes(row: Figures) -> str:
    """What ended the thoughts of a row, and how many of them."""
    return ", ".join(f"{reason} {count:,}" for reason, count in row["closes"].items() if count)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


# --- write

_BLOCK = re.compile(r"(<!-- figures: ([\w-]+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def fill(document: str, blocks: Mapping[str, str]) -> str:
    """The document with each block's figures renewed; places of other cards stay as they are. Raises ValueError where a
    block has not one place."""
    places = [found[2] for found in _BLOCK.finditer(document)]
    if any(places.count(name) != 1 for name in blocks):
        raise ValueError(f"The document has places for {sorted(places)}, and the figures are {sorted(blocks)}.")
    return _BLOCK.sub(
        lambda found: f"{found[1]}{blocks[found[2]]}\n{found[3]}" if found[2] in blocks else found[0], document
    )


def write(documents: Documents) -> None:
    """Renew the figures in all of these, or in none, where one has no place for its own."""
    texts = {path: fill(path.read_text(encoding="utf-8"), blocks) for path, blocks in documents.items()}
    for path, text in texts.items():
        write_whole(path, text)


# --- the command


def run(
    about: str,
    measures: Sequence[Measure] | Callable[[Path], Sequence[Measure]],
    documents: Callable[[dict[str, Any]], Documents],
    *,
    lanes: int,
    arguments: Sequence[str] | None = None,
) -> int:
    """The command of a card: takes the measures that are missing, so many at a time in their order, and writes the
    documents made of all. `measures`: these, or those of the folder of figures. Returns its exit code."""
    parser = argparse.ArgumentParser(description=about.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where the figures are kept")
    parser.add_argument("--only-write", action="store_true", help="measure nothing: write what stands in the folder")
    options = parser.parse_args(arguments)
    folder = kept_in(options.folder)
    listed = measures(folder.resolve()) if callable(measures) else measures
    try:
        if not options.only_write:
            folder.mkdir(parents=True, exist_ok=True)
            with ThreadPoolExecutor(lanes) as pool:
                list(pool.map(lambda measure: take(measure, folder), listed))
        write(documents(read(listed, folder)))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"error: {' '.join(str(part) for part in error.cmd)} ended with {error.returncode}", file=sys.stderr)
        return 1
    return 0

"""Writes problem files, one JSON object a line, for `kangae bench budget --problems` and `kangae ask --file`.

    python -m models.tiny.problems -n 2000 --seed 7 -o problems.jsonl
    python -m models.tiny.problems -n 1000 --english ENGLISH.toml --japanese JAPANESE.toml     # other wordings
    python -m models.tiny.problems -n 500 --plant altered   # a finished thought with another result
    python -m models.tiny.problems -n 500 --plant slip      # a thought with a wrong digit before its check
    python -m models.tiny.problems -n 500 --plant misreading # a thought on a misread question before its check

A line holds `id`, `question`, `expected`, `skill`, `language`, `hard`, and with `--plant` also `thinking`: the
thought so far, to be continued from (`closed` true: the thought is finished and only the answer is wanted).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from models.tiny.digits import Segment
from models.tiny.problem import SKILLS, Language, draw
from models.tiny.teacher import alter
from models.tiny.thought import PHRASES, answer, think
from models.tiny.wording import MOVEMENT, Wordings, as_told, training_wordings, unmarked

PLANTS = ("none", "altered", "slip", "misreading")


def write_problems(
    count: int, seed: int, wordings: dict[Language, Wordings], *, hard: bool = False, plant: str = "none",
    skills: tuple[str, ...] = SKILLS, listed: bool = False,
) -> Iterator[dict[str, object]]:  # fmt: skip
    """Problems over all skills and both languages in turn, operands from the test split.

    `listed`: the listed form only.
    """
    rng = random.Random(f"problems-{seed}")
    number = 0
    while number < count:
        skill = skills[number % len(skills)]
        language: Language = "en" if (number // len(skills)) % 2 == 0 else "ja"
        problem = draw(rng, skill, language, held_out=True, hard=hard)
        if listed and skill == "stock":
            question = _listed_stock(wordings[language], problem.events, problem.number("start"), problem.word("item"))
            question, problem = unmarked(question), as_told(problem, question)
        else:
            question, problem = wordings[language].ask(problem, rng, plain=True, first=listed)
        level = "hard-" if hard else ""
        record: dict[str, object] = {
            "id": f"{skill}-{language}-{level}{number:05d}", "question": question, "expected": answer(problem),
            "skill": skill, "language": language, "hard": hard,
        }  # fmt: skip
        if plant == "altered":
            thought = think(problem, rng, checks=int(rng.random() < 0.7))
            text = "".join(segment.text for segment in thought.segments)
            start = text.rindex(PHRASES[language].so) + len(PHRASES[language].so)
            other = alter(thought.answer, language, rng)
            record |= {"thinking": text[:start] + other, "closed": True, "expected": other}
        elif plant in ("slip", "misreading"):
            thought = think(problem, rng, checks=1, mistake="step" if plant == "slip" else "reading")
            before = _until_first_result(thought.segments, thought.result_end)
            if not thought.mistaken:
                number += 1  # nothing in this problem can go wrong
                count += 1
                continue
            record |= {"thinking": before, "closed": False}
        yield record
        number += 1


def _until_first_result(segments: tuple[Segment, ...], end: int) -> str:
    """The thought up to the line before its first result."""
    text = "".join(segment.text for segment in segments)[:end]
    return text[: text.rindex("\n", 0, end - 1) + 1]


def _listed_stock(wordings: Wordings, events: tuple[tuple[str, int], ...], start: int, item: str) -> str:
    """The listed form of a stock chain, its movements marked."""
    if wordings.language == "ja":
        middle = "".join(f"{MOVEMENT}{n}個{'出荷しました' if kind == 'out' else '届きました'}。" for kind, n in events)
        return f"棚に{item}が{start}個あります。{middle}残りは何個?"
    sentences = []
    for index, (kind, n) in enumerate(events):
        then = "Then " if index else ""
        sentences.append(
            f"{then}{'we' if then else 'We'} ship {MOVEMENT}{n}." if kind == "out" else f"{then}{MOVEMENT}{n} arrive."
        )
    return f"There are {start} {item} on the shelf. {' '.join(sentences)} How many are left?"


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m models.tiny.problems", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("-n", "--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--hard", action="store_true", help="beyond the promised ranges")
    parser.add_argument("--listed", action="store_true", help="the listed forms only, not all training wordings")
    parser.add_argument("--plant", choices=PLANTS, default="none")
    parser.add_argument("--english", type=Path, help="another wordings file")
    parser.add_argument("--japanese", type=Path, help="another wordings file")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args(arguments)
    wordings = training_wordings()
    if options.english:
        wordings["en"] = Wordings.load(options.english, "en")
    if options.japanese:
        wordings["ja"] = Wordings.load(options.japanese, "ja")
    lines = [
        json.dumps(record, ensure_ascii=False)
        for record in write_problems(
            options.count, options.seed, wordings, hard=options.hard, plant=options.plant, listed=options.listed
        )
    ]
    text = "\n".join(lines) + "\n"
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

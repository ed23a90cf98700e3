"""Questions in words: patterns with alternations, filled with a problem's operands.

Pattern syntax: `{slot}`, `(a|b|)` alternations that nest; double spaces are folded. The patterns are data, in
`wordings/`.
"""

from __future__ import annotations

import random
import re
import tomllib
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from models.tiny.problem import Language, Problem, Values

WORDINGS = Path(__file__).parent / "wordings"
_FILES: Mapping[Language, str] = {"en": "english.toml", "ja": "japanese.toml"}
MOVEMENT = "\ue002"  # stands before the number of a stock movement while a question is made
_UNMARKED = str.maketrans("", "", f"\ue000\ue001{MOVEMENT}")
_WIDE = str.maketrans("0123456789", "０１２３４５６７８９")
Tree = tuple["str | tuple[Tree, ...]", ...]  # a sequence of texts and of alternations


@cache
def _parse(pattern: str) -> Tree:
    def sequence(start: int, closing: str) -> tuple[Tree, int]:
        parts: list[str | tuple[Tree, ...]] = []
        text = ""
        while start < len(pattern) and pattern[start] not in closing:
            if pattern[start] == "(":
                choices: list[Tree] = []
                while True:
                    choice, start = sequence(start + 1, "|)")
                    choices.append(choice)
                    if start >= len(pattern):
                        raise ValueError(f"unclosed alternation in {pattern!r}")
                    if pattern[start] == ")":
                        break
                parts += [text, tuple(choices)]
                text = ""
            else:
                text += pattern[start]
            start += 1
        return (*parts, text), start

    return sequence(0, "")[0]


def _choose(tree: Tree, rng: random.Random) -> str:
    return "".join(part if isinstance(part, str) else _choose(rng.choice(part), rng) for part in tree)


def expand(pattern: str, rng: random.Random) -> str:
    """One text of the pattern, slots still open."""
    return re.sub(r"[ \u3000]{2,}", " ", _choose(_parse(pattern), rng)).strip()


@dataclass(frozen=True)
class Wordings:
    """The patterns of one language: by skill, for stock by sentence, and what may stand around a question.

    `short`: of some skills the forms that a hurried person types, drawn for three in ten of their questions.
    """

    language: Language
    skills: Mapping[str, Sequence[str]]
    short: Mapping[str, Sequence[str]]
    stock: Mapping[str, Sequence[str]]
    common: Mapping[str, Sequence[str]]

    @classmethod
    def load(cls, path: Path, language: Language) -> Wordings:
        """Read a wordings file. Raises ValueError where a key is not a list of patterns."""
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        short, stock, common = table.pop("short", {}), table.pop("stock"), table.pop("common", {})
        return cls(language, table, short, stock, common)

    def ask(
        self, problem: Problem, rng: random.Random, *, plain: bool = False, first: bool = False
    ) -> tuple[str, Problem]:
        """The question's text, and the problem as the text tells it (its item may be the wording's own).

        `plain`: without anything around the question; `first`: in the skill's first pattern.
        """
        if problem.skill == "stock":
            text = self._stock(problem, rng)
        else:
            hurried = not first and problem.skill in self.short and rng.random() < 0.3
            patterns = (self.short if hurried else self.skills)[problem.skill]
            text = expand(patterns[0] if first else rng.choice(patterns), rng)
        if problem.skill in ("production", "machines") and "{item}" not in text:
            problem = replace(problem, values={**problem.values, "item": "parts" if self.language == "en" else "部品"})
        text = text.format_map(self._slots(problem, rng, plain))
        text = text if plain else self._surround(text, rng)
        return unmarked(text), as_told(problem, text)

    def _stock(self, problem: Problem, rng: random.Random) -> str:
        kinds = [kind for kind, _ in problem.events]
        amounts = [n for _, n in problem.events]
        whole = "whole_" + "_".join(kinds)
        if whole in self.stock and rng.random() < 0.3:
            return (
                expand(rng.choice(self.stock[whole]), rng)
                .replace("{n1}", f"{MOVEMENT}{amounts[0]}")
                .replace("{n2}", f"{MOVEMENT}{amounts[1]}")
            )
        sentences = [expand(rng.choice(self.stock["start"]), rng)]
        for kind, n in problem.events:
            sentences.append(expand(rng.choice(self.stock[kind]), rng).replace("{n}", f"{MOVEMENT}{n}"))
        sentences.append(expand(rng.choice(self.stock["ask"]), rng))
        if rng.random() < 0.06:
            sentences.insert(0, sentences.pop())
        return ("" if self.language == "ja" else " ").join(sentences)

    def _slots(self, problem: Problem, rng: random.Random, plain: bool) -> dict[str, str]:
        comma = not plain and self.language == "en" and rng.random() < 0.05
        wide = not plain and self.language == "ja" and rng.random() < 0.04
        short = not plain and rng.random() < 0.06
        slots: dict[str, str] = {}
        for name, value in problem.values.items():
            if isinstance(value, tuple):
                continue
            text = f"{value:,}" if comma and isinstance(value, int) else str(value)
            if problem.skill == "tolerance" and isinstance(value, int):
                text = f"{value // 100}.{value % 100:02d}"
                text = text[:-1] if short and text.endswith("0") and not text.endswith("00") else text
            text = text.translate(_WIDE) if wide else text
            slots[name] = f"\ue000{text}\ue001" if any(character.isdecimal() for character in text) else text
        return slots

    def _surround(self, text: str, rng: random.Random) -> str:
        space = "" if self.language == "ja" else " "
        if rng.random() < 0.10 and self.common.get("distractors"):
            extra = expand(rng.choice(self.common["distractors"]), rng)
            text = f"{extra}{space}{text}" if rng.random() < 0.8 else f"{text}{space}{extra}"
        if rng.random() < 0.10 and self.common.get("openings"):
            text = f"{expand(rng.choice(self.common['openings']), rng)}{space}{text}"
        if rng.random() < 0.08 and self.common.get("closings"):
            text = f"{text}{space}{expand(rng.choice(self.common['closings']), rng)}"
        if self.language == "en" and rng.random() < 0.06:
            text = text.lower() if "weekday" not in text and rng.random() < 0.5 else text[:1].lower() + text[1:]
        if rng.random() < 0.04:
            text = text.rstrip("?？。.")
        return text


_TOLD = re.compile(r"\ue000(.*?)\ue001|\d+(?:[.:]\d+)*")


def numbers_told(marked: str) -> tuple[str, ...]:
    """The numbers of a question in order, in plain digits; operands stand between two private characters."""
    found = (run[1] or run[0] for run in _TOLD.finditer(marked))
    return tuple(unicodedata.normalize("NFKC", number).replace(",", "") for number in found)


_BOUNDARY = re.compile(r"[.!?。！？;；,、\n:：・→=＝]|\s(?:and|but|though|while|then)\s|\s-\s")
_BARE = re.compile(r"\d+\s?(?:個|ケ|コ|pcs|枚)?")
_DANGLING = " 　+＋-−－(（→・"


def clauses(marked: str) -> tuple[str, ...]:
    """What stands from the number of each stock movement to the end of its clause, at most to the next movement.

    Where a comma follows on the number at once ("48個、客先行き", "61, so they go back"), the clause behind it belongs
    to it too. `marked`: the question, `MOVEMENT` before each of the numbers.
    """
    *parts, last = marked.split(MOVEMENT)[1:]
    # behind a part that is not the last stands a number: what leads up to it is that movement's
    return (*(_clause(unmarked(part), last=False) for part in parts), _clause(unmarked(last), last=True))


def _clause(text: str, *, last: bool) -> str:
    ends = [found.start() for found in _BOUNDARY.finditer(text)] + [len(text)]
    end = ends[0]
    if _BARE.fullmatch(text[:end]) and len(ends) > (1 if last else 2):
        behind = text[end : ends[1]]
        if (behind.startswith("、") or behind.startswith(", so ")) and not re.search(r"\d", behind):
            end = ends[1]
    return text[:end].rstrip(_DANGLING)


def as_told(problem: Problem, marked: str) -> Problem:
    """The problem with what its question tells of it: the numbers in order, for stock each movement's clause.

    `marked`: the question, operands between two private characters or bare, `MOVEMENT` before those of movements.
    """
    told = numbers_told(marked)
    return replace(
        problem,
        told=told,
        clauses=clauses(marked) if problem.skill == "stock" else (),
        values=_in_told_order(problem, told),
    )


def _in_told_order(problem: Problem, told: Sequence[str]) -> Values:
    """The operands of a sum or product in the order told, so that its expression copies forward; the factor of one
    digit stays behind a longer one, for the digit program works with it."""
    if problem.skill not in ("add", "multiply"):
        return problem.values
    a, b = problem.number("a"), problem.number("b")
    swaps = problem.skill == "add" or (a < 10) == (b < 10)
    if swaps and {str(a), str(b)} <= set(told) and told.index(str(b)) < told.index(str(a)):
        return {**problem.values, "a": b, "b": a}
    return problem.values


def unmarked(text: str) -> str:
    """The question as it is asked."""
    return text.translate(_UNMARKED)


# What a slot of a near form is filled with; all other slots are filled from the language's lists.
_NEAR: Mapping[str, Callable[[random.Random], str]] = {
    "whole": lambda rng: str(rng.randint(1, 10 ** rng.randint(1, 4))),
    "two": lambda rng: str(rng.randint(11, 99)),
    "hundreds": lambda rng: str(rng.randint(100, 999)),
    "large": lambda rng: str(rng.randint(1000, 10 ** rng.randint(4, 6))),
    "millions": lambda rng: str(rng.randint(10**6, 10 ** rng.randint(7, 9))),
    "decimal": lambda rng: f"{rng.randint(1, 10 ** rng.randint(2, 5)) / 10 ** rng.randint(1, 2):.{rng.randint(1, 2)}f}",
}


class Refusals:
    """Questions outside the skills, from patterns and lists of fillers.

    Half are near forms: arithmetic like that of a skill and not within it (decimals, a third factor, a divisor of two
    digits)."""

    def __init__(self, path: Path = WORDINGS / "refusals.toml") -> None:
        tables: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        table: dict[Language, dict[str, Any]] = {"en": tables["english"], "ja": tables["japanese"]}
        self._patterns: dict[Language, list[str]] = {language: one["patterns"] for language, one in table.items()}
        self._near: dict[Language, list[str]] = {language: one["near"] for language, one in table.items()}
        self._fill: dict[Language, dict[str, list[str]]] = {language: one["fill"] for language, one in table.items()}

    def ask(self, language: Language, rng: random.Random) -> str:
        """One question that no skill answers."""
        near = rng.random() < 0.5
        text = expand(rng.choice((self._near if near else self._patterns)[language]), rng)
        fill = self._fill[language]
        text = re.sub(
            r"\{(\w+)\}",
            lambda slot: _NEAR[slot[1]](rng) if near and slot[1] in _NEAR else rng.choice(fill[slot[1]]),
            text,
        )
        if language == "en" and rng.random() < 0.1:
            text = text.lower()
        if rng.random() < 0.05:
            text = text.rstrip("?？。.")
        return text or "?"


def training_wordings() -> dict[Language, Wordings]:
    """The patterns the model is trained on."""
    return {language: Wordings.load(WORDINGS / name, language) for language, name in _FILES.items()}

"""What measures the model was not trained on: no training pattern writes a held-out wording or an everyday question."""

from __future__ import annotations

import json
import random
import re
import tomllib
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from models.tiny.problem import SKILLS, Language, draw
from models.tiny.wording import WORDINGS, Tree, Wordings, _parse, expand, training_wordings

HERE = Path(__file__).parent
LANGUAGES: tuple[Language, ...] = ("en", "ja")
NAMES: Mapping[Language, str] = {"en": "english", "ja": "japanese"}
COMMON: Mapping[Language, str] = {"en": "parts", "ja": "部品"}
SLOT = re.compile(r"\{(\w+)\}")
_PUNCTUATION = re.compile(r"[\s.,!?;:。、・「」'\"‘’“”]")
_WORDS = ("item", "day", "from", "to", "line")
# From so many letters of its own on, a pattern is known by them, whatever fills its slots; one with fewer ("{a}+{b}",
# "{word} in {language}") would fit nearly everything, so there a slot holds only what it can hold in training.
_LETTERS: Mapping[Language, int] = {"en": 12, "ja": 5}

Shapes = tuple[tuple[str, re.Pattern[str]], ...]


def bare(text: str) -> str:
    """The text without spaces, punctuation, case and width: what differs in these alone is the same wording."""
    return _PUNCTUATION.sub("", unicodedata.normalize("NFKC", text).lower())


def expression(tree: Tree, slot: Callable[[str], str]) -> str:
    """The pattern as a regular expression over bare texts."""
    parts: list[str] = []
    for part in tree:
        if isinstance(part, str):
            pieces = SLOT.split(part)
            parts += [slot(piece) if index % 2 else re.escape(bare(piece)) for index, piece in enumerate(pieces)]
        else:
            parts.append(f"(?:{'|'.join(expression(choice, slot) for choice in part)})")
    return "".join(parts)


def letters(tree: Tree) -> int:
    """The fewest letters that a text of the pattern has outside its slots."""
    return sum(
        len(bare(SLOT.sub("", part))) if isinstance(part, str) else min(letters(choice) for choice in part)
        for part in tree
    )


def any_of(patterns: Sequence[str]) -> str:
    """Perhaps one of the patterns (which have no slots)."""
    return f"(?:{'|'.join(expression(_parse(pattern), re.escape) for pattern in patterns)})?"


def shapes(
    patterns: Sequence[str], language: Language, narrow: Callable[[str], str], before: str = "", behind: str = ""
) -> Shapes:
    """Each pattern with its regular expression. `narrow`: what a slot holds in a pattern of few letters."""
    found = []
    for pattern in patterns:
        tree = _parse(pattern)
        slot = narrow if letters(tree) < _LETTERS[language] else lambda _: ".+?"
        found.append((pattern, re.compile(before + expression(tree, slot) + behind)))
    return tuple(found)


def operand(name: str) -> str:
    """Bare, a number, a time and a decimal are digits."""
    return r"[^\W\d]+?" if name in _WORDS else r"\d+"


@cache
def trained(language: Language) -> Mapping[str, Shapes]:
    """The training patterns by skill; a stock sentence may be any of that skill's patterns."""
    wordings = training_wordings()[language]
    before, behind = any_of(wordings.common["openings"]), any_of(wordings.common["closings"])
    stock = [pattern for patterns in wordings.stock.values() for pattern in patterns]
    return {
        skill: shapes(patterns, language, operand, before, behind)
        for skill, patterns in {**wordings.skills, "stock": stock}.items()
    }


@cache
def refusals(language: Language) -> tuple[Shapes, Mapping[str, Sequence[str]]]:
    """The refusals' patterns, near forms among them, and what fills them in training."""
    table: dict[str, Any] = tomllib.loads((WORDINGS / "refusals.toml").read_text(encoding="utf-8"))[NAMES[language]]
    fill: Mapping[str, Sequence[str]] = table["fill"]
    expressions = {name: f"(?:{'|'.join(re.escape(bare(one)) for one in texts)})" for name, texts in fill.items()}
    numbers = dict.fromkeys(("whole", "two", "hundreds", "large", "millions", "decimal"), r"\d+")
    patterns = [*table["patterns"], *table["near"]]
    return shapes(patterns, language, (expressions | numbers).__getitem__), fill


def writers(text: str, patterns: Shapes) -> list[str]:
    """The patterns that could have written the text."""
    return [pattern for pattern, shape in patterns if shape.fullmatch(bare(text))]


def ask(pattern: str, skill: str, language: Language, rng: random.Random, *, common: bool = False) -> str:
    """A text of a skill's pattern, filled. `common`: with the item that patterns write out."""
    values: dict[str, object] = dict(draw(rng, skill, language, held_out=False).values)
    if common:
        values["item"] = COMMON[language]
    values |= {name: rng.randint(3, 500) for name in ("n", "n1", "n2")}
    return SLOT.sub(lambda slot: str(values[slot[1]]), expand(pattern, rng))


def held_out(language: Language) -> Iterator[tuple[str, str]]:
    """Each held-out wording with its skill."""
    wordings = Wordings.load(HERE / f"heldout_{NAMES[language]}.toml", language)
    for skill, patterns in wordings.skills.items():
        yield from ((skill, pattern) for pattern in patterns)
    for patterns in wordings.stock.values():
        yield from (("stock", pattern) for pattern in patterns)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_text_of_a_training_pattern_is_known(language: Language) -> None:
    rng = random.Random(language)
    common = training_wordings()[language].common
    for skill, patterns in trained(language).items():
        for pattern, shape in patterns:
            around = [expand(rng.choice(common[name]), rng) for name in ("openings", "closings")]
            text = ask(pattern, skill, language, rng)
            assert shape.fullmatch(bare(text)), (pattern, text)
            assert shape.fullmatch(bare(text.join(around))), (pattern, text)
    asked, fill = refusals(language)
    for pattern, shape in asked:
        text = SLOT.sub(lambda slot: rng.choice(fill.get(slot[1], ["12.5", "7"])), expand(pattern, rng))
        assert shape.fullmatch(bare(text)), (pattern, text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_held_out_wordings_are_not_trained_on(language: Language) -> None:
    rng = random.Random(language)
    known: dict[str, list[str]] = {}
    skills = set()
    for skill, pattern in held_out(language):
        skills.add(skill)
        texts = {
            ask(pattern, skill, language, rng, common=turn % 2 == 0) for turn in range(40 if "(" in pattern else 4)
        }
        for text in sorted(texts):
            found = writers(text, trained(language)[skill])
            if found:
                known[pattern] = found
    assert skills == set(SKILLS)
    assert known == {}


@pytest.mark.parametrize(("name", "count"), [("everyday", 200), ("near", 80)])
def test_questions_to_refuse_are_not_trained_on(name: str, count: int) -> None:
    lines = (HERE / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    asked = [json.loads(line) for line in lines]
    known = {one["question"]: writers(one["question"], refusals(one["language"])[0]) for one in asked}
    assert len(known) == count
    assert {question: found for question, found in known.items() if found} == {}

"""The values that answers state: numbers with their units, times of day, weekdays; and which of them are the same."""

from __future__ import annotations

import itertools
import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from runtime.answers.measure import meanings_of, measure_of, scale_of

_MOST_SIGNS: Final = 200
"""A number of more is none that anybody counts with."""
_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_JAPANESE_DAYS: Final = "月火水木金土日"
_NUMBER: Final = r"(?>(?:\d{1,3}(?:[,，'’\u2009\u202f]\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d{1,3}(?!\w))?)(?![eE][-+]?\d)"
VALUE: Final = re.compile(
    r"(?P<clock>(?<![\d:])\d{1,2}:\d{2}(?::\d{2})?(?![\d:])(?:\s*[ap]\.?m\b)?"
    r"|(?<![\d:.])\d{1,2}\s?[ap]\.?m\b\.?|(?:午前|午後)?(?<![\d.])\d{1,2}時(?!間)(?:\d{1,2}分)?)"
    rf"|(?P<number>(?:(?<![A-Za-z_\d.)])[-+]\s?)?(?:[$€£¥]\s?)?(?<![A-Za-z_.\d]){_NUMBER}(?:\s?/\s?\d+(?![\d.]))?)"
    rf"|(?P<day>\b(?:{'|'.join(_DAYS)})\b|[{_JAPANESE_DAYS}]曜日?)",
    re.IGNORECASE,
)
_UNIT: Final = re.compile(
    r"\s*(?P<unit>[%$€£¥]|[°µμ]?[A-Za-zµμ°Ω]+(?:[²³]|(?<=m)\^?[23](?![\d\w]))?(?:/[A-Za-z]+[²³]?)?(?:\s(?!(?:\w*\d))[A-Za-z]+)?"
    r"|か月間?|[\u30a0-\u30ff\u4e00-\u9fff]{1,6})"
)
_NO_UNIT: Final = re.compile(
    r"is|are|was|were|be|been|being|remains?|left|over|in|on|at|of|for|per|and|or|with|that|which|after|before|from|to|by"
    r"|the|(?-i:a)|an|have|has|had|will|can|makes?|so|but|r|remainder|as|if|when|it|they|we|full",
    re.IGNORECASE,
)
_POWER: Final = re.compile(r"(?<=\d)(\s?(?:[mck]?m|dm|in|ft)(?:/[A-Za-z]+)?)\^?\{?([23])\}?(?![\d\w])")
_FRACTION_AFTER_DIGIT: Final = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞])")
_HEAD: Final = re.compile(r"\s*(?:(?:an?|the|about|exactly|約|およそ)\s*)?", re.IGNORECASE)
_GAP: Final = re.compile(r"[\s,、・;]*+(?:[^\W\d_%]++(?:[-'’][^\W\d_]++)?[\s,、.%]*+|[%°²³][\s,、]*+){0,4}")
_MOST_GAP: Final = 60  # characters: more is a sentence of its own
_MOST_TEXT: Final = 1_000  # characters: more is no short answer
_NO_ANSWER: Final = re.compile(
    r"\b(?:and|or|then|but|to|if|until|unless|because|use|close|open|not)\b|[をへて]|^\s*[番号]", re.IGNORECASE
)
_COMPOUND: Final = re.compile(r"[/²³°]|square|cubic|平方|立方", re.IGNORECASE)
_UNKNOWN: Final = re.compile(r"[A-Za-z]")


@dataclass(frozen=True)
class Value:
    """One value of an answer: `number` in its unit's base (seconds of a day for a time of day); `bare` as written, but
    for the words that scale it ("5 million")."""

    kind: str
    number: Fraction
    bare: Fraction
    unit: str


def values(text: str) -> list[Value]:
    """The values of an answer, in order; none where one of them is too long to be read."""
    text = _plain_signs(text)
    found = list(VALUE.finditer(text))
    return [] if any(len(one[0]) > _MOST_SIGNS for one in found) else [_read(text, one) for one in found]


def same_value(one: Value, other: Value) -> bool:
    """A bare number is taken to be in the other's unit; the names of things that are counted do not matter, but a rate
    or an area has a unit of its own, and a letter that is no unit is an unknown, of which a bare number is none."""
    counts = [value for value in (one, other) if value.kind == "count"]
    if any(_UNKNOWN.fullmatch(value.unit) for value in counts) and one.unit != other.unit:
        return False
    if one.bare == other.bare and any(not value.unit for value in counts):
        return "clock" not in (one.kind, other.kind)
    compound = any(_COMPOUND.search(value.unit) for value in counts)
    return not _meanings(one).isdisjoint(_meanings(other)) and (not compound or one.unit == other.unit)


def _meanings(value: Value) -> set[tuple[str, Fraction]]:
    """The kinds and numbers that a value may be of: of "2 pounds" those of "2 lb" and of "£2"."""
    meant = meanings_of(value.unit) if value.kind == "count" else ()
    return {(one.dimension, value.bare * one.size) for one in meant} or {(value.kind, value.number)}


def is_short(text: str) -> bool:
    """Whether `text` is a value, or several, with no more beside them than their units and a few words: no order to
    do something, and no number of a thing ("valve 3")."""
    if len(text) > _MOST_TEXT:
        return False
    text = _plain_signs(text)
    found = list(VALUE.finditer(text))
    if not found or found[0].start() != _end_of_head(text):
        return False
    ends = [one.start() for one in found[1:]] + [len(text)]
    gaps = [text[one.end() : end] for one, end in zip(found, ends, strict=True)]
    if any(len(gap) > _MOST_GAP for gap in gaps):
        return False
    return all(_GAP.fullmatch(_without_unit(gap)) for gap in gaps) and _NO_ANSWER.search(gaps[-1]) is None


def unit_text(clause: str, end: int) -> str:
    """The unit behind a number as it is written, with the space before it; empty where none follows."""
    found = _UNIT.match(clause, end)
    if found is None:
        return ""
    kept = list(itertools.takewhile(lambda word: not _NO_UNIT.fullmatch(word), found["unit"].split()))
    gap = " " if kept and found.start("unit") > end else ""
    return gap + " ".join(kept)


def without_units(text: str) -> str:
    """`text` without the units of its numbers: the "m" of "3 m" is no unknown."""
    kept, at = [], 0
    text = _with_powers(text)
    for found in VALUE.finditer(text):
        unit = unit_text(text, found.end())
        known = measure_of(unit) is not None or _COMPOUND.search(unit) is not None
        number = "0" if found.lastgroup == "clock" else re.sub(r"[eE].*|[$€£¥]", "", found[0])
        kept.append(text[at : found.start()] + number)
        at = found.end() + (len(unit) if known else 0)
    return "".join([*kept, text[at:]])


def _end_of_head(text: str) -> int:
    found = _HEAD.match(text)
    return 0 if found is None else found.end()


def _without_unit(gap: str) -> str:
    """What stands between two values, without a unit's own signs."""
    unit = unit_text(_with_powers(gap), 0)
    return gap[len(unit) :] if _COMPOUND.search(unit) or measure_of(unit) is not None else gap


def _with_powers(text: str) -> str:
    """`text` with areas and volumes in one spelling: "12 cm^2" and "12 cm2" are "12 cm²"."""
    return _POWER.sub(lambda found: found[1] + {"2": "²", "3": "³"}[found[2]], text)


def _plain_signs(text: str) -> str:
    """`text` in one width (NFKC), but for the powers of its units, and its mixed fractions apart."""
    text = _FRACTION_AFTER_DIGIT.sub(" ", text)
    text = re.sub(r"[^²³]+", lambda part: unicodedata.normalize("NFKC", part[0]), text)
    return _with_powers(text.replace("\u2212", "-").replace("\u2044", "/"))


def _read(text: str, found: re.Match[str]) -> Value:
    if found.lastgroup == "day":
        name = found[0].casefold()
        day = Fraction(_DAYS.index(name) if name in _DAYS else _JAPANESE_DAYS.index(name[0]))
        return Value("day", day, day, "")
    if found.lastgroup == "clock":
        written = found[0].casefold()
        parts = [int(part) for part in re.findall(r"\d+", written)]
        noon = 12 if ("p" in written or "午後" in written) and parts[0] < 12 else 0
        midnight = -12 if ("a" in written or "午前" in written) and parts[0] == 12 else 0
        hour, minute, second = (*parts, 0, 0)[:3]
        moment = Fraction((hour + noon + midnight) * 3600 + minute * 60 + second)
        return Value("clock", moment, moment, "")
    currency = re.search(r"[$€£¥]", found[0])
    scale, unit = scale_of(unit_text(text, found.end()).strip())
    number = _fraction(found[0]) * scale
    unit = unit if currency is None else currency[0]
    measure = measure_of(unit)
    if measure is None:
        return Value("count", number, number, unit)
    return Value(measure.dimension, number * measure.size, number, unit)


def _fraction(written: str) -> Fraction:
    over, _, under = re.sub(r"[,，'’\s\u2009\u202f$€£¥]", "", written).partition("/")
    if under and int(under):
        return Fraction(over) / int(under)
    return Fraction(over)

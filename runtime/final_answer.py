r"""What a reply's answer comes to, and whether two replies come to the same.

People, votes and rungs care for the value, not for the sentence around it: "583 good parts", "There are **583** good
parts." and "\boxed{583}" are one answer.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from runtime.votes import same_mathematics, same_text

_MOST_TEXT: Final = 20_000  # characters; the end counts
_MOST_FORMULA: Final = 200
_BOXED: Final = "\\boxed{"
_CUE: Final = re.compile(
    r"\banswer\W{0,3}\s*(?:is\b|[:=：])|答え?\s*(?:[:：=]|は)|\bfinal result\s*(?:is|:)", re.IGNORECASE
)
_THEN: Final = re.compile(
    r"\b(?:so|thus|therefore|hence|altogether|in total)\b,?|よって|したがって|従って|だから|なので|[=＝≈⇒→]",
    re.IGNORECASE,
)
_IS: Final = re.compile(r"\b(?:is|are|was|were|be|equals|comes? to|amounts? to)\b|[はが]、?", re.IGNORECASE)
_ARTICLE: Final = re.compile(r"\s*(?:(?:a|an|the|on|about|exactly)\s+)?", re.IGNORECASE)
_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_JAPANESE_DAYS: Final = "月火水木金土日"
_NUMBER: Final = r"(?:\d{1,3}(?:[,，'’\u2009\u202f]\d{3})+|\d+)(?:\.\d+)?"
_VALUE: Final = re.compile(
    r"(?P<clock>(?<![\d:])\d{1,2}:\d{2}(?::\d{2})?(?![\d:])(?:\s*[ap]\.?m\b)?)"
    rf"|(?P<number>(?:(?<![\w.)])[-+])?(?<![A-Za-z_.\d]){_NUMBER}(?:\s?/\s?\d+(?![\d.]))?)"
    rf"|(?P<day>\b(?:{'|'.join(_DAYS)})\b|[{_JAPANESE_DAYS}]曜日?)",
    re.IGNORECASE,
)
_UNIT: Final = re.compile(
    r"\s*(?P<unit>%|[°µμ]?[A-Za-zµμ°]+(?:/[A-Za-z]+|[²³])?(?:\s(?!(?:\w*\d))[A-Za-z]+)?|[\u30a0-\u30ff\u4e00-\u9fff]{1,6})"
)
_NO_UNIT: Final = re.compile(
    r"is|are|was|were|be|been|being|remains?|left|over|in|on|at|of|for|per|and|or|with|that|which|after|before|from|to|by"
    r"|the|an?|have|has|had|will|can|makes?|so|but|r|remainder|as|if|when|it|they|we|full",
    re.IGNORECASE,
)
_VERDICT: Final = re.compile(r"\s*(yes|no|はい|いいえ)(?=$|[\s,.;:、。!]|です)", re.IGNORECASE)
_OPPOSED: Final = re.compile(
    r"\b(?:yes|no|not|never|ok|ng|pass(?:es|ed)?|fail(?:s|ed)?|true|false)\b|はい|いいえ|ない|ません|不?合格"
)
_FORMULA: Final = re.compile(r"[\\^{}\[\]()=<>≤≥√π*]|(?<![A-Za-z])[a-qs-z](?![A-Za-z])", re.IGNORECASE)
_WORD: Final = re.compile(r"(?<!\\)\b(?!(?:sin|cos|tan|log|ln|exp|sqrt|pi|frac)\b)[^\W\d_]{2,}")
_MEASURES: Final[Mapping[str, tuple[str, Fraction]]] = {
    spelling: (dimension, Fraction(factor))
    for dimension, factor, spellings in (
        ("length", "1/1000000", "µm um micrometre micrometer micron マイクロメートル ミクロン"),
        ("length", "1/1000", "mm millimetre millimeter ミリメートル ミリ"),
        ("length", "1/100", "cm centimetre centimeter センチメートル センチ"),
        ("length", "1", "m metre meter メートル"),
        ("length", "1000", "km kilometre kilometer キロメートル"),
        ("mass", "1/1000", "mg milligram ミリグラム"),
        ("mass", "1", "g gram グラム"),
        ("mass", "1000", "kg kilogram kilo キログラム"),
        ("mass", "1000000", "t tonne ton トン"),
        ("volume", "1/1000", "ml millilitre milliliter ミリリットル"),
        ("volume", "1", "l litre liter リットル"),
        ("time", "1/1000", "ms millisecond ミリ秒"),
        ("time", "1", "s sec second 秒 秒間"),
        ("time", "60", "min minute 分 分間"),
        ("time", "3600", "h hr hour 時間"),
        ("time", "86400", "d day 日 日間"),
        ("time", "604800", "week 週間"),
        ("share", "1", "% percent パーセント"),
    )
    for spelling in spellings.split()
}


def final_answer(text: str) -> str:
    r"""What a reply's answer comes to, in its own words; empty only where `text` is.

    The last `\boxed{...}`, else what stands behind the last "answer:", "answer is" or "答え:", else the last line that
    is not blank, each without bold marks and the full stop. Of a sentence only its value is left: the number with its
    unit, the time of day, the weekday, a leading yes or no. Where a sentence ends in several values ("144 boxes and 1
    left"), all of it is: nobody can tell which one was asked for.
    """
    text = text[-_MOST_TEXT:]
    told = _boxed(text)
    if told is None:
        told = _behind_cue(text)
    return _value_of(_bare(_last_line(text) if told is None else told))


def same_final_answer(left: str, right: str) -> bool:
    """Whether two replies come to the same.

    Equal texts do (`runtime.votes.normalised`), and equal values whatever words stand around them: "583 good parts" and
    "583", "3.5 kg" and "3500 g", but not "3 kg" and "3 m", nor "yes" and "no". Formulas are compared by math-verify,
    and only where that is installed and plain comparison says no. May be called by any thread.
    """
    if same_text(left, right):
        return True
    one, other = final_answer(left), final_answer(right)
    if not one or not other:
        return False
    if same_text(one, other):
        return True
    if _is_formula(one) or _is_formula(other):
        sound = not any(len(text) > _MOST_FORMULA or _WORD.search(_without_units(text)) for text in (one, other))
        return sound and same_mathematics(one, other)
    mine, theirs = _values(one), _values(other)
    if not mine or len(mine) != len(theirs) or _opposed(one) != _opposed(other):
        return False
    return all(_same_value(*pair) for pair in zip(mine, theirs, strict=True))


def _boxed(text: str) -> str | None:
    """What the last box holds; None where there is none that is closed."""
    start = text.rfind(_BOXED)
    if start < 0:
        return None
    begin, depth = start + len(_BOXED), 1
    for place in range(begin, len(text)):
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return re.sub(r"\\(?:text|mathrm|mathbf)\s*\{([^{}]*)\}", r" \1", text[begin:place]) or None
    return None


def _behind_cue(text: str) -> str | None:
    """What the last cue announces: the rest of its line, or the next one that is not blank."""
    found = list(_CUE.finditer(text))
    if not found:
        return None
    rest = text[found[-1].end() :].lstrip(" \t*_:：=")
    return next((line for line in rest.splitlines() if _bare(line)), None)


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if _bare(line)), "")


def _bare(line: str) -> str:
    """A line without bold marks, list marks, marks of code and the signs at its end."""
    if line.count("$") % 2 == 0:  # those of mathematics come in pairs, unlike those of prices
        line = line.replace("$", "")
    line = re.sub(r"\*\*|__|`", "", line.strip())
    line = re.sub(r"^(?:[#>]+|[-*•](?=\s))\s*", "", line)
    return line.strip().rstrip(".。!！ ").strip()


def _value_of(line: str) -> str:
    """The value that a sentence states; the line itself where it is no sentence, or states several."""
    verdict = _VERDICT.match(line)
    if verdict is not None:
        return verdict[1]
    if _is_formula(line) and not _WORD.search(line):
        return _right_side(line)
    clause = _concluding(line)
    found = list(_VALUE.finditer(clause))
    if len(found) != 1 or _opposed(clause):
        return clause
    value = found[0]
    if value.lastgroup != "number":
        return value[0]
    before = clause[: value.start()].rstrip()
    sign = before[-1:] if before[-1:] in tuple("$€£¥") else ""
    return f"{sign}{value[0]}{_unit_text(clause, value.end())}"


def _right_side(formula: str) -> str:
    """Of a sum that is written out ("595 - 12 = 583") and of "x = 5" what stands behind the last sign; any other
    formula as it is."""
    *before, last = (side.strip() for side in re.split(r"[=＝≈]", formula))
    solved = all(re.fullmatch(r"[A-Za-z]|[^A-Za-z\\]*", side) for side in before)
    return last if before and last and solved else formula


def _concluding(line: str) -> str:
    """The part of a sentence that holds its result: behind "so" or the last "=", and there behind "is", where what
    stands before holds values of its own."""
    for sign in reversed(list(_THEN.finditer(line))):
        if _VALUE.search(line, sign.end()):
            line = line[sign.end() :].strip()
            break
    if len(_VALUE.findall(line)) < 2:
        return line
    for copula in _IS.finditer(line):
        tail = _ARTICLE.sub("", line[copula.end() :])
        if _VALUE.match(tail.lstrip("$€£¥ ")):
            # "144 boxes are full and the remainder is 1" says two things, "the mean of 12 and 18 is 15" says one
            return line if _IS.search(line[: copula.start()]) else tail
    return line


def _unit_text(clause: str, end: int) -> str:
    """The unit behind a number as it is written, with the space before it; empty where none follows."""
    found = _UNIT.match(clause, end)
    if found is None:
        return ""
    kept = list(itertools.takewhile(lambda word: not _NO_UNIT.fullmatch(word), found["unit"].split()))
    gap = " " if kept and found.start("unit") > end else ""
    return gap + " ".join(kept)


def _measure(unit: str) -> tuple[str, Fraction] | None:
    """The dimension that a unit measures, and how large it is; None for the name of a thing that is counted."""
    first = next(iter(unit.casefold().replace("\u03bc", "µ").split()), "")
    return _MEASURES.get(first) or _MEASURES.get(first.removesuffix("s"))


@dataclass(frozen=True)
class _Value:
    """One value of an answer: `number` in its unit's base (seconds of a day for a time of day); `bare` as written."""

    kind: str
    number: Fraction
    bare: Fraction
    unit: str


def _values(text: str) -> list[_Value]:
    """The values of an answer, in order."""
    text = unicodedata.normalize("NFKC", text).replace("\u2212", "-")
    return [_read(text, found) for found in _VALUE.finditer(text)]


def _read(text: str, found: re.Match[str]) -> _Value:
    if found.lastgroup == "day":
        name = found[0].casefold()
        day = Fraction(_DAYS.index(name) if name in _DAYS else _JAPANESE_DAYS.index(name[0]))
        return _Value("day", day, day, "")
    if found.lastgroup == "clock":
        parts = [int(part) for part in re.findall(r"\d+", found[0])]
        noon = 12 if "p" in found[0].casefold() and parts[0] < 12 else 0
        midnight = -12 if "a" in found[0].casefold() and parts[0] == 12 else 0
        moment = Fraction((parts[0] + noon + midnight) * 3600 + parts[1] * 60 + (parts[2] if len(parts) > 2 else 0))
        return _Value("clock", moment, moment, "")
    number = _fraction(found[0])
    unit = _unit_text(text, found.end()).strip()
    measure = _measure(unit)
    if measure is None:
        return _Value("count", number, number, unit)
    return _Value(measure[0], number * measure[1], number, unit)


def _fraction(written: str) -> Fraction:
    over, _, under = re.sub(r"[,，'’\s\u2009\u202f]", "", written).partition("/")
    if under and int(under):
        return Fraction(over) / int(under)
    return Fraction(over)


def _same_value(one: _Value, other: _Value) -> bool:
    """A bare number is taken to be in the other's unit; the names of things that are counted do not matter, but a rate,
    an area or a temperature has a unit of its own."""
    if one.bare == other.bare and any(value.kind == "count" and not value.unit for value in (one, other)):
        return True
    compound = any(re.search(r"[/²³°]", value.unit) for value in (one, other))
    return one.kind == other.kind and one.number == other.number and (not compound or one.unit == other.unit)


def _opposed(text: str) -> frozenset[str]:
    """The words that turn what an answer says into its contrary."""
    return frozenset(_OPPOSED.findall(text.casefold()))


def _is_formula(text: str) -> bool:
    """Whether signs or letters stand in it that only mathematics reads."""
    return _FORMULA.search(_without_units(text)) is not None


def _without_units(text: str) -> str:
    """`text` without the units of its numbers: the "m" of "3 m" is no unknown."""
    kept, at = [], 0
    for found in _VALUE.finditer(text):
        unit = _unit_text(text, found.end())
        kept.append(text[at : found.end()])
        at = found.end() + (len(unit) if _measure(unit) is not None else 0)
    return "".join([*kept, text[at:]])

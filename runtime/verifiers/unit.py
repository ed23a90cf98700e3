"""Units of measure as people write them: which one a question asks for, and which one stands behind a number."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from models.plain_text import shorten
from runtime.verifiers.notation import NUMBER
from runtime.verifiers.stated_number import unechoed, values_in

_UNITS: Final[Mapping[str, tuple[str, ...]]] = {
    "µm": ("µm", "μm", "um", "micrometres?", "micrometers?", "microns?", "マイクロメートル", "ミクロン"),
    "mm": ("mm", "millimetres?", "millimeters?", "ミリメートル", "ミリ"),
    "cm": ("cm", "centimetres?", "centimeters?", "センチメートル", "センチ"),
    "km": ("km", "kilometres?", "kilometers?", "キロメートル"),
    "m": ("m", "metres?", "meters?", "メートル"),
    "mg": ("mg", "milligram(?:me)?s?", "ミリグラム"),
    "kg": ("kg", "kilogram(?:me)?s?", "kilos?", "キログラム"),
    "g": ("g", "gram(?:me)?s?", "グラム"),
    "t": ("t", "tonnes?", "tons?", "トン"),
    "ml": ("ml", "millilitres?", "milliliters?", "ミリリットル"),
    "l": ("l", "litres?", "liters?", "リットル"),
    "ms": ("ms", "milliseconds?", "ミリ秒"),
    "s": ("s", "secs?", "seconds?", "秒間?"),
    "min": ("min", "mins", "minutes?", "分間?"),
    "h": ("h", "hrs?", "hours?", "時間"),
    "d": ("days?", "日間"),
    "wk": ("weeks?", "週間"),
}
_SPELLINGS: Final = sorted(
    ((spelling, unit) for unit, spellings in _UNITS.items() for spelling in spellings), key=lambda pair: -len(pair[0])
)
_ANY: Final = "|".join(spelling for spelling, _ in _SPELLINGS)
_END: Final = r"(?![A-Za-z^²³])"
_PER: Final = rf"(?:\s*/\s*(?P<slash>{_ANY}){_END}|\s+(?:per|an?)\s+(?P<per>{_ANY}){_END}|(?!\s*/\s*[A-Za-z]))"
_BEFORE: Final = (
    r"(?:(?P<speed>[秒分時])速|毎(?P<each>[秒分時])|1?(?P<single>秒|分|時)間?(?:あたり|当たり))?(?:に|で|約)?\s*"
)
_PERIODS: Final = {"秒": "s", "分": "min", "時": "h"}
_ASKED: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\bhow many\s+(?P<unit>{_ANY}){_END}{_PER}",
        rf"\b(?:convert|express|change|turn)\b[^.?!]{{0,80}}\b(?:to|in|into|as)\s+(?P<unit>{_ANY}){_END}{_PER}",
        rf"=\s*\?\s*(?P<unit>{_ANY}){_END}{_PER}",
        rf"{_BEFORE}何\s*(?P<unit>{_ANY}){_END}{_PER}(?!の|前|後|ごと)",
        rf"{_BEFORE}(?P<unit>{_ANY})(?:に|で)(?:直|換算|変換|すると|言う|いう|表)",
    )
)
_MEASURED: Final = re.compile(
    rf"{_BEFORE}{NUMBER}\s*(?P<unit>{_ANY}){_END}(?:\s*/\s*(?P<slash>{_ANY}){_END}|\s+per\s+(?P<per>{_ANY}){_END})?",
    re.IGNORECASE,
)
_OTHERS: Final = (
    r"[kMGT]?Wh|[mkMG]?W|[mk]?V|m?A|m?Ah|[hkM]?Pa|m?bar|psi|k?N|[kM]?J|k?cal|[kMG]?Hz|rpm|°\s?[CF]|℃|℉|k?mol|dB"
    r"|k?Ω|lx|lm|inch(?:es)?|ft|feet|foot|yards?|yd|miles?|mph|km?ph|kmh|lbs?|pounds?|oz|ounces?|gallons?|gal|pints?"
    r"|acres?|hectares?|ha|(?:[kcmd]?m|μm|µm)(?:²|³|\^[23]|[23](?![0-9]))|(?:square|cubic)\s+[a-z]+|months?|years?"
    r"|degrees?|watts?|volts?|amps?|amperes?|joules?|newtons?|pascals?|hertz|calories|dollars?|euros?|yen|cents?"
    r"|US\$|[$€£¥]|%|percent|個|本|台|枚|人|円|ドル|ユーロ|度|回|箱|袋|[か箇カヶ]月|年|ワット|ボルト|アンペア|インチ|フィート|マイル|ポンド|パーセント"
)
_OTHER: Final = re.compile(rf"\s*(?P<other>{_OTHERS})(?![A-Za-z])(?:\s*/\s*[A-Za-z]+)?")
_WORD: Final = re.compile(r"\s*(?P<word>[A-Za-zµμ]{1,30}|[ァ-ヶー]{2,20})")
_AFTER_A_BARE_NUMBER: Final = """
    a about above again all altogether always an and approximately are as at because before below but by can
    comes during each equals every exactly for from gives has have if in into is it left long makes more not of
    off on only or over per please plus remain remaining roughly since so than that the then there therefore
    this thus to total under until was we were when where which while will with would you
"""
_PLAIN_WORDS: Final = frozenset(_AFTER_A_BARE_NUMBER.split())
_NUMBER: Final = re.compile(NUMBER)


@dataclass(frozen=True)
class UnitRead:
    """The unit of an answer that should be in a certain one. `numbers`: it holds any; `as_asked`: one is in that unit,
    or in the `upper` unit of the rate that was asked for;
    `other`: the unit that they are in instead, `unread`: the word behind them that is no unit known here; both empty
    for a bare number."""

    numbers: bool
    as_asked: bool = False
    upper: str = ""
    other: str = ""
    unread: str = ""

    @property
    def known(self) -> bool:
        """Whether it can be judged."""
        return self.as_asked or not self.unread


def asked_unit(question: str) -> str | None:
    """The unit that a `plain` question asks for, by its symbol (`m`, `m/s`); None where it asks for none that is known
    here."""
    for pattern in _ASKED:
        if match := pattern.search(question):
            return _symbol_of(match)
    return None


def first_unit(answer: str) -> str:
    """The symbol of the first unit behind a number of a `plain` text; empty where there is none."""
    match = _MEASURED.search(answer)
    return _symbol_of(match) if match else ""


def unit_read(unit: str, answer: str, question: str) -> UnitRead:
    """Which unit a `plain` answer is in, where `unit` was asked for. The numbers that it only repeats of the `question`
    do not count beside others; of a `m/s` that was asked for, people write `m` as well."""
    numbers = list(_NUMBER.finditer(answer))
    if not numbers:
        return UnitRead(False)
    found = [_symbol_of(match) for match in _MEASURED.finditer(answer)]
    if unit in found:
        return UnitRead(True, as_asked=True)
    upper, rate, _ = unit.partition("/")
    if rate and upper in found:
        return UnitRead(True, as_asked=True, upper=upper)
    if found:
        return UnitRead(True, other=found[-1])
    own = {value.number for value in unechoed(values_in(answer), values_in(question))}
    stated = [match for match in numbers if any(one.number in own for one in values_in(match[0]))] or numbers
    others = [match["other"] for number in stated if (match := _OTHER.match(answer, number.end()))]
    if others:
        return UnitRead(True, other=shorten(others[-1], 20))
    words = [_word_behind(answer, number.end()) for number in stated]
    return UnitRead(True, unread="" if "" in words else shorten(words[-1], 20))


def _word_behind(text: str, place: int) -> str:
    """The word that may be a unit; empty behind a bare number."""
    match = _WORD.match(text, place)
    word = match["word"] if match else ""
    return "" if word.casefold() in _PLAIN_WORDS else word


def _symbol_of(match: re.Match[str]) -> str:
    parts = match.groupdict()
    period = next((_PERIODS[sign] for name in ("speed", "each", "single") if (sign := parts.get(name))), "")
    below = parts.get("slash") or parts.get("per")
    per = _symbol(below) if below else period
    return f"{_symbol(match['unit'])}/{per}" if per else _symbol(match["unit"])


def _symbol(spelled: str) -> str:
    return next(unit for spelling, unit in _SPELLINGS if re.fullmatch(spelling, spelled, re.IGNORECASE))

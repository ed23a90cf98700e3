"""The sum that a question asks for, where it asks for nothing else: `What is 4821 + 377?`, `47*8は?`.

The words around the sum must all be known ones of asking. A question that says more (to round, to convert, a story) may
mean another number than the sum gives, so it is none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Final, Literal

from runtime.verifiers.claims import division, runs, stands_alone, trimmed
from runtime.verifiers.notation import NotationError, Token, ZeroDivision, compute, plain, tokens

Wanted = Literal["value", "quotient", "remainder", "both"]

_MOST_TEXT: Final = 2_000
_DATE: Final = re.compile(r"[0-9]{4}[-/][0-9]{1,2}[-/][0-9]{1,2}|[0-9]{1,2}/[0-9]{1,2}/[0-9]{2,4}")
_ASKING_WORDS: Final = """
    a all an and answer are as ask be by calculate calculation can come comes compute could decimal determine do does
    equal equals evaluate exact exactly example expression find following for fraction get give gives hello help hey hi
    how i is it its just left let let's like make many me much my need number of out over percent percentage please
    problem product question quick quickly quotient remainder result show simplify solve step steps sum tell thanks that
    the think this to total up us value want we what what's whats with work would you your
"""
_ASKING: Final = frozenset(_ASKING_WORDS.split())
_ASKING_JAPANESE: Final = re.compile(
    r"(?:パーセント|計算結果|計算問題|計算式|計算|暗算|結果|答え|答|問題|数式|式|値|合計|整数の商|商|積|和|余り|あまり|余|剰余|足し算|引き算|掛け算|かけ算|割り算|わり算"
    r"|筆算|小数|分数|いくつ|いくら|なに|なん|何|教えて|求めなさい|求めよ|求めて|求む|求め|出して|解いて|解け|計算せよ|算出|してみて|して|せよ|ください|下さい"
    r"|くれます|くれ|もらえます|もらえる|いただけます|欲しい|ほしい|でしょう|です|ます|になる|になり|なる|だっけ|だった|だろう|かな|お願いします|お願い|知りたい"
    r"|すると|したら|とき|次の|この|では|って|とは|から|まで|も|は|を|の|と|が|に|で|か|ね|よ|え|ん|する|とも)+"
)
_REMAINDER: Final = re.compile(r"\bremainder\b|\bleft over\b|余り|あまり|剰余", re.IGNORECASE)
_BOTH: Final = re.compile(
    r"\bwith\b|\band\b|\bquotient\b|商|余りも|あまりも|余りと|と余り|とあまり|答え", re.IGNORECASE
)
_QUOTIENT: Final = re.compile(r"\bquotient\b|商", re.IGNORECASE)
_PERCENT: Final = re.compile(r"%|\bpercent|パーセント", re.IGNORECASE)
_SUM_WORDS: Final = re.compile(r"\b(?:sum|total)\b|和|合計|足し算", re.IGNORECASE)
_PRODUCT_WORDS: Final = re.compile(r"\bproduct\b|積", re.IGNORECASE)


@dataclass(frozen=True)
class StatedSum:
    """`text` as the question writes it. `value` None: it divides by zero. `parts`: quotient and remainder of a division
    of whole numbers. `wanted`: which of them is asked for. `percent`: the value is asked for in per cent."""

    text: str
    value: Fraction | None
    parts: tuple[Fraction, Fraction] | None
    wanted: Wanted
    percent: bool = False


def stated_sum(question: str) -> StatedSum | None:
    """The one sum that the question asks for, None where it asks for none, for several, or for more than that."""
    if len(question) > _MOST_TEXT:
        return None
    text = plain(question)
    if _DATE.search(text):
        return None
    found = [(run, side) for run in runs(tokens(text)) if (side := _asked(run)) and stands_alone(text, run)]
    if len(found) != 1:
        return None
    run, side = found[0]
    around = f"{text[: run[0].start]} {text[run[-1].end :]}"
    if not _only_asks(around) or not _words_fit(around, side):
        return None
    try:
        value = compute(side).number
    except ZeroDivision:
        value = None
    except NotationError:
        return None
    parts = division(side)
    wanted = _wanted(around) if parts is not None else "value"
    if parts is None and wanted == "value" and _REMAINDER.search(around):
        return None
    return StatedSum(text[side[0].start : side[-1].end], value, parts, wanted, bool(_PERCENT.search(around)))


def _asked(run: Sequence[Token]) -> list[Token] | None:
    """The sum of a run, `3 + 4` or `3 + 4 =`; None for a lone number or an equation."""
    side = list(run)
    while side and side[-1].kind == "relation":
        side.pop()
    side = trimmed(side)
    if any(token.kind == "relation" for token in side) or all(token.kind != "operator" for token in side):
        return None
    binary = any(
        token.kind == "operator" and before.kind in ("number", "close", "percent") for before, token in pairwise(side)
    )
    return side if binary else None


def _only_asks(around: str) -> bool:
    if any(sign.isnumeric() for sign in around if not "一" <= sign <= "鿿"):
        return False
    words = re.findall(r"[A-Za-z']+", around)
    if any(word.casefold() not in _ASKING for word in words):
        return False
    rest = _ASKING_JAPANESE.sub("", re.sub(r"[A-Za-z']+", "", around))
    return not any(sign.isalnum() for sign in rest) and not any(sign in "√∑∫|^°$€¥£±~<>≤≥" for sign in rest)


def _words_fit(around: str, side: Sequence[Token]) -> bool:
    """Whether "the sum of" stands before a sum of + alone: `the sum of 3 * 4` means something else."""
    operators = {token.text for token in side if token.kind == "operator"}
    if _SUM_WORDS.search(around) and operators != {"+"}:
        return False
    return not _PRODUCT_WORDS.search(around) or operators == {"*"}


def _wanted(around: str) -> Wanted:
    if not _REMAINDER.search(around):
        return "quotient" if _QUOTIENT.search(around) else "value"
    return "both" if _BOTH.search(around) else "remainder"

"""Which number an answer states, in whatever words it stands."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from runtime.verifiers.notation import NotationError, Token, Value, compute, decimals, number, plain, tokens

_MOST_TEXT: Final = 20_000  # characters; the end counts
_BOXED: Final = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]{0,200}\}){1,200})\}")
CUE: Final = re.compile(
    r"(?:\banswer|\bresult|\btotal|\bsum|\bproduct|\bquotient|\bdifference|答え|答|結果|合計|和|積|商|差)"
    r"\s*(?:\*\*)?\s*(?:is|comes to|:|=|は|＝|：)\s*(?:\*\*)?",
    re.IGNORECASE,
)
_ENDS: Final = " \t\n.。!！、,"


def stated_value(answer: str, question: str) -> Value | None:
    """The number, fraction or percentage that the answer gives as its result; None where it states none in digits.

    In order: what is boxed, the answer as a whole, what follows the last `=`, what follows a word such as "answer", the
    only number that does not stand in the question, the last number.
    """
    text = answer[-_MOST_TEXT:]
    text = plain(boxed(text) or text).strip(_ENDS)
    whole = whole_value(text)
    if whole is not None:
        return whole
    for start in (_after_last(text, "="), _after_last(text, "≈"), *[match.end() for match in CUE.finditer(text)][-1:]):
        first = _first(text[start:]) if start else None
        if first is not None:
            return first
    found = values_in(text)
    kept = unechoed(found, values_in(plain(question[-_MOST_TEXT:])))
    left = kept or found
    return left[-1] if left else None


def boxed(text: str) -> str:
    r"""What the last `\boxed{...}` of a text holds; empty without one."""
    found = _BOXED.findall(text)
    return str(found[-1]) if found else ""


def stated_numbers(answer: str, question: str) -> list[Fraction]:
    """All numbers of the answer that are no echo of the question; all, where nothing else is left."""
    found = values_in(plain(answer[-_MOST_TEXT:]))
    kept = unechoed(found, values_in(plain(question[-_MOST_TEXT:])))
    return [value.number for value in kept or found]


def unechoed(found: Sequence[Value], asked: Sequence[Value]) -> list[Value]:
    """The values less those that the question gives, each as often as it gives them."""
    echoes = Counter(value.number for value in asked)
    kept = []
    for value in found:
        if echoes[value.number] > 0:
            echoes[value.number] -= 1
        else:
            kept.append(value)
    return kept


def whole_value(text: str) -> Value | None:
    """The value of a `plain` text that is nothing but a number, or a fraction of two; None for any other."""
    text = text.strip(_ENDS)
    found = tokens(text[:200])
    if len(text) > 200 or len(found) > 6 or any(token.kind in ("other", "relation") for token in found):
        return None
    if any(token.kind == "operator" and token.text not in "-/" for token in found):
        return None
    try:
        return compute(found)
    except NotationError:
        return None


def _first(text: str) -> Value | None:
    """The number with which a text begins, after at most a few signs and words."""
    found = values_in(text[:200])
    return found[0] if found else None


def _after_last(text: str, sign: str) -> int:
    return text.rfind(sign) + 1


def values_in(text: str) -> list[Value]:
    """The numbers of a `plain` text, with the sign that is glued to them, percentages and fractions as such."""
    found = tokens(text)
    values: list[Value] = []
    at = 0
    while at < len(found):
        token = found[at]
        at += 1
        if token.kind != "number":
            continue
        try:
            value = _signed(text, token)
            if _glued(found, at - 1, "/") and number(found[at + 1]) != 0:
                share = value.number / number(found[at + 1])
                mixed = at > 1 and bool(values) and found[at - 2].kind == "number" and 0 < share < 1
                value = Value(values.pop().number + share if mixed else share, ratio=True)  # 144 1/6
                at += 2
            if at < len(found) and found[at].kind == "percent":
                value = Value(value.number / 100, value.decimals, percent=True)
        except NotationError:
            continue
        values.append(value)
    return values


def _signed(text: str, token: Token) -> Value:
    before = text[max(token.start - 2, 0) : token.start]
    negative = before.endswith("-") and not before[:-1].isalnum() and before[:-1] not in (")", "%")
    return Value(-number(token) if negative else number(token), decimals(token))


def _glued(found: Sequence[Token], at: int, sign: str) -> bool:
    """Whether the number at `at` is the upper part of a fraction: `10/3`."""
    if at + 2 >= len(found):
        return False
    middle, right = found[at + 1], found[at + 2]
    return (
        middle.kind == "operator" and middle.text == sign and right.kind == "number" and found[at].end == middle.start
    )

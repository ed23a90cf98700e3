"""Sums in ordinary notation, read into tokens and computed exactly. Nothing is ever evaluated as code.

Read are decimal numbers (thousands in groups of three; full-width digits, and kanji), + - * / × ÷ ^ and their words,
brackets, `%`, `15% of 240` and `240の15%`. Sizes are bounded, so that no text costs more than a moment. Fractions are
exact, and nothing more of a computer algebra system is needed here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

from runtime.verifiers.kanji_numeral import kanji_in_digits

Kind = Literal["number", "operator", "open", "close", "percent", "relation", "other"]

_MOST_TOKENS: Final = 300
_MOST_DEPTH: Final = 40
_MOST_BITS: Final = 8192

_WIDE: Final = {0xFF01 + offset: chr(0x21 + offset) for offset in range(94)}
_SIGNS: Final = {ord(old): new for old, new in zip("\u3000\u00a0\u202f\u2009−∕✕✖·⋅∙≒≃", "    -/×××××≈≈", strict=True)}
_LATEX: Final = (
    (re.compile(r"\\[dt]?frac\s*\{([^{}]{0,80})\}\s*\{([^{}]{0,80})\}"), r"((\1)/(\2))"),
    (re.compile(r"\\(?:boxed|text|mathrm|mathbf)\s*\{([^{}]{0,200})\}"), r" \1 "),
    (re.compile(r"\\(?:times|cdot|ast)(?![A-Za-z])"), "×"),
    (re.compile(r"\\div(?![A-Za-z])"), "÷"),
    (re.compile(r"\\approx(?![A-Za-z])"), "≈"),
    (re.compile(r"\\(?:left|right|displaystyle)(?![A-Za-z])|\\[()\[\],;! ]|\$"), " "),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"\{,\}"), ","),
)
NUMBER: Final = r"(?<![0-9A-Za-z_.,\\])(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)" + (
    r"(?![0-9]|[.,][0-9]|[eE][+-]?[0-9])"
)
_LEXER: Final = re.compile(
    rf"(?P<number>{NUMBER})"
    r"|(?P<power>\*\*|\^)"
    r"|(?P<operator>[-+*/×÷]"
    r"|(?<![A-Za-z])(?:plus|minus|times|multiplied\s+by|divided\s+by|of|x)(?![A-Za-z])"
    r"|たす|足す|プラス|ひく|引く|マイナス|かける|掛ける|わる|割る|の)"
    r"|(?P<open>\()|(?P<close>\))|(?P<percent>%|(?<=[0-9])\s?(?:percent|パーセント))"
    r"|(?P<other>[=!<>]=|=>)|(?P<relation>[=≈])|(?P<space>[\s`_]+)|(?P<rest>.)",
    re.IGNORECASE,
)
_WORDS: Final = {
    "plus": "+", "たす": "+", "足す": "+", "プラス": "+", "minus": "-", "ひく": "-", "引く": "-", "マイナス": "-",
    "times": "*", "x": "*", "×": "*", "かける": "*", "掛ける": "*", "÷": "/", "わる": "/", "割る": "/", "**": "^",
}  # fmt: skip
_OPERAND: Final = re.compile(r"\s*\*{0,2}\s*[-+(]{0,3}\s*\.?[0-9]")
_FACTOR: Final = re.compile(r"\s*\.?[0-9]|\s+\(")  # after an x that is no unknown
_EXPONENT: Final = re.compile(r"\s?[-(]{0,2}[0-9]")


class NotationError(Exception):
    """Not a sum that is read here, or a larger one than is computed here."""


class ZeroDivision(NotationError):
    """A division by zero: the sum has no value."""


@dataclass(frozen=True)
class Token:
    """A part of a text: `text` in one spelling (+ - * / ^ of の), and where it stands."""

    kind: Kind
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Value:
    """What a sum comes to. `decimals`: how many a lone number shows, None for a sum. `percent`: written with %.
    `ratio`: made by a division."""

    number: Fraction
    decimals: int | None = None
    percent: bool = False
    ratio: bool = False


def plain(text: str) -> str:
    """`text` with full-width signs and the commonest LaTeX as ordinary ones, and, where it then has no digits, with
    kanji numbers in digits. Digits of other scripts stay as they are, and so do superscripts, which are no digits of a
    number."""
    text = text.translate(_WIDE).translate(_SIGNS)
    for pattern, replacement in _LATEX:
        text = pattern.sub(replacement, text)
    return kanji_in_digits(text)


def tokens(text: str) -> list[Token]:
    """The tokens of a `plain` text; whatever is no part of a sum becomes a token of kind "other"."""
    found: list[Token] = []
    for match in _LEXER.finditer(text):
        group, word = str(match.lastgroup), re.sub(r"\s+", " ", match[0].casefold())
        kind: Kind = "other"
        if group == "space":
            continue
        if group == "number":
            kind = "number" if _stands_alone(text, match.start(), match.end()) else "other"
        elif group in ("power", "operator"):
            after_operand = bool(found) and found[-1].kind in ("number", "close", "percent")
            before_operand = _OPERAND.match(text, match.end()) is not None
            if word == "**" and not (after_operand and _EXPONENT.match(text, match.end())):
                continue  # bold type
            word = "*" if word == "multiplied by" else "/" if word == "divided by" else _WORDS.get(word, word)
            if match[0].casefold() == "x":
                bound = after_operand and _FACTOR.match(text, match.end()) is not None
            else:
                bound = word not in ("of", "の") or (after_operand and before_operand)
            kind = "operator" if bound else "other"
        elif group in ("open", "close", "percent", "relation"):
            kind = group  # type: ignore[assignment]
        found.append(Token(kind, word, match.start(), match.end()))
    return found


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether the number is no part of one written with other signs: 5², 5万, ٣5, 0x1F."""
    around = (text[start - 1] if start else "", text[end : end + 1])
    hexadecimal = text[start:end] == "0" and around[1] in ("x", "X")
    return not hexadecimal and not any(not sign.isascii() and sign.isnumeric() for sign in around)


def number(token: Token) -> Fraction:
    """The value of a token of kind "number"; raises NotationError for one that is too long."""
    digits = token.text.replace(",", "")
    if len(digits) > _MOST_BITS // 4:
        raise NotationError("a number of too many digits")
    return Fraction(digits)


def decimals(token: Token) -> int:
    """How many decimals a token of kind "number" shows."""
    return len(token.text.partition(".")[2])


def compute(sum_tokens: Sequence[Token]) -> Value:
    """The value of a whole sum. Raises ZeroDivision, and NotationError for what cannot be read or is too large."""
    if not 0 < len(sum_tokens) <= _MOST_TOKENS:
        raise NotationError("no sum, or too long a one")
    parser = _Parser(sum_tokens)
    value = parser.sum(0)
    if parser.left:
        raise NotationError("something is left over")
    return value


class _Parser:
    """Recursive descent over the usual precedences; its depth is bounded."""

    def __init__(self, sum_tokens: Sequence[Token]) -> None:
        self._tokens = sum_tokens
        self._at = 0

    @property
    def left(self) -> bool:
        return self._at < len(self._tokens)

    def _take(self, kind: Kind, *texts: str) -> str | None:
        if not self.left:
            return None
        token = self._tokens[self._at]
        if token.kind != kind or (texts and token.text not in texts):
            return None
        self._at += 1
        return token.text

    def sum(self, depth: int) -> Value:
        value = self._product(depth)
        while sign := self._take("operator", "+", "-"):
            right = self._product(depth)
            if right.percent and not value.percent:
                raise NotationError("100 + 5% means different things to different people")
            total = value.number + right.number if sign == "+" else value.number - right.number
            value = Value(_bounded(total), percent=value.percent and right.percent)
        return value

    def _product(self, depth: int) -> Value:
        value = self._signed(depth)
        while sign := self._take("operator", "*", "/", "of", "の"):
            right = self._signed(depth)
            if (sign == "of" and not (value.percent or value.ratio)) or (sign == "の" and not right.percent):
                raise NotationError("only shares are taken of something")
            if sign == "/" and right.number == 0:
                raise ZeroDivision("a division by zero")
            result = value.number / right.number if sign == "/" else value.number * right.number
            value = Value(_bounded(result), ratio=sign == "/")
        return value

    def _signed(self, depth: int) -> Value:
        if depth > _MOST_DEPTH:
            raise NotationError("nested too deep")
        sign = self._take("operator", "+", "-")
        if sign is None:
            return self._power(depth)
        value = self._signed(depth + 1)
        return value if sign == "+" else Value(-value.number, value.decimals, value.percent, value.ratio)

    def _power(self, depth: int) -> Value:
        base = self._operand(depth)
        if self._take("operator", "^") is None:
            return base
        exponent = self._signed(depth + 1).number
        bits = max(base.number.numerator.bit_length(), base.number.denominator.bit_length())
        if exponent.denominator != 1 or abs(exponent) > _MOST_BITS or bits * abs(exponent) > _MOST_BITS:
            raise NotationError("a root, or too large a power")
        if base.number == 0 and exponent <= 0:
            raise ZeroDivision("a power of zero without a value")
        return Value(base.number ** int(exponent))

    def _operand(self, depth: int) -> Value:
        if self._take("open"):
            value = self.sum(depth + 1)
            if self._take("close") is None:
                raise NotationError("a bracket stays open")
            value = Value(value.number, ratio=value.ratio)
        elif self.left and self._tokens[self._at].kind == "number":
            token = self._tokens[self._at]
            self._at += 1
            value = Value(number(token), decimals(token))
        else:
            raise NotationError("a number is missing")
        if self._take("percent"):
            return Value(value.number / 100, value.decimals, percent=True)
        return value


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > _MOST_BITS:
        raise NotationError("a number of too many digits")
    return value


def states(shown: Value, value: Fraction, *, roughly: bool = False) -> bool:
    """Whether `shown` gives `value`: exactly, or rightly rounded, to two decimals or more where the value has an end
    and to one where it has none. A percentage may stand for p or p/100. `roughly`: within 5 %."""
    readings = (shown.number, shown.number * 100) if shown.percent else (shown.number,)
    if value in readings or (roughly and any(abs(read - value) * 20 <= abs(value) for read in readings)):
        return True
    places = shown.decimals
    if places is None or places < (2 if _ends(value) else 1):
        return False
    step = Fraction(1, 10**places)
    units = (step / 100, step) if shown.percent else (step,)
    return any(abs(read - value) * 2 <= unit for read, unit in zip(readings, units, strict=True))


def _ends(value: Fraction) -> bool:
    """Whether the decimals of `value` come to an end."""
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1


def written(value: Fraction) -> str:
    """`value` for a person: decimals where they end soon, a fraction otherwise; long numbers are cut."""
    if value.denominator == 1:
        text = str(value.numerator)
    elif _ends(value) and value.denominator <= 10**6:
        text = f"{float(value):.6f}".rstrip("0") if abs(value) < 10**9 else str(value)
    else:
        text = f"{value} (about {float(value):.6g})" if abs(value) < 10**15 else str(value)
    return text if len(text) <= 60 else text[:40] + f"… ({len(text)} signs)"

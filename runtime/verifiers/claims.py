"""The sums that a text claims, `3 + 4 = 7`, each recomputed.

Only what stands by itself in ordinary notation is judged: no algebra, no units between numbers, no times of day, no
digit-by-digit workings, no line that doubts what it says. A chain `22+3=25-24=1`, as people write it on paper, goes on
from the result before. What cannot be judged is no claim.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from typing import Final

from models.plain_text import shorten
from runtime.verifiers.notation import NotationError, Token, Value, compute, decimals, number, plain, states, tokens

_MOST_LINES: Final = 20_000
_MOST_LINE: Final = 4_000  # characters
_MOST_ENCLOSED: Final = 300  # tokens of an equation in brackets
_MARK: Final = re.compile(r"\s*(?:(?:[-*•・>#]+|\(?[0-9]{1,3}[.)]|[①-⑳])\s+)*")
_OTHER_MATHEMATICS: Final = re.compile(
    r"[√∑∫∏|]|進数|進法|を法|\b(?:mod|modulo|base|binary|octal|hex\w*|log\w*|ln|sin|cos|tan|sqrt|root|exp|max|min|gcd|lcm|abs"
    r"|floor|ceil\w*|round\w*|choose|hundred|thousand|[mb]illion|dozen)\b",
    re.IGNORECASE,
)
_DOUBT: Final = re.compile(
    r"[?≠]|!=|\b(?:not|isn't|wrong|incorrect\w*|mistake\w*|error|if|suppose|instead of|should be|wait|no|actually|oops"
    r"|correction|hmm)\b|違|間違|誤|もし|ではな|じゃな|待|いや|訂正|とすると|仮に",
    re.IGNORECASE,
)
_REMAINDER: Final = re.compile(
    r"\s*[,、]?\s*(?:r\.?|rem\.?|(?:with\s+)?(?:a\s+)?remainder(?:\s+of)?|and\s+(?:a\s+)?remainder(?:\s+of)?"
    r"|(?:の)?(?:余り|あまり|余))(?:は|が)?\s*([0-9]{1,40})(?![0-9.])",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Chain:
    """Sums that a line sets equal, `3 + 4 = 7`: from `start` to `end` of the line. `values`: what each of the `sides`
    comes to, None where that cannot be read."""

    start: int
    end: int
    sides: tuple[tuple[Token, ...], ...]
    relations: tuple[Token, ...]
    values: tuple[Value | None, ...]


@dataclass(frozen=True)
class Claim:
    """A sum that a text claims. `line` counts from 1; `left`, `right`: as written; `value`: what the left comes to."""

    line: int
    left: str
    right: str
    value: Fraction
    holds: bool


def claims_in(text: str) -> list[Claim]:
    """The claims of a text, in their order, less those that the text itself takes back.

    A false claim is taken back where its own line doubts it, where a doubting line right after it gives the right
    value, or where the same sum is claimed rightly later.
    """
    lines = [plain(line[:_MOST_LINE]) for line in islice(text.splitlines(), _MOST_LINES)]
    found = [claim for index, line in enumerate(lines) for claim in _claims_of(line, index + 1)]
    right = {_key(claim): claim.line for claim in found if claim.holds}
    return [
        claim
        for claim in found
        if claim.holds
        or not (
            _DOUBT.search(lines[claim.line - 1])
            or right.get(_key(claim), 0) > claim.line
            or _taken_back(claim, lines[claim.line : claim.line + 2])
        )
    ]


def _key(claim: Claim) -> str:
    return "".join(claim.left.split())


def _taken_back(claim: Claim, following: Sequence[str]) -> bool:
    return any(
        _DOUBT.search(line) and any(_gives(token, claim.value) for token in tokens(line) if token.kind == "number")
        for line in following
    )


def _gives(token: Token, value: Fraction) -> bool:
    try:
        return number(token) == value
    except NotationError:
        return False


def _claims_of(line: str, place: int) -> Iterator[Claim]:
    for chain in chains_in(line):
        yield from _claims_of_chain(line, chain, place)


def chains_in(line: str) -> Iterator[Chain]:
    """The equations of a `plain` line that stand by themselves in ordinary notation, in their order."""
    if not any(sign in line for sign in "=≈") or _OTHER_MATHEMATICS.search(line):
        return
    mark = _MARK.match(line)
    body = " " * (mark.end() if mark else 0) + line[mark.end() if mark else 0 :]
    for run in runs(tokens(body)):
        if any(token.kind == "relation" for token in run) and stands_alone(body, run):
            for part in _parted(run):
                if any(token.kind == "relation" for token in part):
                    yield _chain(body, part)


def _parted(run: Sequence[Token]) -> Iterator[list[Token]]:
    """A run, in which an equation in brackets behind a number stands by itself: `18 (18 + 17 = 35)`."""
    part: list[Token] = []
    depth = 0
    for at, token in enumerate(run):
        behind_operand = bool(part) and part[-1].kind in ("number", "close", "percent")
        if token.kind == "open" and behind_operand and depth == 0 and _encloses_equation(run[at:]):
            yield part
            part, depth = [], 1
        elif depth and token.kind == "close" and depth == 1:
            yield part
            part, depth = [], 0
        else:
            depth += (token.kind == "open") - (token.kind == "close") if depth else 0
            part.append(token)
    if part:
        yield part


def _encloses_equation(rest: Sequence[Token]) -> bool:
    """Whether the bracket with which `rest` begins holds an equation; words may keep it from closing in here."""
    depth, equation = 0, False
    for token in rest[:_MOST_ENCLOSED]:
        depth += (token.kind == "open") - (token.kind == "close")
        equation |= token.kind == "relation"
        if depth == 0:
            break
    return equation


def _chain(line: str, run: Sequence[Token]) -> Chain:
    sides: list[list[Token]] = [[]]
    for token in run:
        if token.kind == "relation":
            sides.append([])
        else:
            sides[-1].append(token)
    values = [_value(trimmed(side)) for side in sides]
    values[-1] = None if _goes_on(line, sides[-1]) else values[-1]
    relations = tuple(token for token in run if token.kind == "relation")
    kept = tuple(tuple(trimmed(side)) for side in sides)
    remainder = _REMAINDER.match(line, run[-1].end)
    return Chain(run[0].start, remainder.end() if remainder else run[-1].end, kept, relations, tuple(values))


def runs(line_tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """The longest stretches of tokens that may belong to a sum."""
    run: list[Token] = []
    for token in line_tokens:
        if token.kind != "other":
            run.append(token)
        elif run:
            yield run
            run = []
    if run:
        yield run


def stands_alone(line: str, run: Sequence[Token]) -> bool:
    """Whether the run is no part of a time of day, of digit-by-digit working or of a function's call."""
    start, end = run[0].start, run[-1].end
    before, after = line[max(start - 2, 0) : start], line[end : end + 2]
    glued_before = len(before) == 2 and before[1] in ":;,.?/<>" and before[0].isdigit()
    glued_after = len(after) == 2 and after[0] in ":;,?/<>" and after[1].isdigit()
    called = run[0].kind == "open" and before[-1:].isascii() and before[-1:].isalnum()
    return not (glued_before or glued_after or called)


def _claims_of_chain(line: str, chain: Chain, place: int) -> Iterator[Claim]:
    for at, relation in enumerate(chain.relations):
        left, right = chain.values[at], chain.values[at + 1]
        if left is None or right is None or (left.decimals is not None and right.decimals is not None):
            continue
        first, second = chain.sides[at], chain.sides[at + 1]
        last = at + 1 == len(chain.relations)
        remainder = _REMAINDER.match(line, second[-1].end) if last else None
        if remainder is not None:
            parts = division(first)
            if parts is None or right.number.denominator != 1:
                continue
            holds = (right.number, Fraction(remainder[1])) == parts
        else:
            roughly = relation.text == "≈"
            chained = _shown(second[0]) if not last and second[0].kind == "number" else right
            holds = any(
                _same(one, other, roughly=roughly) for one, other in ((left, right), (right, left), (left, chained))
            )
        end = remainder.end() if remainder is not None else second[-1].end
        yield Claim(place, _spelled(line, first), shorten(line[second[0].start : end], 80), left.number, holds)


def _value(side: Sequence[Token]) -> Value | None:
    try:
        return compute(side)
    except NotationError:
        return None


def _same(value: Value, shown: Value, *, roughly: bool) -> bool:
    doubled = value.percent and value.number * 100 == shown.number
    return doubled or value.number == shown.number or states(shown, value.number, roughly=roughly)


def _shown(token: Token) -> Value:
    return Value(number(token), decimals(token))


def trimmed(side: Sequence[Token]) -> list[Token]:
    """A side without brackets around the whole claim: `(3 + 4 = 7)`."""
    kept = list(side)
    unmatched = sum((token.kind == "open") - (token.kind == "close") for token in kept)
    while unmatched > 0 and kept and kept[0].kind == "open":
        kept, unmatched = kept[1:], unmatched - 1
    while unmatched < 0 and kept and kept[-1].kind == "close":
        kept, unmatched = kept[:-1], unmatched + 1
    return kept


def _goes_on(line: str, side: Sequence[Token]) -> bool:
    """Whether letters are glued to a sum at its end: `3 × 4x`. To a lone number they are its unit, but for `2r3`."""
    if not side:
        return False
    after = line[side[-1].end : side[-1].end + 2]
    if not (after[:1].isascii() and after[:1].isalpha()) or _REMAINDER.match(line, side[-1].end):
        return False
    return len(side) > 1 or after[1:].isdigit()


def division(side: Sequence[Token]) -> tuple[Fraction, Fraction] | None:
    """Quotient and remainder of `a / b` in whole numbers, None for any other sum. Raises no error for b = 0: None."""
    if [token.kind for token in side] != ["number", "operator", "number"] or side[1].text != "/":
        return None
    try:
        first, second = number(side[0]), number(side[2])
    except NotationError:
        return None
    if first.denominator != 1 or second.denominator != 1 or second == 0:
        return None
    quotient, remainder = divmod(int(first), int(second))
    return Fraction(quotient), Fraction(remainder)


def _spelled(line: str, side: Sequence[Token]) -> str:
    """A side as written, blanks folded, so that the same sum claimed twice is known again."""
    gaps = "".join(line[one.start : one.end] + (" " if other.start > one.end else "") for one, other in pairwise(side))
    return shorten(gaps + line[side[-1].start : side[-1].end], 80)

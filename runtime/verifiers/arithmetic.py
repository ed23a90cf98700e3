"""Recomputes the sum that a question states, and every sum that the thinking and the answer claim."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from models.plain_text import shorten
from models.plural import counted
from runtime.verifiers.claims import Claim, claims_in
from runtime.verifiers.notation import Value, plain, states, written
from runtime.verifiers.stated_number import stated_numbers, stated_value
from runtime.verifiers.stated_sum import StatedSum, stated_sum
from runtime.verifiers.statement import Statement, statement
from runtime.verifiers.verifier import Case, Kind, Verdict

_SHOWN: Final = 60
_UNDEFINED: Final = re.compile(
    r"undefin|not defined|no (?:answer|value|result|solution)|cannot|can't|can not|impossible|infinit|∞|\bnan\b|error"
    r"|not possible|meaningless|indeterminate|not allowed"
    r"|できな|できま|定義|不能|不可能|なし|ない|無限|エラー|ません|不定",
    re.IGNORECASE,
)
_PARTS: Final = re.compile(
    r"(?<![0-9.,])(-?[0-9][0-9,]{0,50})[^0-9.]{0,40}?"
    r"(?:(?P<named>\br(?:em|emainder)?\b\.?|余り|あまり|余)|left|over|と|and|[,;、])[^0-9.]{0,30}?([0-9]{1,50})(?![0-9.])",
    re.IGNORECASE,
)


class Arithmetic:
    """Passes where the answer gives what the question's sum comes to and claims no wrong sum itself.

    Where the question states no sum, the claims in the thinking and the answer decide, and the verdict is one of form:
    right sums may lead to a wrong answer. Where it does and the answer is right, a wrong line of the thinking is named
    but does not fail the answer. An answer that doubts or denies its value, or gives rival ones, of which one is right,
    fails by its form: nobody can tell what it means.
    """

    name = "arithmetic"
    kind: Kind = "truth"
    needs = "sums in digits"

    def applies(self, case: Case) -> bool:
        """Whether the question asks for a sum and nothing else, or a sum is claimed anywhere."""
        return stated_sum(case.question) is not None or bool(claims_in(case.answer) or claims_in(case.thinking))

    def check(self, case: Case) -> Verdict:
        """The verdict, which names the wrong line or the right value."""
        asked = stated_sum(case.question)
        in_answer, in_thinking = claims_in(case.answer), claims_in(case.thinking)
        slips = [_slip(claim) for claim in in_answer if not claim.holds]
        thought_slips = [_thought_slip(claim) for claim in in_thinking if not claim.holds]
        kind: Kind = "form" if asked is None else "truth"
        fault = ""
        if asked is not None:
            found = statement(case.answer, case.question, asked.text, remainder=asked.wanted == "remainder")
            if vague := _vagueness(asked, found, case):
                return Verdict(self.name, "form", False, _told(vague, [*slips, *thought_slips]))
            fault = _fault(asked, found, case)
        if fault:
            return Verdict(self.name, kind, False, _told(fault, [*slips, *thought_slips]))
        if slips or (asked is None and thought_slips):
            return Verdict(self.name, kind, False, _told("", slips or thought_slips))
        count = len(in_answer) + len(in_thinking) - len(thought_slips)
        right = f"{asked.text} was recomputed and the answer is right." if asked is not None else _counted(count)
        return Verdict(self.name, kind, True, _told(right, thought_slips))


def _told(sentence: str, slips: Sequence[str]) -> str:
    """A sentence and the first of the slips, as far as there are any."""
    first = slips[0][0].upper() + slips[0][1:] if slips else ""
    rest = len(slips) - 1
    more = f" (and {counted(rest, 'more wrong sum')})" if rest > 0 else ""
    note = f"{first}{more}." if slips else ""
    return " ".join(part for part in (sentence, note) if part)


def _slip(claim: Claim) -> str:
    return f"line {claim.line} of the answer says {claim.left} = {claim.right}, but it is {written(claim.value)}"


def _thought_slip(claim: Claim) -> str:
    """Without its words: a verdict is kept longer than the thought may be."""
    return f"line {claim.line} of the thinking has a wrong sum, which comes to {written(claim.value)}"


def with_quote(detail: str, thinking: str) -> str:
    """What a verdict says, with the sum of the thinking that it names and does not quote: for a screen that shows the
    thinking too, not to be kept."""
    wrong = next((claim for claim in claims_in(thinking) if not claim.holds), None)
    if wrong is None:
        return detail
    slip, said = _thought_slip(wrong)[1:], shorten(f"{wrong.left} = {wrong.right}", _SHOWN)
    return detail.replace(slip, slip.replace("a wrong sum", f"a wrong sum, “{said}”", 1), 1)


def _counted(count: int) -> str:
    claims = f"{counted(count, 'claimed sum was', 'claimed sums were')} recomputed, all right"
    return f"{claims}; what the question asks for was not."


def _vagueness(asked: StatedSum, found: Statement, case: Case) -> str:
    """Why nobody can tell which value the answer to the question's sum gives, as a sentence; empty if it is plain."""
    if asked.value is None:
        return ""
    given = (*found.values, *found.offered)
    if not found.values:
        doubted = found.doubted or found.offered
        why = "The answer doubts or denies the value that it gives, and states no other" if doubted else ""
    else:
        right = [_is_right(value, asked, roughly="≈" in case.answer) for value in given]
        shown = ", ".join(dict.fromkeys(_shown(value) for value in given))
        rivals = any(right) and not all(right) and not _parts_right(asked, found, case.question)
        why = f"The answer gives several values ({shorten(shown, _SHOWN)}), and not plainly one" if rivals else ""
    return f"{why}; {asked.text} is {written(asked.value)}." if why else ""


def _parts_right(asked: StatedSum, found: Statement, question: str) -> bool:
    """Whether the answer gives the quotient and the remainder of the question's division, and nothing in doubt."""
    return asked.parts is not None and not found.offered and asked.parts in _given_parts(found.text, question).values()


def _remainder_right(asked: StatedSum, found: Statement) -> bool:
    """Whether the remainder alone was asked for, and is all that the answer states."""
    if asked.wanted != "remainder" or asked.parts is None or not found.values:
        return False
    return all(value.number == asked.parts[1] for value in found.values)


def _fault(asked: StatedSum, found: Statement, case: Case) -> str:
    """What is wrong with the answer to the question's sum, as a sentence; empty if it is right."""
    answer = case.answer
    if asked.value is None:
        if _UNDEFINED.search(answer) or stated_value(answer, case.question) is None:
            return ""
        return f"{asked.text} divides by zero and has no value, but the answer gives one."
    if asked.parts is not None:
        if _parts_right(asked, found, case.question) or _remainder_right(asked, found):
            return ""
        named = "named" in _given_parts(found.text, case.question)
        if named or (asked.wanted == "both" and asked.parts[1] != 0):
            quotient, remainder = asked.parts
            return f"{asked.text} is {quotient} remainder {remainder}, but the answer is “{shorten(answer, _SHOWN)}”."
    if not found.values:
        return f"The answer states no number in digits; {asked.text} is {written(asked.value)}."
    value = found.values[-1]
    if _is_right(value, asked, roughly="≈" in answer):
        return ""
    if asked.wanted == "remainder" and asked.parts is not None:
        return f"The remainder of {asked.text} is {asked.parts[1]}, but the answer gives {_shown(value)}."
    return f"{asked.text} is {written(asked.value)}, but the answer gives {_shown(value)}."


def _is_right(value: Value, asked: StatedSum, *, roughly: bool) -> bool:
    if asked.value is None:
        return False
    if asked.parts is not None and asked.wanted == "remainder":
        return value.number == asked.parts[1]
    if asked.parts is not None and asked.wanted == "quotient" and value.number == asked.parts[0]:
        return True
    if asked.percent and not value.percent:
        value = Value(value.number / 100, value.decimals, percent=True)
    return states(value, asked.value, roughly=roughly)


def _given_parts(answer: str, question: str) -> dict[str, tuple[Fraction, ...]]:
    """The quotients and remainders that the answer may give: `named` in so many words (`144 r 1`, `144 余り 1`), `pair`
    by another word between two numbers, `last` by its last two numbers."""
    given = {"last": tuple(stated_numbers(answer, question)[-2:])}
    for match in _PARTS.finditer(plain(answer[-2_000:])):
        given["named" if match["named"] else "pair"] = (Fraction(match[1].replace(",", "")), Fraction(match[3]))
    return given


def _shown(value: Value) -> str:
    return written(value.number * 100) + " %" if value.percent else written(value.number)

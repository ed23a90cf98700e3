"""Whether an answer has the form that the question and the given limits ask for: unit, share, time of day, range."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

from models.errors import UsageError
from runtime.verifiers.notation import NUMBER, Value, plain, written
from runtime.verifiers.stated_number import stated_numbers, stated_value
from runtime.verifiers.unit import UnitRead, asked_unit, first_unit, unit_read
from runtime.verifiers.verifier import Case, Kind, Verdict

_MOST_TEXT: Final = 20_000
_SHARE: Final = re.compile(
    r"\b(?:what|which|how many)\s+(?:share|fraction|proportion|percent(?:age)?|per cent)\b"
    r"|\b(?:the|first-pass)\s+yield\b|\byield\s+(?:rate|percentage)\b"
    r"|何\s*(?:%|パーセント)|割合|歩留|良品率|不良率",
    re.IGNORECASE,
)
_MAY_PASS_100: Final = re.compile(
    r"\b(?:increas\w*|grow\w*|grew|ris\w*|rose|more|chang\w*|gain\w*|mark\s?up|higher|larger|bigger|greater|faster"
    r"|of the original|compared|relative|return|profit|interest|target|plan|efficiency)\b"
    r"|増|伸び|上が|上昇|成長|変化|利益|利回り|比べ|目標|達成|計画|倍",
    re.IGNORECASE,
)
_TIME_ASKED: Final = re.compile(r"\b(?:what|which)\s+time\b|何時(?!間)", re.IGNORECASE)
_CLOCK: Final = re.compile(r"(?<![0-9:.])([0-9]{1,3}):([0-9]{1,3})(?::([0-9]{2}))?(?![0-9:])\s*(?:([ap])\.?m\b)?", re.I)
_CLOCK_JAPANESE: Final = re.compile(r"(午前|午後)?\s*(?<![0-9:.])([0-9]{1,3})時(?!間)(?:([0-9]{1,3})分)?")
_CLOCK_IN_WORDS: Final = re.compile(
    r"\b(?:noon|midnight|midday)\b|正午|真夜中|零時|\b(?:[0-9]|1[0-9]|2[0-3])\s*(?:o'clock|[ap]\.?m\b)"
    r"|^\W*(?:[01]?[0-9]|2[0-3])\W*$",
    re.IGNORECASE,
)


class Units:
    """Passes where the answer is in the unit asked for, a share within 0..100 %, a time of day that a clock shows, and
    within the option `limits` (`minimum`, `maximum`). A bare number is taken to be in the unit asked for; an answer
    whose unit is not known here is not judged by it."""

    name = "units"
    kind: Kind = "form"
    needs = "a unit, a share or a time of day that the question asks for, or limits"
    of_value = True

    def applies(self, case: Case) -> bool:
        """Whether the question asks for a unit that can be looked for in the answer, for a share or a time of day, or
        limits are given."""
        question = plain(case.question[:_MOST_TEXT])
        if case.options.get("limits") or _asks_share(question) or _TIME_ASKED.search(question):
            return True
        unit = asked_unit(question)
        return unit is not None and unit_read(unit, _answer(case), question).known

    def check(self, case: Case) -> Verdict:
        """The verdict, which names the first thing that is out of form, or what was looked at. Raises UsageError for
        faulty limits."""
        question, answer = plain(case.question[:_MOST_TEXT]), _answer(case)
        unit = asked_unit(question)
        minimum, maximum = _limits(case.options.get("limits"))
        faults: list[str] = []
        seen: list[str] = []
        if unit is not None:
            read = unit_read(unit, answer, question)
            faults.append(_unit_fault(unit, read))
            seen.append(_unit_seen(unit, read))
        elif _asks_share(question):
            faults.append(_share_fault(case))
            seen.append("the share lies within 0 and 100 %")
        if _TIME_ASKED.search(question):
            faults.append(_time_fault(answer))
            seen.append("it is a time of day")
        if minimum is not None or maximum is not None:
            faults.append(_limit_fault(case, minimum, maximum))
            seen.append("it lies within the limits")
        fault = next(filter(None, faults), "")
        told = ", and ".join(seen) or "no unit and no limit was asked for"
        return Verdict.of(self, not fault, fault or f"{told[0].upper()}{told[1:]}.")


def _answer(case: Case) -> str:
    return plain(case.answer[-_MOST_TEXT:])


def _unit_fault(unit: str, read: UnitRead) -> str:
    if not read.numbers:
        return f"The question asks for {unit}, but the answer holds no number in digits."
    return f"The question asks for {unit}, but the answer is in {read.other}; convert it." if read.other else ""


def _unit_seen(unit: str, read: UnitRead) -> str:
    if read.upper:
        return f"the unit is {read.upper}, taken as {unit}"
    if read.as_asked:
        return f"the unit is {unit}, as asked for"
    if read.known:
        return f"a bare number was taken to be in {unit}"
    return f"the unit “{read.unread}” was not recognised, so it was not judged"


def _asks_share(question: str) -> bool:
    return _SHARE.search(question) is not None and _MAY_PASS_100.search(question) is None


def _share_fault(case: Case) -> str:
    value = stated_value(case.answer, case.question)
    if value is None:
        return "The question asks for a share, but the answer holds no number."
    answer = _answer(case)
    measured = first_unit(answer)
    if measured and not value.percent and len(re.findall(NUMBER, answer)) == 1:
        return f"The question asks for a share, but the answer is in {measured}."
    percent = value.number * 100 if value.percent else value.number
    return "" if 0 <= percent <= 100 else f"A share lies within 0 and 100 %, but the answer gives {_per_cent(value)}."


def _per_cent(value: Value) -> str:
    return written(value.number * 100 if value.percent else value.number) + " %"


def _time_fault(answer: str) -> str:
    times = [
        (int(match[1]), int(match[2]), int(match[3] or 0), 12 if match[4] else 23, match[0].strip())
        for match in _CLOCK.finditer(answer)
    ] + [
        (int(match[2]), int(match[3] or 0), 0, 12 if match[1] else 23, match[0].strip())
        for match in _CLOCK_JAPANESE.finditer(answer)
    ]
    for hour, minute, second, last_hour, text in times:
        if hour > last_hour or minute > 59 or second > 59:
            return f"No clock shows {text}; a time of day lies within 00:00 and 23:59."
    if times or _CLOCK_IN_WORDS.search(answer):
        return ""
    return "The question asks for a time of day, but the answer holds none."


def _limits(given: Any) -> tuple[Fraction | None, Fraction | None]:
    """The limits of an option; raises UsageError for what is none."""
    if given is None:
        return None, None
    if not isinstance(given, Mapping) or not set(given) <= {"minimum", "maximum"}:
        raise UsageError('The option "limits" must be an object with "minimum", "maximum" or both.')
    bounds = []
    for side in ("minimum", "maximum"):
        bound = given.get(side)
        number = isinstance(bound, int | float) and not isinstance(bound, bool) and math.isfinite(bound)
        if bound is not None and not number:
            raise UsageError(f'The limit "{side}" must be a number.')
        bounds.append(None if bound is None else Fraction(str(bound)))
    return bounds[0], bounds[1]


def _limit_fault(case: Case, minimum: Fraction | None, maximum: Fraction | None) -> str:
    if minimum is None and maximum is None:
        return ""
    found = stated_numbers(case.answer, case.question)
    if not found:
        return "Limits are given, but the answer holds no number."
    for value in found:
        if minimum is not None and value < minimum:
            return f"The answer gives {written(value)}, below the limit of {written(minimum)}."
        if maximum is not None and value > maximum:
            return f"The answer gives {written(value)}, above the limit of {written(maximum)}."
    return ""

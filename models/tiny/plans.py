"""From operands to an answer: what a thought works out for each skill once the question is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from models.tiny.problem import DAYS, Problem, shrinks_by
from models.tiny.slate import Slate
from models.tiny.steps import clock_time


def _stock(p: Problem, s: Slate) -> str:
    level = p.number("start")
    for kind, n in p.events:
        level = s.subtract(level, n) if kind == "out" else s.add(level, n)
    return f"{level} {'個' if p.language == 'ja' else p.word('item')}"


def _production(p: Problem, s: Slate) -> str:
    good = s.subtract(s.multiply(p.number("rate"), p.number("hours")), p.number("scrap"))
    return f"{good} {'個' if p.language == 'ja' else p.word('item')}"


def _machines(p: Problem, s: Slate) -> str:
    made = s.multiply(s.add(p.number("rate_a"), p.number("rate_b")), p.number("hours"))
    return f"{made} {'個' if p.language == 'ja' else p.word('item')}"


def _packing(p: Problem, s: Slate) -> str:
    full, left = s.divide(p.number("total"), p.number("per_box"))
    return f"{full} 箱 余り {left}" if p.language == "ja" else f"{full} full, {left} left"


def _yes(p: Problem, yes: bool) -> str:
    return ("はい" if yes else "いいえ") if p.language == "ja" else ("yes" if yes else "no")


def _tolerance(p: Problem, s: Slate) -> str:
    nominal, tolerance, measured = p.number("nominal"), p.number("tolerance"), p.number("measured")
    relation = s.compare(nominal, measured)
    distance = 0
    if relation:
        distance = s.subtract(max(nominal, measured), min(nominal, measured))
    return _yes(p, s.compare(distance, tolerance) <= 0)


def _conversion(p: Problem, s: Slate) -> str:
    value, source, target = p.number("value"), p.word("from"), p.word("to")
    up = shrinks_by(source, target) == 1
    factor = shrinks_by(target, source) if up else shrinks_by(source, target)
    if factor == 1:
        raise ValueError(f"no units {source} and {target}")
    return f"{_sixty(s, value, up=up) if factor == 60 else s.shift(value, factor, up=up)} {target}"


def _sixty(s: Slate, value: int, *, up: bool) -> int:
    s.note(f"{value}{'*' if up else '/'}60")
    result = s.multiply(value, 6) * 10 if up else s.divide(value // 10, 6)[0]
    s.note(f"={result}")
    return result


def _clock(p: Problem, s: Slate) -> str:
    hour, minute = (int(part) for part in p.word("start").split(":"))
    hours, minutes = p.number("hours"), p.number("minutes")
    return clock_time(s.add_time(hour * 60 + minute, hours * 60 + minutes))


def _mean(p: Problem, s: Slate) -> str:
    a, b, c = p.number("a"), p.number("b"), p.number("c")
    return str(s.divide(s.add(s.add(a, b), c), 3)[0])


def _sort(p: Problem, s: Slate) -> str:
    a, b, c = p.number("a"), p.number("b"), p.number("c")
    return ", ".join(str(number) for number in s.order(a, b, c))


def _weekday(p: Problem, s: Slate) -> str:
    days = DAYS[p.language]
    first, count = days.index(p.word("day")), p.number("days")
    rest = s.divide(count, 7)[1]
    s.note(days[first] + "".join(f";{i} {days[(first + i) % 7]}" for i in range(1, rest + 1)))
    return days[(first + rest) % 7]


def _exact(s: Slate, left: int, right: int) -> int:
    """left/right after dropping the zeros that both end with."""
    if right in (10, 100, 1000):
        return s.shift(left, right, up=False)
    shortened = (left, right)
    while shortened[0] % 10 == 0 and shortened[1] % 10 == 0:
        shortened = (shortened[0] // 10, shortened[1] // 10)
    if shortened != (left, right):
        s.note(f"{left}/{right}={shortened[0]}/{shortened[1]}")
    return s.divide(*shortened)[0]


def _yield(p: Problem, s: Slate) -> str:
    return f"{_exact(s, p.number('good') * 100, p.number('made'))} %"


def _takt(p: Problem, s: Slate) -> str:
    return f"{_exact(s, s.multiply(p.number('minutes'), 6) * 10, p.number('parts'))} s"


def _reorder(p: Problem, s: Slate) -> str:
    point = s.add(s.multiply(p.number("use"), p.number("lead")), p.number("safety"))
    return _yes(p, s.compare(p.number("stock"), point) <= 0)


def _two(run: Callable[[Slate, int, int], int]) -> Callable[[Problem, Slate], str]:
    def plan(p: Problem, s: Slate) -> str:
        return str(run(s, p.number("a"), p.number("b")))

    return plan


def _divide(p: Problem, s: Slate) -> str:
    quotient, remainder = s.divide(p.number("a"), p.number("b"))
    return f"{quotient} r {remainder}"


PLANS: Mapping[str, Callable[[Problem, Slate], str]] = {
    "add": _two(Slate.add), "subtract": _two(Slate.subtract), "multiply": _two(Slate.multiply),
    "divide": _divide, "stock": _stock, "production": _production, "machines": _machines, "packing": _packing,
    "tolerance": _tolerance, "conversion": _conversion, "clock": _clock, "mean": _mean, "sort": _sort,
    "weekday": _weekday, "yield": _yield, "takt": _takt, "reorder": _reorder,
}  # fmt: skip

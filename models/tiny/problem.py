"""Shop-floor problems: the skills, their operands and right answers, and the split that keeps test operands unseen."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Language = Literal["en", "ja"]
Values = Mapping[str, int | str | tuple[tuple[str, int], ...]]

DAYS: Mapping[str, tuple[str, ...]] = {
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "ja": ("月曜", "火曜", "水曜", "木曜", "金曜", "土曜", "日曜"),
}
ITEMS: Mapping[str, tuple[str, ...]] = {
    "en": tuple(
        [
            "bolts",
            "nuts",
            "screws",
            "washers",
            "parts",
            "gears",
            "bearings",
            "brackets",
            "plates",
            "pipes",
            "valves",
            "seals",
            "springs",
            "pins",
            "rivets",
            "panels",
            "motors",
            "sensors",
            "cables",
            "boxes",
            "pallets",
            "shafts",
            "rings",
            "clamps",
            "filters",
            "hoses",
            "belts",
            "boards",
            "switches",
            "housings",
        ]
    ),
    "ja": tuple(
        [
            "ボルト",
            "ナット",
            "ねじ",
            "ワッシャー",
            "部品",
            "歯車",
            "ベアリング",
            "ブラケット",
            "プレート",
            "パイプ",
            "バルブ",
            "シール",
            "ばね",
            "ピン",
            "リベット",
            "パネル",
            "モーター",
            "センサー",
            "ケーブル",
            "箱",
            "パレット",
            "シャフト",
            "リング",
            "クランプ",
            "フィルター",
            "ホース",
            "ベルト",
            "基板",
            "スイッチ",
        ]
    ),
}
# (larger unit, smaller unit, factor)
UNITS: tuple[tuple[str, str, int], ...] = (
    ("cm", "mm", 10), ("m", "cm", 100), ("m", "mm", 1000), ("km", "m", 1000), ("kg", "g", 1000), ("t", "kg", 1000),
    ("L", "mL", 1000), ("min", "s", 60), ("h", "min", 60),
)  # fmt: skip


def shrinks_by(source: str, target: str) -> int:
    """By how much a value is divided on its way to a larger unit; 1 towards a smaller one."""
    return next((factor for large, small, factor in UNITS if (source, target) == (small, large)), 1)


@dataclass(frozen=True)
class Problem:
    """One problem without its wording. `values` are its operands; `hard`: beyond the promised ranges; `told`: the
    numbers of its question in order, where it has been put in words (a line's number among them); `clauses`: for
    each stock movement, its number and the words behind it."""

    skill: str
    language: Language
    values: Values = field(default_factory=dict)
    hard: bool = False
    told: tuple[str, ...] = ()
    clauses: tuple[str, ...] = ()

    def number(self, name: str) -> int:
        """An operand that is an integer."""
        value = self.values[name]
        if not isinstance(value, int):
            raise TypeError(f"{name} is not a number")
        return value

    def word(self, name: str) -> str:
        """An operand that is text."""
        return str(self.values[name])

    @property
    def events(self) -> tuple[tuple[str, int], ...]:
        """Stock movements in order: ("in" or "out", how many)."""
        value = self.values["events"]
        if not isinstance(value, tuple):
            raise TypeError("events is not a tuple")
        return value

    @property
    def held_out(self) -> bool:
        """Whether the operands belong to the test split: one in eight, by hash of skill and operands, blind to order,
        wording, language and the names of things."""
        parts: list[str] = []
        for name, value in self.values.items():
            if name in ("item", "line"):
                continue
            if name == "day":
                parts.append(str(DAYS[self.language].index(str(value))))
            else:
                parts.append(str(value))
        key = self.skill + ":" + ",".join(sorted(parts))
        return hashlib.sha256(key.encode()).digest()[0] < 32


def _digits(rng: random.Random, lowest: int, highest: int) -> int:
    """A number with a uniform count of digits between the two bounds' counts."""
    count = rng.randint(lowest, highest)
    return rng.randint(10 ** (count - 1), 10**count - 1)


def _small(rng: random.Random, hard: bool) -> bool:
    """Whether a sum is one of numbers below 100, as people try first; a hard one never is."""
    return not hard and rng.random() < 0.15


def _pair(rng: random.Random, hard: bool) -> Values:
    if _small(rng, hard):
        return {"a": _digits(rng, 1, 2), "b": _digits(rng, 1, 2)}
    return {"a": _digits(rng, 1, 6 if hard else 5), "b": _digits(rng, 1, 6 if hard else 5)}


def _subtract(rng: random.Random, hard: bool) -> Values:
    highest = 2 if _small(rng, hard) else 6 if hard else 5
    a, b = _digits(rng, 1, highest), _digits(rng, 1, highest)
    return {"a": max(a, b), "b": min(a, b)}


def _multiply(rng: random.Random, hard: bool) -> Values:
    if hard:
        return {"a": _digits(rng, 3, 3), "b": _digits(rng, 2, 2)}
    if _small(rng, hard):
        return {"a": _digits(rng, 1, 2), "b": rng.randint(2, 9)}
    if rng.random() < 0.5:
        return {"a": _digits(rng, 1, 4), "b": rng.randint(2, 9)}
    return {"a": _digits(rng, 2, 2), "b": _digits(rng, 2, 2)}


def _divide(rng: random.Random, hard: bool) -> Values:
    if _small(rng, hard):
        return {"a": _digits(rng, 1, 2), "b": rng.randint(2, 9)}
    return {"a": _digits(rng, 5, 5) if hard else _digits(rng, 1, 4), "b": rng.randint(2, 9)}


def _stock(rng: random.Random, hard: bool) -> Values:
    start = level = rng.randint(10, 119) if rng.random() < 0.15 else rng.randint(120, 999)
    events: list[tuple[str, int]] = []
    for _ in range(rng.randint(4, 5) if hard else rng.choice((1, 2, 2, 2, 3, 3, 3))):
        if rng.random() < 0.5 and level > 12:
            amount = rng.randint(3, min(level - 1, 500))
            level -= amount
            events.append(("out", amount))
        else:
            amount = rng.randint(3, 500)
            level += amount
            events.append(("in", amount))
    return {"start": start, "events": tuple(events)}


def _production(rng: random.Random, hard: bool) -> Values:
    rate, hours = (rng.randint(401, 999), rng.randint(2, 9)) if hard else (rng.randint(20, 400), rng.randint(2, 9))
    return {"rate": rate, "hours": hours, "scrap": rng.randint(3, min(99, rate * hours - 1))}


def _machines(rng: random.Random, hard: bool) -> Values:
    top = 999 if hard else 400
    return {"rate_a": rng.randint(20, top), "rate_b": rng.randint(20, top), "hours": rng.randint(2, 9)}


def _packing(rng: random.Random, hard: bool) -> Values:
    return {"per_box": rng.randint(3, 9), "total": rng.randint(2001, 20000) if hard else rng.randint(40, 2000)}


def _tolerance(rng: random.Random, hard: bool) -> Values:
    nominal = rng.randint(5000, 29999) if hard else rng.randint(200, 4999)
    tolerance = rng.randint(2, 20)
    distance = rng.choice((rng.randint(0, 2 * tolerance), tolerance, rng.randint(0, 40)))
    measured = nominal + rng.choice((-1, 1)) * distance
    return {"nominal": nominal, "tolerance": tolerance, "measured": measured}


def _conversion(rng: random.Random, hard: bool) -> Values:
    large, small, factor = UNITS[0] if rng.random() < 0.35 else rng.choice(UNITS)
    value = rng.randint(1000, 9999) if hard else rng.randint(2, 999)
    if rng.random() < 0.25:
        return {"value": value * factor, "from": small, "to": large}
    return {"value": value, "from": large, "to": small}


def _clock(rng: random.Random, hard: bool) -> Values:
    start = 5 * rng.randrange(288)
    hours = rng.randint(10, 23) if hard else rng.randint(1, 9)
    return {"start": f"{start // 60:02d}:{start % 60:02d}", "hours": hours, "minutes": 5 * rng.randrange(12)}


def _mean(rng: random.Random, hard: bool) -> Values:
    top = 999 if hard else 400
    while True:
        numbers = [rng.randint(2, rng.choice((50, top))) for _ in range(3)]
        if sum(numbers) % 3 == 0:
            return dict(zip("abc", numbers, strict=True))


def _sort(rng: random.Random, hard: bool) -> Values:
    numbers = rng.sample(range(1000, 99999) if hard else range(10, 1000), 3)
    if not hard and rng.random() < 0.35:  # numbers that share their first digits, or have two digits, are the hard ones
        base = rng.randrange(10, 100)
        pool = [base, *range(base * 10, base * 10 + 10), rng.randint(10, 99), rng.randint(100, 999)]
        numbers = rng.sample(sorted(set(pool)), 3)
    return dict(zip("abc", numbers, strict=True))


def _weekday(rng: random.Random, hard: bool) -> Values:
    return {"day": rng.randrange(7), "days": rng.randint(100, 400) if hard else rng.randint(2, 99)}


def _yield(rng: random.Random, hard: bool) -> Values:
    while True:
        made, percent = (rng.randint(401, 2000) if hard else rng.randint(20, 400)), rng.randint(50, 99)
        if made * percent % 100 == 0:
            return {"made": made, "good": made * percent // 100}


def _takt(rng: random.Random, hard: bool) -> Values:
    while True:
        minutes = rng.randint(541, 1440) if hard else rng.choice((rng.randint(300, 540), 30 * rng.randint(10, 18)))
        fits = [parts for parts in range(12, 1000) if minutes * 60 % parts == 0]
        if fits:
            return {"minutes": minutes, "parts": rng.choice(fits)}


def _reorder(rng: random.Random, hard: bool) -> Values:
    use, lead, safety = rng.randint(10, 199 if hard else 99), rng.randint(2, 9), rng.randint(10, 150)
    point = use * lead + safety
    stock = rng.randint(80, 900)
    if rng.random() < 0.5:  # near the reorder point, where the comparison matters
        stock = max(80, min(900, point + rng.randint(-60, 60)))
    elif rng.random() < 0.15 and 80 <= point <= 900:
        stock = point
    return {"stock": stock, "use": use, "lead": lead, "safety": safety}


_DRAWS: Mapping[str, Callable[[random.Random, bool], Values]] = {
    "add": _pair, "subtract": _subtract, "multiply": _multiply, "divide": _divide, "stock": _stock,
    "production": _production, "machines": _machines, "packing": _packing, "tolerance": _tolerance,
    "conversion": _conversion, "clock": _clock, "mean": _mean, "sort": _sort, "weekday": _weekday, "yield": _yield,
    "takt": _takt, "reorder": _reorder,
}  # fmt: skip
SKILLS: tuple[str, ...] = tuple(_DRAWS)


def draw(rng: random.Random, skill: str, language: Language, *, held_out: bool, hard: bool = False) -> Problem:
    """A problem of the skill whose operands lie in the wanted split."""
    while True:
        values = dict(_DRAWS[skill](rng, hard))
        if skill == "weekday":
            values["day"] = DAYS[language][int(str(values["day"]))]
        if skill in ("stock", "packing"):
            values["item"] = rng.choice(ITEMS[language])
        if skill in ("production", "machines"):
            common = "parts" if language == "en" else "部品"
            values["item"] = common if rng.random() < 0.8 else rng.choice(ITEMS[language])
        if skill == "production":
            values["line"] = rng.choice("123456789ABC")
        problem = Problem(skill, language, values, hard)
        if problem.held_out == held_out:
            return problem

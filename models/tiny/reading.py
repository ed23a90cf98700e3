"""How a thought begins: the question's numbers as they stand there, and the expression they make.

    124 5 55:124*5-55
    320 145 60:320; 145 to a customer -145; 60 came back +60
    12.40 0.05 12.37:|1240-1237|<=5

Copying the numbers is the same act for every wording; a check repeats the line, so a misreading can be found. Of a
stock movement the words behind its number are copied out before its sign is decided (those before it are in what the
number is seen with): a copy that goes forward from a number is the one a small model learns.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from models.tiny.problem import Problem


def _stock(p: Problem) -> str:
    told = p.clauses or tuple(str(n) for _, n in p.events)
    moves = (f"{clause} {'-' if kind == 'out' else '+'}{n}" for clause, (kind, n) in zip(told, p.events, strict=True))
    return "; ".join([str(p.number("start")), *moves])


def _filled(pattern: str) -> Callable[[Problem], str]:
    return lambda p: pattern.format_map(p.values)


_EXPRESSIONS: Mapping[str, Callable[[Problem], str]] = {
    "add": _filled("{a}+{b}"),
    "subtract": _filled("{a}-{b}"),
    "multiply": _filled("{a}*{b}"),
    "divide": _filled("{a}/{b}"),
    "stock": _stock,
    "production": _filled("{rate}*{hours}-{scrap}"),
    "machines": _filled("({rate_a}+{rate_b})*{hours}"),
    "packing": _filled("{total}/{per_box}"),
    "tolerance": _filled("|{nominal}-{measured}|<={tolerance}"),
    "conversion": _filled("{value} {from}={to}"),
    "clock": lambda p: f"{p.word('start')}+{p.number('hours')}:{p.number('minutes'):02d}",
    "mean": _filled("({a}+{b}+{c})/3"),
    "sort": _filled("{a},{b},{c}"),
    "weekday": _filled("{day}+{days}"),
    "yield": _filled("{good}*100/{made}"),
    "takt": _filled("{minutes}*60/{parts}"),
    "reorder": _filled("{stock}<={use}*{lead}+{safety}"),
}


def reading(problem: Problem) -> str:
    """The first line of a thought, without its end; the expression alone where no question tells the problem."""
    expression = _EXPRESSIONS[problem.skill](problem)
    return f"{' '.join(problem.told)}:{expression}" if problem.told else expression


def misread(problem: Problem, rng: random.Random) -> Problem:
    """The problem as somebody might read it wrongly: a number copied wrongly, another number of the question in its
    place, two numbers exchanged, or a movement of stock taken for its opposite."""
    if problem.skill == "stock" and rng.random() < 0.5:
        events = list(problem.events)
        index = rng.randrange(len(events))
        events[index] = ("in" if events[index][0] == "out" else "out", events[index][1])
        return replace(problem, values={**problem.values, "events": tuple(events)})
    numbers = _numbers(problem)
    name = rng.choice(sorted(numbers))
    value = numbers[name]
    kind = rng.random()
    if kind < 0.25 and len(numbers) > 1:
        other = rng.choice(sorted(set(numbers) - {name}))
        return _with(_with(problem, name, numbers[other]), other, value)
    others = [int(told) for told in problem.told if told.isdecimal() and int(told) != value]
    if kind < 0.6 and others:
        return _with(problem, name, rng.choice(others))
    wrong = _miscopied(value, rng)
    told = list(problem.told)
    if str(value) in told:
        told[told.index(str(value))] = str(wrong)
    clauses = tuple(re.sub(rf"(?<!\d){value}(?!\d)", str(wrong), clause) for clause in problem.clauses)
    return replace(_with(problem, name, wrong), told=tuple(told), clauses=clauses)


def _numbers(problem: Problem) -> dict[str, int]:
    """The operands that are whole numbers; a stock movement is named by its place."""
    found = {name: value for name, value in problem.values.items() if isinstance(value, int)}
    if problem.skill == "stock":
        found |= {f"events {index}": n for index, (_, n) in enumerate(problem.events)}
    return found


def _with(problem: Problem, name: str, value: int) -> Problem:
    if name.startswith("events "):
        events = list(problem.events)
        index = int(name.split()[1])
        events[index] = (events[index][0], value)
        return replace(problem, values={**problem.values, "events": tuple(events)})
    return replace(problem, values={**problem.values, name: value})


def _miscopied(value: int, rng: random.Random) -> int:
    """The number with a digit changed, lost or doubled."""
    digits = str(value)
    place = rng.randrange(len(digits))
    wrong = rng.choice(
        [
            digits[:place] + rng.choice("0123456789") + digits[place + 1 :],
            digits[:place] + digits[place + 1 :] or "0",
            digits[: place + 1] + digits[place:],
        ]
    )
    return int(wrong)

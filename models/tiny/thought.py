"""The thought of a problem: words to an expression, digit programs, a result, a check by inverse operations, a repair.

320-145+60
320-145:10-5=5,5;...=175
175+060:...235
so 235 bolts
Wait, check
235-060:...=175
175~175 ok
175+145:...320
320~320 ok
so 235 bolts
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from models.tiny import digits
from models.tiny.digits import Segment, Slip, Writer
from models.tiny.problem import DAYS, UNITS, Language, Problem


@dataclass(frozen=True)
class Phrases:
    """The few words a thought uses, in the asker's language."""

    so: str
    check: str
    ok: str
    differs: str
    redo: str
    outside: str
    refusal: str


PHRASES: Mapping[Language, Phrases] = {
    "en": Phrases("so ", "Wait, check\n", " ok\n", " no\n", "Redo\n", "This is not shop-floor arithmetic.",
                  "I only know shop-floor arithmetic."),
    "ja": Phrases("よって、", "待て、検算\n", " 合う\n", " 違う\n", "やり直し\n", "これは現場の計算ではない。",
                  "現場の計算しかわかりません。"),
}  # fmt: skip


@dataclass(frozen=True)
class Operation:
    """One digit program that ran: its kind, operands and written result (a quotient and remainder for `/`)."""

    kind: str
    left: int
    right: int
    result: int
    remainder: int = 0


class Slate:
    """Runs digit programs and remembers them. The first `skip` run silently; number `slip_at` makes a slip."""

    def __init__(
        self, writer: Writer, rng: random.Random, *, skip: int = 0, slip_at: int = -1, wrong_guesses: float = 0.0
    ) -> None:
        self._writer, self._rng = writer, rng
        self._skip, self._slip_at, self._wrong_guesses = skip, slip_at, wrong_guesses
        self.operations: list[Operation] = []
        self.slipped = False

    def _next(self, steps: int) -> tuple[Writer, Slip | None]:
        index = len(self.operations)
        slip = Slip(self._rng, steps) if index == self._slip_at else None
        return (Writer() if index < self._skip else self._writer), slip

    def _record(self, slip: Slip | None, kind: str, left: int, right: int, result: int, remainder: int = 0) -> None:
        self.slipped = self.slipped or bool(slip and slip.done)
        self.operations.append(Operation(kind, left, right, result, remainder))

    def note(self, text: str) -> None:
        """A line of its own that needs no program; silent while skipping."""
        if len(self.operations) >= self._skip:
            self._writer.write(text + "\n")

    def add(self, left: int, right: int) -> int:
        writer, slip = self._next(len(str(max(left, right))))
        result = digits.add(writer, left, right, slip)
        self._record(slip, "+", left, right, result)
        return result

    def subtract(self, left: int, right: int) -> int:
        writer, slip = self._next(len(str(left)))
        result = digits.subtract(writer, left, right, slip)
        self._record(slip, "-", left, right, result)
        return result

    def multiply(self, left: int, right: int) -> int:
        writer, slip = self._next(len(str(left)) * len(str(right)))
        result = digits.multiply(writer, left, right, slip)
        self._record(slip, "*", left, right, result)
        return result

    def divide(self, left: int, right: int) -> tuple[int, int]:
        if right < 10:
            writer, slip = self._next(2 * len(str(left)))
            result, remainder = digits.divide_by_digit(writer, left, right, slip)
            self._record(slip, "/", left, right, result, remainder)
        else:  # every step of long division is compared as it goes; it is neither slipped nor checked again
            writer, slip = self._next(1)
            result, remainder = digits.divide_long(writer, left, right, self._rng, self._wrong_guesses)
            self._record(None, "long", left, right, result, remainder)
        return result, remainder

    def compare(self, left: int, right: int) -> int:
        writer, _ = self._next(1)
        result = digits.compare(writer, left, right)
        self._record(None, "?", left, right, result)
        return result


def _cents(value: int) -> str:
    return f"{value // 100}.{value % 100:02d}"


def _stock(p: Problem, s: Slate) -> str:
    # the sign stands behind its number: what happened is then looked up by a number already copied
    s.note(str(p.number("start")) + "".join(f";{n}{'-' if kind == 'out' else '+'}" for kind, n in p.events))
    level = p.number("start")
    for kind, n in p.events:
        level = s.subtract(level, n) if kind == "out" else s.add(level, n)
    return f"{level} {'個' if p.language == 'ja' else p.word('item')}"


def _production(p: Problem, s: Slate) -> str:
    s.note(f"{p.number('rate')}*{p.number('hours')}-{p.number('scrap')}")
    good = s.subtract(s.multiply(p.number("rate"), p.number("hours")), p.number("scrap"))
    return f"{good} {'個' if p.language == 'ja' else p.word('item')}"


def _machines(p: Problem, s: Slate) -> str:
    s.note(f"({p.number('rate_a')}+{p.number('rate_b')})*{p.number('hours')}")
    made = s.multiply(s.add(p.number("rate_a"), p.number("rate_b")), p.number("hours"))
    return f"{made} {'個' if p.language == 'ja' else p.word('item')}"


def _packing(p: Problem, s: Slate) -> str:
    s.note(f"{p.number('total')}/{p.number('per_box')}")
    full, left = s.divide(p.number("total"), p.number("per_box"))
    return f"{full} 箱 余り {left}" if p.language == "ja" else f"{full} full, {left} left"


def _yes(p: Problem, yes: bool) -> str:
    return ("はい" if yes else "いいえ") if p.language == "ja" else ("yes" if yes else "no")


def _tolerance(p: Problem, s: Slate) -> str:
    nominal, tolerance, measured = p.number("nominal"), p.number("tolerance"), p.number("measured")
    s.note(f"|{nominal}-{measured}|<={tolerance}")
    relation = s.compare(nominal, measured)
    distance = 0
    if relation:
        distance = s.subtract(max(nominal, measured), min(nominal, measured))
    return _yes(p, s.compare(distance, tolerance) <= 0)


def _conversion(p: Problem, s: Slate) -> str:
    value, source, target = p.number("value"), p.word("from"), p.word("to")
    for large, small, factor in UNITS:
        if (source, target) == (large, small):
            s.note(f"{value}*{factor}")
            result = s.multiply(value, 6) * 10 if factor == 60 else value * factor
            s.note(f"={result}")
            return f"{result} {target}"
        if (source, target) == (small, large):
            s.note(f"{value}/{factor}")
            result = s.divide(value // 10, 6)[0] if factor == 60 else value // factor
            s.note(f"={result}")
            return f"{result} {target}"
    raise ValueError(f"no units {source} and {target}")


def _clock(p: Problem, s: Slate) -> str:
    hour, minute = (int(part) for part in p.word("start").split(":"))
    hours, minutes = p.number("hours"), p.number("minutes")
    s.note(f"{p.word('start')}+{hours}:{minutes:02d}")
    total = minute + minutes
    carry = total >= 60
    s.note(f"{minute:02d}+{minutes:02d}={total}" + (f"-60={total - 60}" if carry else ""))
    end = hour + hours + carry
    s.note(f"{hour:02d}+{hours}{'+1' if carry else ''}={end}" + (f"-24={end - 24}" if end >= 24 else ""))
    return f"{end % 24:02d}:{total % 60:02d}"


def _mean(p: Problem, s: Slate) -> str:
    a, b, c = p.number("a"), p.number("b"), p.number("c")
    s.note(f"({a}+{b}+{c})/3")
    return str(s.divide(s.add(s.add(a, b), c), 3)[0])


def _sort(p: Problem, s: Slate) -> str:
    a, b, c = p.number("a"), p.number("b"), p.number("c")
    s.note(f"{a},{b},{c}")
    low, high = (a, b) if s.compare(a, b) < 0 else (b, a)
    s.note(f"{low},{high}")
    order = [low, high]
    order.insert(0 if s.compare(low, c) > 0 else 2 if s.compare(high, c) < 0 else 1, c)
    return ", ".join(str(number) for number in order)


def _weekday(p: Problem, s: Slate) -> str:
    days = DAYS[p.language]
    first, count = days.index(p.word("day")), p.number("days")
    s.note(f"{days[first]}+{count}")
    rest = s.divide(count, 7)[1]
    s.note(days[first] + "".join(f";{i} {days[(first + i) % 7]}" for i in range(1, rest + 1)))
    return days[(first + rest) % 7]


def _exact(s: Slate, left: int, right: int) -> int:
    """left/right after dropping the zeros that both end with."""
    shortened = (left, right)
    while shortened[0] % 10 == 0 and shortened[1] % 10 == 0:
        shortened = (shortened[0] // 10, shortened[1] // 10)
    if shortened != (left, right):
        s.note(f"{left}/{right}={shortened[0]}/{shortened[1]}")
    if shortened[1] == 1:
        return shortened[0]
    return s.divide(*shortened)[0]


def _yield(p: Problem, s: Slate) -> str:
    s.note(f"{p.number('good')}*100/{p.number('made')}")
    return f"{_exact(s, p.number('good') * 100, p.number('made'))} %"


def _takt(p: Problem, s: Slate) -> str:
    s.note(f"{p.number('minutes')}*60/{p.number('parts')}")
    return f"{_exact(s, s.multiply(p.number('minutes'), 6) * 10, p.number('parts'))} s"


def _reorder(p: Problem, s: Slate) -> str:
    s.note(f"{p.number('stock')}<={p.number('use')}*{p.number('lead')}+{p.number('safety')}")
    point = s.add(s.multiply(p.number("use"), p.number("lead")), p.number("safety"))
    return _yes(p, s.compare(p.number("stock"), point) <= 0)


def _two(sign: str, run: Callable[[Slate, int, int], int]) -> Callable[[Problem, Slate], str]:
    def plan(p: Problem, s: Slate) -> str:
        s.note(f"{p.number('a')}{sign}{p.number('b')}")
        return str(run(s, p.number("a"), p.number("b")))

    return plan


def _divide(p: Problem, s: Slate) -> str:
    s.note(f"{p.number('a')}/{p.number('b')}")
    quotient, remainder = s.divide(p.number("a"), p.number("b"))
    return f"{quotient} r {remainder}"


_PLANS: Mapping[str, Callable[[Problem, Slate], str]] = {
    "add": _two("+", Slate.add), "subtract": _two("-", Slate.subtract), "multiply": _two("*", Slate.multiply),
    "divide": _divide, "stock": _stock, "production": _production, "machines": _machines, "packing": _packing,
    "tolerance": _tolerance, "conversion": _conversion, "clock": _clock, "mean": _mean, "sort": _sort,
    "weekday": _weekday, "yield": _yield, "takt": _takt, "reorder": _reorder,
}  # fmt: skip
CHECKED = frozenset("+-*/")


def answer(problem: Problem) -> str:
    """The right answer, in the promised form."""
    return _PLANS[problem.skill](problem, Slate(Writer(), random.Random(0)))


def _inverse(writer: Writer, operation: Operation) -> bool:
    """Write the inverse of an operation and the comparison with what it must give; returns whether they agree."""
    if operation.kind == "+":
        if operation.result < operation.right:  # a slipped sum may be too small to take the operand away from
            digits.compare(writer, operation.result, operation.right)
            writer.write(f"{operation.result}~{operation.right}")
            return False
        found, wanted = str(digits.subtract(writer, operation.result, operation.right)), str(operation.left)
    elif operation.kind == "-":
        found, wanted = str(digits.add(writer, operation.result, operation.right)), str(operation.left)
    elif operation.kind == "*" and operation.right < 10:
        quotient, remainder = digits.divide_by_digit(writer, operation.result, operation.right)
        found, wanted = f"{quotient}r{remainder}", f"{operation.left}r0"
    elif operation.kind == "*":
        found, wanted = str(digits.multiply(writer, operation.right, operation.left)), str(operation.result)
    else:
        product = digits.multiply_by_digit(writer, operation.result, operation.right)
        if operation.remainder:
            product = digits.add(writer, product, operation.remainder)
        found, wanted = str(product), str(operation.left)
    writer.write(f"{found}~{wanted}")
    return found == wanted


@dataclass(frozen=True)
class Thought:
    """A thought in segments, the answer it ends with, and what happened in it. `result_end`: characters up to and
    including the first result line."""

    segments: tuple[Segment, ...]
    answer: str
    checked: bool
    slipped: bool
    result_end: int


def think(
    problem: Problem,
    rng: random.Random,
    *,
    check: bool,
    slip: bool = False,
    again: bool = False,
    wrong_guesses: float = 0.0,
) -> Thought:
    """Write the thought. `slip` (with `check`) plants one wrong digit, which the check finds and the thought repairs;
    `again` checks a second time."""
    phrases, plan = PHRASES[problem.language], _PLANS[problem.skill]
    right = answer(problem)
    dry = Slate(Writer(), random.Random(0))
    plan(problem, dry)
    fallible = [index for index, operation in enumerate(dry.operations) if operation.kind in CHECKED]
    writer, slate = Writer(), dry
    for _ in range(20):
        writer = Writer()
        target = rng.choice(fallible) if slip and check and fallible else -1
        slate = Slate(writer, rng, slip_at=target, wrong_guesses=wrong_guesses)
        try:
            result = plan(problem, slate)
        except (ValueError, IndexError):  # the slip led where arithmetic cannot go on
            continue
        if target < 0 or slate.slipped:
            break
    else:
        return think(problem, rng, check=check, again=again, wrong_guesses=wrong_guesses)
    writer.write(f"{phrases.so}{result}\n")
    result_end = len(writer.text)
    rounds = (2 if again else 1) if check and fallible else 0
    for _ in range(rounds):
        writer.write(phrases.check)
        for index, operation in enumerate(slate.operations):
            if operation.kind not in CHECKED:
                continue
            if _inverse(writer, operation):
                writer.write(phrases.ok)
                continue
            writer.write(phrases.differs + phrases.redo)
            # redo from this operation on: what stands before it has just been checked
            slate = Slate(writer, rng, skip=index, wrong_guesses=wrong_guesses)
            if index == 0:
                slate = Slate(writer, rng, wrong_guesses=wrong_guesses)
            result = plan(problem, slate)
            break
        writer.write(f"{phrases.so}{result}\n")
    if result != right:
        raise AssertionError(f"the thought ends with {result}, not {right}: {problem}")
    return Thought(tuple(writer.segments), right, rounds > 0, rounds > 0 and slip, result_end)


def refuse(language: Language) -> Thought:
    """The thought and answer for a question outside the skills."""
    phrases = PHRASES[language]
    segments = (Segment(phrases.outside + "\n", True),)
    return Thought(segments, phrases.refusal, False, False, len(segments[0].text))

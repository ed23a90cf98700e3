"""What a thought has worked out so far: the steps that ran, and the inverse step that checks each of them."""

from __future__ import annotations

import random
from dataclasses import dataclass

from models.tiny import digits, steps
from models.tiny.digits import Slip, Writer

_SIGNS = {-1: "<", 0: "=", 1: ">"}


@dataclass(frozen=True)
class Operation:
    """One step that ran: its kind, operands and written result (a quotient and remainder for `/` and `long`).

    Kinds: `+ - * /` digit programs, `long` division, `?` comparison, `time` (minutes), `up` and `down` (moves of the
    decimal point), `order` (its result in `numbers`).
    """

    kind: str
    left: int
    right: int
    result: int
    remainder: int = 0
    numbers: tuple[int, ...] = ()


class Slate:
    """Runs steps and remembers them. The first `skip` run silently; number `slip_at` makes a slip."""

    def __init__(
        self, writer: Writer, rng: random.Random, *, skip: int = 0, slip_at: int = -1, wrong_guesses: float = 0.0
    ) -> None:
        self._writer, self._rng = writer, rng
        self._skip, self._slip_at, self._wrong_guesses = skip, slip_at, wrong_guesses
        self.operations: list[Operation] = []
        self.slipped = False

    def _next(self, chances: int) -> tuple[Writer, Slip | None]:
        index = len(self.operations)
        slip = Slip(self._rng, chances) if index == self._slip_at else None
        return (Writer() if index < self._skip else self._writer), slip

    @property
    def sound(self) -> bool:
        """Whether every step agrees with its inverse."""
        return all(check(Writer(), operation) for operation in self.operations)

    def _record(self, slip: Slip | None, operation: Operation) -> None:
        self.slipped = self.slipped or bool(slip and slip.done)
        self.operations.append(operation)

    def note(self, text: str) -> None:
        """A line of its own that needs no step; silent while skipping."""
        if len(self.operations) >= self._skip:
            self._writer.write(text + "\n")

    def add(self, left: int, right: int) -> int:
        writer, slip = self._next(len(str(max(left, right))))
        result = digits.add(writer, left, right, slip)
        self._record(slip, Operation("+", left, right, result))
        return result

    def subtract(self, left: int, right: int) -> int:
        writer, slip = self._next(len(str(left)))
        result = digits.subtract(writer, left, right, slip)
        self._record(slip, Operation("-", left, right, result))
        return result

    def multiply(self, left: int, right: int) -> int:
        writer, slip = self._next(len(str(left)) * len(str(right)))
        result = digits.multiply(writer, left, right, slip)
        self._record(slip, Operation("*", left, right, result))
        return result

    def divide(self, left: int, right: int) -> tuple[int, int]:
        if right < 10:
            writer, slip = self._next(2 * len(str(left)))
            result, remainder = digits.divide_by_digit(writer, left, right, slip)
            self._record(slip, Operation("/", left, right, result, remainder))
        else:
            writer, slip = self._next(len(str(left // right)) * len(str(right)))
            result, remainder = digits.divide_long(writer, left, right, self._rng, self._wrong_guesses, slip)
            self._record(slip, Operation("long", left, right, result, remainder))
        return result, remainder

    def compare(self, left: int, right: int) -> int:
        writer, slip = self._next(1)
        result = digits.compare(writer, left, right, slip)
        self._record(slip, Operation("?", left, right, result))
        return result

    def add_time(self, start: int, duration: int) -> int:
        """Both in minutes; returns the time of day in minutes."""
        writer, slip = self._next(2)
        result = steps.add_time(writer, start, duration, slip)
        self._record(slip, Operation("time", start, duration, result))
        return result

    def shift(self, value: int, factor: int, *, up: bool) -> int:
        writer, slip = self._next(1)
        result = steps.shift(writer, value, factor, up=up, slip=slip)
        self._record(slip, Operation("up" if up else "down", value, factor, result))
        return result

    def order(self, *numbers: int) -> tuple[int, ...]:
        writer, slip = self._next(2)
        found = steps.order(writer, numbers, slip)
        self._record(slip, Operation("order", 0, 0, 0, numbers=found))
        return found


def check(writer: Writer, operation: Operation) -> bool:
    """Write the inverse of an operation and the comparison with what it must give; returns whether they agree."""
    found, wanted = _inverse(writer, operation)
    writer.write(f"{found}~{wanted}")
    return found == wanted


def _inverse(writer: Writer, done: Operation) -> tuple[str, str]:
    """Write the inverse; returns what it gives and what it must give."""
    match done.kind:
        case "+" if done.result < done.right:  # a slipped sum may be too small to take the operand away from
            digits.compare(writer, done.result, done.right)
            return str(done.result), str(done.right)
        case "+":
            return str(digits.subtract(writer, done.result, done.right)), str(done.left)
        case "-":
            return str(digits.add(writer, done.result, done.right)), str(done.left)
        case "*" if done.right < 10:
            quotient, remainder = digits.divide_by_digit(writer, done.result, done.right)
            return f"{quotient}r{remainder}", f"{done.left}r0"
        case "*":
            return str(digits.multiply(writer, done.right, done.left)), str(done.result)
        case "?":
            return _SIGNS[digits.compare(writer, done.right, done.left)], _SIGNS[-done.result]
        case "time":
            return steps.clock_time(steps.subtract_time(writer, done.result, done.right)), steps.clock_time(done.left)
        case "up" | "down":
            return str(steps.shift(writer, done.result, done.right, up=done.kind == "down")), str(done.left)
        case "order":
            return steps.neighbours(writer, done.numbers), "<" * (len(done.numbers) - 1)
    # a quotient: the shorter factor last, it has the fewer lines
    factors = sorted((done.result, done.right), reverse=True)
    product = digits.multiply(writer, factors[0], factors[1])
    if done.remainder:
        product = digits.add(writer, product, done.remainder)
    return str(product), str(done.left)

"""Digit programs: school arithmetic written out so that every step is local.

Least significant digit first, the accumulated result repeated at each step, no spaces around digits:

    347+085:7+5=12,2;4+8+1=13,32;3+0+1=4,432
    347-085:7-5=2,2;14-8=6,62;3-0-1=2,262=262        (a leading 1 is a borrow)
    610*8:0*8=0,0;1*8=8,80;6*8=48,4880
    864/6:8/6=1r2,1;26/6=4r2,14;24/6=4r0,144=144r0
    4811?4807:4=4,8=8,1>0
    214'20:4,4                    (a digit of a long division: what is left, what comes, the guess, the quotient so far)

A program may be asked to make one slip: a wrong digit, written without being learned, after which it goes on honestly.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Segment:
    """A piece of a rendered conversation; `learn`: whether its tokens carry loss."""

    text: str
    learn: bool


@dataclass
class Writer:
    """Collects the text of a thought, with the slipped digits marked as not to be learned."""

    segments: list[Segment] = field(default_factory=list)

    def write(self, text: str, *, learn: bool = True) -> None:
        """Append text, joined to the last segment where both are learned alike."""
        if not text:
            return
        if self.segments and self.segments[-1].learn == learn:
            text = self.segments.pop().text + text
        self.segments.append(Segment(text, learn))

    @property
    def text(self) -> str:
        return "".join(segment.text for segment in self.segments)


class Slip:
    """One wrong value at a step chosen at random. `done` tells whether it has happened."""

    def __init__(self, rng: random.Random, steps: int) -> None:
        self._rng = rng
        self._left = rng.randrange(steps)
        self.done = False

    def now(self) -> bool:
        """Whether this step is the chosen one; counts it."""
        self._left -= 1
        self.done = self.done or self._left == -1
        return self._left == -1

    def choose(self, choices: Sequence[int]) -> int:
        """One of the wrong values that a step offers."""
        return self._rng.choice(choices)

    def value(self, right: int, lowest: int, highest: int) -> int:
        """`right`, or at the chosen step another value within the bounds."""
        if lowest == highest or not self.now():
            return right
        near = [right + d for d in (-2, -1, 1, 2, 10, -10) if lowest <= right + d <= highest]
        choices = near or [v for v in range(lowest, highest + 1) if v != right]
        return self.choose(choices)


def write_number(writer: Writer, right: int, slip: Slip | None, lowest: int, highest: int) -> int:
    """Write a computed value, slipped or not (a slip stays within the bounds), and return what was written."""
    value = right if slip is None else slip.value(right, lowest, highest)
    writer.write(str(value), learn=value == right)
    return value


def _pad(left: int, right: int) -> tuple[str, str]:
    width = max(len(str(left)), len(str(right)))
    return str(left).zfill(width), str(right).zfill(width)


def add(writer: Writer, left: int, right: int, slip: Slip | None = None) -> int:
    """Write left+right as a digit program; returns the written result."""
    a, b = _pad(left, right)
    writer.write(f"{a}+{b}:")
    accumulated, carry = "", 0
    for index in range(len(a) - 1, -1, -1):
        x, y = int(a[index]), int(b[index])
        writer.write(f"{x}+{y}{'+1' if carry else ''}=")
        total = write_number(writer, x + y + carry, slip, 0, 19)
        carry = total // 10
        accumulated = (str(total) if index == 0 else str(total % 10)) + accumulated
        writer.write(f",{accumulated}" + (";" if index else ""))
    writer.write("\n")
    return int(accumulated)


def subtract(writer: Writer, left: int, right: int, slip: Slip | None = None) -> int:
    """Write left-right (left >= right) as a digit program; returns the written result."""
    if left < right:
        raise ValueError("left must not be smaller than right")
    a, b = _pad(left, right)
    writer.write(f"{a}-{b}:")
    accumulated, borrow = "", 0
    for index in range(len(a) - 1, -1, -1):
        x, y = int(a[index]), int(b[index])
        lacks = x < y + borrow
        writer.write(f"{'1' if lacks else ''}{x}-{y}{'-1' if borrow else ''}=")
        digit = write_number(writer, x + 10 * lacks - y - borrow, slip, 0, 9)
        borrow = int(lacks)
        accumulated = str(digit) + accumulated
        writer.write(f",{accumulated}" + (";" if index else ""))
    writer.write(f"={int(accumulated)}\n")
    return int(accumulated)


def multiply_by_digit(writer: Writer, left: int, digit: int, slip: Slip | None = None) -> int:
    """Write left*digit (digit 0..9) as a digit program; returns the written result."""
    a = str(left)
    writer.write(f"{a}*{digit}:")
    accumulated, carry = "", 0
    for index in range(len(a) - 1, -1, -1):
        x = int(a[index])
        writer.write(f"{x}*{digit}{f'+{carry}' if carry else ''}=")
        total = write_number(writer, x * digit + carry, slip, 0, 89)
        carry = total // 10
        accumulated = (str(total) if index == 0 else str(total % 10)) + accumulated
        writer.write(f",{accumulated}" + (";" if index else ""))
    writer.write("\n")
    return int(accumulated)


def multiply(writer: Writer, left: int, right: int, slip: Slip | None = None) -> int:
    """Write left*right: one line a digit of `right`, then the lines that add the shifted products."""
    digits = str(right)
    if len(digits) == 1:
        return multiply_by_digit(writer, left, right, slip)
    total = 0
    for place, digit in enumerate(reversed(digits)):
        product = multiply_by_digit(writer, left, int(digit), slip) * 10**place
        total = product if place == 0 else add(writer, total, product, slip)
    return total


def divide_by_digit(writer: Writer, left: int, digit: int, slip: Slip | None = None) -> tuple[int, int]:
    """Write left/digit (digit 1..9) as short division; returns the written quotient and remainder."""
    writer.write(f"{left}/{digit}:")
    quotient, rest = "", 0
    text = str(left)
    for index, character in enumerate(text):
        chunk = rest * 10 + int(character)
        writer.write(f"{chunk}/{digit}=")
        q = write_number(writer, chunk // digit, slip, 0, 9)
        writer.write("r")
        if q == chunk // digit:
            rest = write_number(writer, chunk % digit, slip, 0, digit - 1)
        else:  # no honest remainder follows from a wrong quotient digit
            rest = max(0, min(chunk - q * digit, digit - 1))
            writer.write(str(rest), learn=False)
        quotient += str(q)
        writer.write(f",{quotient}" + (";" if index < len(text) - 1 else ""))
    writer.write(f"={int(quotient)}r{rest}\n")
    return int(quotient), rest


def compare(writer: Writer, left: int, right: int, slip: Slip | None = None) -> int:
    """Write the comparison digit by digit up to the first difference; returns the written -1, 0 or 1."""
    a, b = _pad(left, right)
    writer.write(f"{a}?{b}:")
    for index, (x, y) in enumerate(zip(a, b, strict=True)):
        if x != y:
            less = (x < y) != (slip is not None and slip.now())
            writer.write(x)
            writer.write("<" if less else ">", learn=less == (x < y))
            writer.write(f"{y}\n")
            return -1 if less else 1
        writer.write(f"{x}={y}" + ("," if index < len(a) - 1 else ""))
    writer.write("\n")
    return 0


def divide_long(
    writer: Writer, left: int, right: int, rng: random.Random, wrong_guesses: float, slip: Slip | None = None
) -> tuple[int, int]:
    """Write left/right (right of two digits or more): a guess a digit, multiplied, compared, subtracted, compared
    again; where the quotient begins is found by a comparison too.

    With probability `wrong_guesses` a guess is off by one (not learned), is found out by a comparison, and is made
    again. A slip falsifies a product or a remainder. Raises ValueError where a slip leads to a digit above 9.
    """
    writer.write(f"{left}/{right}\n")
    quotient, rest = "", 0
    text = str(left)
    for index, character in enumerate(text):
        chunk = rest * 10 + int(character)
        coming = f"'{text[index + 1 :]}" if index + 1 < len(text) else ""  # so that the next digit stands near
        if not quotient and (len(str(chunk)) < len(str(right)) or _too_small(writer, chunk, right)):
            rest = chunk
            continue
        best = min(chunk // right, 9)
        guess = best
        if chunk >= right and rng.random() < wrong_guesses:
            guess = rng.choice([g for g in (best - 1, best + 1) if 1 <= g <= 9] or [best])
        while True:
            writer.write(f"{chunk}{coming}:")
            writer.write(str(guess), learn=guess == best)
            writer.write(f",{quotient}{guess}\n")
            if guess == 0:
                rest = chunk
                break
            product = multiply_by_digit(writer, right, guess, slip)
            relation = compare(writer, product, chunk)
            if relation > 0:
                writer.write(f"{guess}-1={guess - 1}\n")
                guess -= 1
                continue
            if relation == 0:
                rest = 0
                break
            rest = subtract(writer, chunk, product, slip)
            if compare(writer, rest, right) < 0:
                break
            if guess == 9:
                raise ValueError(f"{chunk}/{right} has no digit")
            writer.write(f"{guess}+1={guess + 1}\n")
            guess += 1
        quotient += str(guess)
    quotient = quotient or "0"
    writer.write(f"={int(quotient)}r{rest}\n")
    return int(quotient), rest


def _too_small(writer: Writer, chunk: int, right: int) -> bool:
    """Whether the quotient cannot begin at this chunk, which has as many digits as the divisor; written out."""
    return len(str(chunk)) == len(str(right)) and compare(writer, chunk, right) < 0

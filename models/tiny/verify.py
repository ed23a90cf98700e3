"""Re-executes a thought from its text alone.

Every step is computed again and every verdict held against it, that of a reading too. Not looked at: whether an
expression is made of the numbers before it, what is carried from one step to the next, and the guesses of a long
division (their products and remainders are).

It shares no code with the digit programs that wrote the text.
"""

from __future__ import annotations

import re

_STEP = re.compile(r"^(1?\d)([+-])(\d)([+-]1)?=(\d+),(\d+)$")
_TIMES = re.compile(r"^(\d)\*(\d)(?:\+(\d))?=(\d+),(\d+)$")
_SHARE = re.compile(r"^(\d+)/(\d)=(\d)r(\d),(\d+)$")
_PAIR = re.compile(r"^(\d)([<>=])(\d)$")
_PROGRAM = re.compile(r"^(\d+)([-+*/?])(\d+):(.*)$")
_ADJUST = re.compile(r"^(\d)([+-])1=(\d+)$")
_AGREE = re.compile(r"^([\dr:<=>]+)~([\dr:<=>]+) (ok|no|合う|違う)$")
_CHECKS, _AGREED = ("Wait, check", "待て、検算"), ("ok", "合う")
_READ_AGAIN = re.compile(r"^(.+) (ok|no|合う|違う)$")
_TIME_SUM = re.compile(r"^(\d\d)\+(\d+)(\+1)?=(\d+)(?:-(60|24)=(\d+))?$")
_TIME_DIFFERENCE = re.compile(r"^(60\+|24\+)?(\d\d)-(\d+)(-1)?=(\d+)$")
_SCALED = re.compile(r"^(\d+)([*/])(\d+)$")
_RESULT = re.compile(r"^=(\d+)$")
_LIST = re.compile(r"^\d+(?:,\d+)+$")


def faults(thought: str) -> list[str]:
    """The lines of a thought that do not hold, in order; empty for a sound thought.

    A thought that repairs a planted slip has its slipped line among the faults and nothing after it; one that repairs
    a misreading has none, for each of its steps holds.
    """
    found: list[str] = []
    before = scaled = reading = ""
    lines = thought.splitlines()
    for index, line in enumerate(lines):
        again = _READ_AGAIN.match(line)
        reading = reading if index else line
        if again and index and lines[index - 1] in _CHECKS:
            if (again[1] == reading) != (again[2] in _AGREED):
                found.append(line)
            reading = again[1]
        elif not (_holds(line) and _follows(line, before, scaled)):
            found.append(line)
        before = line
        scaled = line if _SCALED.match(line) else scaled
    return found


def _follows(line: str, before: str, scaled: str) -> bool:
    """A line judged by what stands before it: the result of a factor, numbers put in order after a comparison."""
    result = _RESULT.match(line)
    if result:
        factor = _SCALED.match(scaled)
        if not factor:
            return False
        left, right = int(factor[1]), int(factor[3])
        return int(result[1]) == (left * right if factor[2] == "*" else left // right)
    compared = _PROGRAM.match(before)
    if _LIST.match(line) and compared and compared[2] == "?":
        numbers = [int(number) for number in line.split(",")]
        return numbers == sorted(numbers)
    return True


def _time(line: str) -> bool | None:
    """Whether a line of clock arithmetic holds; None for another line."""
    found = _TIME_SUM.match(line)
    if found:
        total = int(found[1]) + int(found[2]) + bool(found[3])
        if int(found[4]) != total:
            return False
        return not found[5] or (total >= int(found[5]) and int(found[6]) == total - int(found[5]))
    found = _TIME_DIFFERENCE.match(line)
    if not found:
        return None
    return int(found[5]) == int((found[1] or "0+")[:-1]) + int(found[2]) - int(found[3]) - bool(found[4])


def _holds(line: str) -> bool:
    step = _ADJUST.match(line)
    if step:
        return int(step[3]) == int(step[1]) + (1 if step[2] == "+" else -1)
    timed = _time(line)
    if timed is not None:
        return timed
    agree = _AGREE.match(line)
    if agree:
        return (agree[1] == agree[2]) == (agree[3] in _AGREED)
    program = _PROGRAM.match(line)
    if not program:
        return True
    left, sign, right, body = program.groups()
    if sign == "?":
        return _comparison(left, right, body)
    final = ""
    if sign in "-/":
        body, _, final = body.rpartition("=")
    steps = body.split(";")
    if not _STEPS[sign](left, right, steps):
        return False
    a, b = int(left), int(right)
    last = steps[-1].rsplit(",", 1)[-1]
    if sign == "+":
        return last == str(a + b).zfill(len(last))
    if sign == "-":
        return final == str(a - b)
    return int(last) == a * b if sign == "*" else final == f"{a // b}r{a % b}"


def _sum(left: str, right: str, steps: list[str]) -> bool:
    carry, accumulated = 0, ""
    if not len(left) == len(right) == len(steps):
        return False
    for index, step in enumerate(steps):
        found = _STEP.match(step)
        x, y = left[-1 - index], right[-1 - index]
        if not found or found[2] != "+" or (found[1], found[3]) != (x, y) or bool(found[4]) != bool(carry):
            return False
        total = int(x) + int(y) + carry
        carry = total // 10
        accumulated = (str(total) if index == len(left) - 1 else str(total % 10)) + accumulated
        if found[5] != str(total) or found[6] != accumulated:
            return False
    return True


def _difference(left: str, right: str, steps: list[str]) -> bool:
    borrow, accumulated = 0, ""
    if not len(left) == len(right) == len(steps):
        return False
    for index, step in enumerate(steps):
        found = _STEP.match(step)
        x, y = int(left[-1 - index]), int(right[-1 - index])
        digit = (x - y - borrow) % 10
        lacks = x < y + borrow
        accumulated = str(digit) + accumulated
        if not found or found[2] != "-" or bool(found[4]) != bool(borrow):
            return False
        if (int(found[1]), int(found[3])) != (x + 10 * lacks, y) or (int(found[5]), found[6]) != (digit, accumulated):
            return False
        borrow = int(lacks)
    return True


def _product(left: str, right: str, steps: list[str]) -> bool:
    carry, accumulated = 0, ""
    if len(left) != len(steps):
        return False
    for index, step in enumerate(steps):
        found = _TIMES.match(step)
        x = left[-1 - index]
        if not found or (found[1], found[2]) != (x, right) or int(found[3] or 0) != carry:
            return False
        total = int(x) * int(right) + carry
        carry = total // 10
        accumulated = (str(total) if index == len(left) - 1 else str(total % 10)) + accumulated
        if (int(found[4]), found[5]) != (total, accumulated):
            return False
    return True


def _quotient(left: str, right: str, steps: list[str]) -> bool:
    rest, accumulated, divisor = 0, "", int(right)
    if len(left) != len(steps) or divisor == 0:
        return False
    for digit, step in zip(left, steps, strict=True):
        found = _SHARE.match(step)
        chunk = rest * 10 + int(digit)
        accumulated += str(chunk // divisor)
        rest = chunk % divisor
        if not found or (int(found[1]), found[2]) != (chunk, right):
            return False
        if (int(found[3]), int(found[4]), found[5]) != (chunk // divisor, rest, accumulated):
            return False
    return True


def _comparison(left: str, right: str, body: str) -> bool:
    pairs = body.split(",")
    if len(left) != len(right) or len(pairs) > len(left):
        return False
    for index, pair in enumerate(pairs):
        found = _PAIR.match(pair)
        x, y = left[index], right[index]
        if not found or (found[1], found[3]) != (x, y) or found[2] != ("=" if x == y else "<" if x < y else ">"):
            return False
        if found[2] != "=":
            return index == len(pairs) - 1
    return len(pairs) == len(left)


_STEPS = {"+": _sum, "-": _difference, "*": _product, "/": _quotient}

"""Answers compared as mathematics by math-verify, and never for longer than a moment."""

from __future__ import annotations

import importlib
import re
import threading
from collections.abc import Callable
from typing import Final

from runtime.answers.matching import folded, is_correct

MOST_SECONDS: Final = 2.0
_COMPARING: Final = threading.Lock()
"""Mathematics is compared with all warnings off, for the whole process: by one thread at a time."""

_MOST_DIGITS: Final = 4
"""Of an exponent that is computed; of more the number may fill the memory."""
_HIGH_FACTORIAL: Final = re.compile(r"\d{4}[)}\]]*+!|![)}\]]*+!|(?:\^|\*\*)[^!]{0,200}[)}\]]!")
_POWER: Final = re.compile(r"\^|\*\*")
_NO_SIZE: Final = re.compile(r"\\(?:left|right|text|mathrm|displaystyle|boxed)\b|\\[,;:! ]|[\s,_$]")


def load() -> bool:
    """Import math-verify, which takes a second once; whether it is installed."""
    try:
        importlib.import_module("math_verify")
    except ImportError:
        return False
    return True


def equal_mathematics(one: str, other: str, seconds: float = MOST_SECONDS) -> bool:
    """Whether two answers are the same mathematics, in either direction; False too where math-verify is not installed,
    or is not done within `seconds`. May be called by any thread."""
    mine, theirs = _as_formula(one), _as_formula(other)

    def compare() -> bool:
        return is_correct(mine, theirs, "math") or is_correct(theirs, mine, "math")

    return load() and _in_time(compare, seconds, one, other)


def is_correct_in_time(answer: str, expected: str, check: str = "text", seconds: float = MOST_SECONDS) -> bool:
    """As `is_correct` of `matching`; False too where math-verify is not done within `seconds`. May be called by any
    thread. Raises MissingPackageError where mathematics should be compared and math-verify is not installed,
    UsageError for a `check` that is none."""
    if check != "math" or folded(answer) == folded(expected) or not load():
        return is_correct(answer, expected, check)
    return _in_time(lambda: is_correct(answer, expected, check), seconds, answer, expected)


def _as_formula(text: str) -> str:
    """`text` in the signs of mathematics, without which the package reads the last number in it alone."""
    return text if re.search(r"\$|\\[(\[]|\\boxed", text) else f"${text}$"


def fills_memory(text: str) -> bool:
    """Whether a number of millions of digits may be meant: a high power, a power in an exponent, a high factorial."""
    text = _NO_SIZE.sub("", text)
    exponents = [_group(text, power.end()) for power in _POWER.finditer(text)]
    if any(_digits(one) > _MOST_DIGITS or _POWER.search(one) or "!" in one for one in exponents):
        return True
    if re.search(r"[)}](?:\^|\*\*)", text) and sum(map(_digits, exponents)) > 2 * _MOST_DIGITS - 1:
        return True
    return _HIGH_FACTORIAL.search(text) is not None


def _digits(text: str) -> int:
    return sum(character.isdigit() for character in text)


def _group(text: str, start: int) -> str:
    """What an exponent that begins at `start` holds: all within its brackets, or up to the next sign, and a power that
    follows at once."""
    depth, end = 0, start
    for end in range(start, len(text)):
        depth += (text[end] in "{([") - (text[end] in "})]")
        if depth < 0 or (depth == 0 and end > start and text[end] in "+-*/=<>"):
            return text[start : end + 2] if text.startswith("**", end) else text[start:end]
        if depth == 0 and text[end] in "})]":
            return text[start : end + 3]
    return text[start : end + 1]


def _in_time(compare: Callable[[], bool], seconds: float, *texts: str) -> bool:
    """The verdict, if it comes within `seconds`. The package's own limits are signals, which only the main thread gets,
    so it is waited for from outside; what is not done by then is left to itself, and ends with the process. A number
    that fills the memory is not begun: one that is computed lets no other thread run, not even the one that waits."""
    if seconds <= 0.0 or any(map(fills_memory, texts)):
        return False
    found: list[bool] = []

    def work() -> None:
        try:
            found.append(compare())
        except Exception:  # of a foreign package, over any text: it could not be compared
            found.append(False)

    if not _COMPARING.acquire(timeout=seconds):
        return False
    try:
        worker = threading.Thread(target=work, name="mathematics", daemon=True)
        worker.start()
        worker.join(seconds)
    finally:
        _COMPARING.release()
    return bool(found and found[0])

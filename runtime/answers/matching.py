"""Whether an answer is the expected one."""

from __future__ import annotations

import contextlib
import importlib
import logging
import warnings
from collections.abc import Iterator
from typing import Final, Literal, get_args

from models.errors import MissingPackageError, UsageError

Check = Literal["text", "math"]
CHECKS: Final[tuple[str, ...]] = get_args(Check)


def folded(text: str) -> str:
    """`text` trimmed, in one case, runs of spaces folded to one."""
    return " ".join(text.split()).casefold()


def is_correct(answer: str, expected: str, check: str = "text") -> bool:
    """Compare after trimming, folding case and runs of spaces; with `math` also as mathematics (math-verify)."""
    if check not in CHECKS:
        raise UsageError(f"The check {check!r} is not known; there are {', '.join(CHECKS)}.")
    if folded(answer) == folded(expected):
        return True
    return check == "math" and _same_mathematics(answer, expected)


def _same_mathematics(answer: str, expected: str) -> bool:
    try:
        math_verify = importlib.import_module("math_verify")
    except ImportError as error:
        raise MissingPackageError(
            'Problems with "check": "math" need the package math-verify, which is not installed; '
            "install it with `make run EXTRAS=math` in Kangae's folder, or with `pip install math-verify`."
        ) from error
    with _quiet("math_verify"):
        gold, found = (math_verify.parse(text, parsing_timeout=None) for text in (expected, answer))
        return bool(math_verify.verify(gold, found, timeout_seconds=None))


@contextlib.contextmanager
def _quiet(logger_name: str) -> Iterator[None]:
    """Within it, that package's loggers and Python's warnings reach no terminal. math-verify warns that it runs without
    its timeouts, which is meant: they work in the main thread alone, and by a signal."""
    logger = logging.getLogger(logger_name)
    propagate, silent = logger.propagate, logging.NullHandler()
    logger.propagate = False
    logger.addHandler(silent)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.removeHandler(silent)
        logger.propagate = propagate

"""Problem files: one JSON object a line, `{"id", "question"[, "expected", ...]}`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from models.errors import UsageError
from runtime.answers.matching import CHECKS

EXAMPLE: Final = '{"id": "1", "question": "What is 47 * 8?"}'
"""What a line looks like."""
_MOST_BYTES = 256 << 20
_OPTIONS = ("schema", "limits", "tests", "test_limits")


@dataclass(frozen=True)
class Problem:
    """One line. `expected` None: nothing to compare with. `thinking` is a thought to go on from (`closed`: only the
    answer is wanted); `fields` holds the whole object, for grouping."""

    id: str
    question: str
    expected: str | None = None
    check: str = "text"
    thinking: str = ""
    closed: bool = False
    fields: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def verifier_options(self) -> dict[str, Any]:
        """What the line tells verifiers (see `runtime.verifiers.verifier.Case`)."""
        return {name: self.fields[name] for name in _OPTIONS if name in self.fields}


def parse_problem(line: str, number: int) -> Problem:
    """The problem on a line; raises UsageError that names the line."""
    where = f"Line {number}"
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where} is not JSON{_reason(line, error)}; each line is one object, as {EXAMPLE}") from error
    if not isinstance(value, dict):
        raise UsageError(f"{where} is JSON, but no object; each line is one, as {EXAMPLE}")
    question = value.get("question")
    if question is None:
        raise UsageError(f'{where} has no "question"; give it as text.')
    if not isinstance(question, str):
        raise UsageError(f'{where}: "question" is no text; give it in quotes.')
    if not question.strip():
        raise UsageError(f'{where}: "question" is empty; give some text.')
    expected = value.get("expected")
    if expected is not None and (isinstance(expected, bool) or not isinstance(expected, str | int | float)):
        raise UsageError(f'{where}: "expected" is neither text nor a number.')
    check, thinking, closed = value.get("check", "text"), value.get("thinking", ""), value.get("closed", False)
    if check not in CHECKS:
        raise UsageError(f'{where}: "check" is {check!r}; there are {", ".join(CHECKS)}.')
    if not isinstance(thinking, str) or not isinstance(closed, bool):
        raise UsageError(f'{where}: "thinking" must be text and "closed" true or false.')
    return Problem(
        id=_id(value, str(number)),
        question=question,
        expected=None if expected is None else str(expected),
        check=check,
        thinking=thinking,
        closed=closed,
        fields=MappingProxyType(value),
    )


def _reason(line: str, error: Exception) -> str:
    """Where it breaks, or what it is in the place of JSON."""
    if not isinstance(error, json.JSONDecodeError):
        return " (it is nested too deep, or holds too long a number)"
    if not line.strip().startswith(("{", "[")):
        return " but plain text"
    return f" ({error.msg} at column {error.colno}; an object stands on one line)"


def _id(value: Mapping[str, Any], default: str) -> str:
    given = value.get("id")
    return str(given) if isinstance(given, str | int) and not isinstance(given, bool) and given != "" else default


def read_lines(source: str) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers from 1; `-` is standard input. What is no UTF-8 becomes U+FFFD."""
    try:
        data = _bytes_of(source)
    except (OSError, ValueError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"The file {source} cannot be read ({reason}); check its name and permissions.") from error
    if len(data) > _MOST_BYTES:
        raise UsageError(f"The file {source} holds more than {_MOST_BYTES >> 20} MiB; split it.")
    for number, line in enumerate(data.decode("utf-8-sig", "replace").split("\n"), start=1):
        if line.strip():
            yield number, line


def _bytes_of(source: str) -> bytes:
    """At most one byte more than may be: an endless source must not fill the memory."""
    if source == "-":
        return sys.stdin.buffer.read(_MOST_BYTES + 1) if sys.stdin is not None else b""
    with open(Path(source).expanduser(), "rb") as file:
        return file.read(_MOST_BYTES + 1)


def require_problems(source: str, *, expected: bool = True) -> list[Problem]:
    """The problems of a file whose lines must all be good, as a benchmark's must; raises UsageError at a bad one."""
    problems = []
    for number, line in read_lines(source):
        problem = parse_problem(line, number)
        if expected and problem.expected is None:
            raise UsageError(f'The problem {problem.id} has no "expected"; a benchmark needs the right answer.')
        problems.append(problem)
    if not problems:
        raise UsageError(f"The file {source} is empty; each line is one object, as {EXAMPLE}")
    return problems

"""What the child of `runtime.verifiers.python_tests` does: run code and its unit tests within limits, and report.

It stands alone (the standard library only), because it is started isolated from this project's folders. The order
comes as one JSON object on standard input: `nonce`, `report` (a file descriptor), `blocks`, `tests`, `limits`. One JSON
line goes to the descriptor: the nonce, `count` of tests run, `failed` (a sentence, or empty), `fault` ("" or "tests").
"""

from __future__ import annotations

import json
import os
import resource
import sys
import traceback
import types
import unittest
from collections.abc import Mapping
from typing import Any


def main() -> None:
    """Take the order, run it, report, and end at once, whatever threads are left."""
    order = json.loads(sys.stdin.buffer.read())
    nonce, report = order["nonce"], int(order["report"])
    _limit_all(order["limits"])
    result = _run(order["blocks"], order["tests"])
    os.write(report, (json.dumps({"nonce": nonce, **result}) + "\n").encode())
    os._exit(0)


def _limit_all(limits: Mapping[str, int]) -> None:
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_CPU, limits["cpu_seconds"])
    _limit(resource.RLIMIT_AS, limits["memory_bytes"])
    _limit(resource.RLIMIT_DATA, limits["memory_bytes"])
    _limit(resource.RLIMIT_FSIZE, limits["file_bytes"])
    _limit(resource.RLIMIT_NOFILE, 64)
    _limit(resource.RLIMIT_NPROC, 1)  # no further processes and threads, where the system enforces it


def _limit(kind: int, value: int) -> None:
    """Lower a limit for good; one that the system does not know or does not lower stays."""
    try:
        _, hard = resource.getrlimit(kind)
        lowest = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # A second of CPU time between the signal and the kill tells the two apart.
        resource.setrlimit(kind, (lowest, lowest + 1 if kind == resource.RLIMIT_CPU else lowest))
    except (OSError, ValueError):
        return


def _run(blocks: list[str], tests: str) -> dict[str, Any]:
    module = types.ModuleType("answer")
    sys.modules["answer"] = module
    try:
        compiled = compile(tests, "tests", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return _result(0, f"{type(error).__name__}: {error}", "tests")
    try:
        for number, block in enumerate(blocks, 1):
            exec(compile(block, f"answer block {number}", "exec"), module.__dict__)
    except BaseException as error:
        return _result(0, f"the code itself fails ({_told(error)})")
    before = dict(module.__dict__)
    try:
        exec(compiled, module.__dict__)
    except BaseException as error:
        return _result(0, _told(error))
    added = {name: value for name, value in module.__dict__.items() if before.get(name) is not value}
    return _run_each(added)


def _run_each(added: Mapping[str, Any]) -> dict[str, Any]:
    """Run the functions `test…` and the `unittest` cases that the tests define."""
    count = 0
    for name, value in added.items():
        if name.startswith("test") and isinstance(value, types.FunctionType):
            count += 1
            try:
                value()
            except BaseException as error:
                return _result(count, f"{name}: {_told(error)}")
        elif isinstance(value, type) and issubclass(value, unittest.TestCase):
            outcome = unittest.TestResult()
            unittest.defaultTestLoader.loadTestsFromTestCase(value).run(outcome)
            count += outcome.testsRun
            for case, told in [*outcome.errors, *outcome.failures]:
                return _result(count, f"{str(case).split()[0]}: {told.strip().splitlines()[-1]}")
    return _result(count, "")


def _result(count: int, failed: str, fault: str = "") -> dict[str, Any]:
    return {"count": count, "failed": failed[:1000], "fault": fault}


def _told(error: BaseException) -> str:
    """The error's name and words, and the line of the tests or the answer where it arose."""
    places = [
        frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(("tests", "answer"))
    ]
    where = f", {places[-1].filename} line {places[-1].lineno}" if places else ""
    try:
        words = str(error)[:500]
    except Exception:
        words = ""
    return f"{type(error).__name__}{': ' + words if words else ''}{where}"


if __name__ == "__main__":
    main()

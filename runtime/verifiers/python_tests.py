"""Whether the Python code of an answer passes unit tests that the user gives.

The code runs in a child process of its own group, in an empty folder that is removed afterwards, with a bare
environment and limits on CPU time, memory, file size, open files, wall time and on what it may report; its output is
thrown away.
On Linux an ordinary user's child can start no further process; in any case the whole group is killed at the end. The
child ends by itself at its wall time, and on Linux with the process that waits for it.

This keeps honest mistakes (endless loops, endless lists, full disks) from doing harm. It is no sandbox against malice:
the code runs as the user, may read and delete what the user may, use the network, leave its process group where the
system lets it start processes, and forge the report by searching the memory that it shares with the tests. macOS does
not enforce the limit on memory. Run what nobody vouches for in a container or a virtual machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from models.errors import UsageError
from models.plain_text import shorten
from models.plural import counted
from runtime.verifiers.verifier import Case, Kind, Verdict

_CHILD: Final = Path(__file__).with_name("python_tests_child.py")
_MOST_CODE: Final = 200_000  # characters
_LEAST_SECONDS: Final = 0.2  # a child process takes about as long to start
_LOOK_EVERY: Final = 0.1  # seconds: whether somebody still waits for the verdict
_MOST_REPORT: Final = 65_536  # bytes
_FENCE: Final = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([A-Za-z0-9+#-]*)[^\n]*$")
_PYTHON: Final = frozenset({"python", "py", "python3"})


@dataclass(frozen=True)
class TestLimits:
    """What the code may take: seconds of computing, seconds by the clock, bytes of memory, bytes of each file."""

    __test__ = False  # for pytest, which takes a name like this for a test

    cpu_seconds: int = 5
    wall_seconds: float = 15.0
    memory_bytes: int = 512 << 20
    file_bytes: int = 1 << 20

    @classmethod
    def of(cls, given: Any) -> TestLimits:
        """From the option `test_limits`, None for the defaults; raises UsageError for what is none."""
        if given is None:
            return cls()
        if not isinstance(given, Mapping) or not set(given) <= set(asdict(cls())):
            raise UsageError(f'The option "test_limits" must be an object with any of {", ".join(asdict(cls()))}.')
        limits = cls(**given)
        for field, value in asdict(limits).items():
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not (whole or (field == "wall_seconds" and isinstance(value, float))) or not 0 < value < 1 << 50:
                raise UsageError(f'"{field}" of "test_limits" must be a number above 0.')
        return limits


class PythonTests:
    """Passes where the answer's Python code passes the option `tests`: Python source with `assert` lines, functions
    `test…` without arguments (coroutines too), methods `test…` of classes `Test…` or `unittest` cases, run in the
    namespace of the code.

    At least one assertion has to be made and to hold; a test that makes none does not count. A test that skips itself
    while it runs, or that holds though it is expected to fail, fails the case; those that are marked to be skipped or
    to fail are left out, and counted.
    """

    name = "python"
    kind: Kind = "truth"
    needs = "Python code that tests are given for"

    def applies(self, case: Case) -> bool:
        """Whether tests are given: nothing is ever run that the user gave no tests for."""
        return bool(case.options.get("tests"))

    def check(self, case: Case) -> Verdict:
        """The verdict, which names the first test that fails. Raises UsageError for tests that are no Python, or of
        which none shows anything."""
        tests, limits = case.options["tests"], TestLimits.of(case.options.get("test_limits"))
        if not isinstance(tests, str) or len(tests) > _MOST_CODE:
            raise UsageError(f'The option "tests" must be Python source of at most {_MOST_CODE} characters.')
        blocks = python_blocks(case.answer)
        if not blocks:
            return Verdict.of(self, False, "The answer holds no Python code; ask for it in a ```python block.")
        if sum(map(len, blocks)) > _MOST_CODE:
            return Verdict.of(self, False, f"The answer's code is longer than {_MOST_CODE} characters.")
        left, stopped = case.options.get("seconds_left"), case.options.get("stopped", _never)
        if left is None or left >= limits.wall_seconds:
            return Verdict.of(self, *_outcome(blocks, tests, limits, stopped))
        if left < _LEAST_SECONDS:
            return Verdict.of(self, False, "The deadline left no time to run the tests, so the answer was not judged.")
        passed, told = _outcome(blocks, tests, replace(limits, wall_seconds=left), stopped)
        if told == _late(left):
            told = (
                f"The tests did not end within the {left:.2g} s that the deadline left, so the answer was not judged."
            )
        return Verdict.of(self, passed, told)


def python_blocks(answer: str) -> list[str]:
    """The fenced blocks marked as Python; where none is marked, those without a mark; where nothing is fenced, an
    answer that reads like code as a whole. An open block at the end counts."""
    found: list[tuple[str, list[str]]] = []
    fence = ""
    for line in answer.splitlines():
        match = _FENCE.match(line)
        if fence and match and match[1].startswith(fence) and not match[2]:
            fence = ""
        elif fence:
            found[-1][1].append(line)
        elif match:
            fence = match[1]
            found.append((match[2].casefold(), []))
    if not found and re.search(r"^(?:def|class|import|from)\s+\w|^\w+\s*=\s*\S", answer, re.MULTILINE):
        return [answer]
    marked = [lines for language, lines in found if language in _PYTHON]
    plain = [lines for language, lines in found if not language]
    return ["\n".join(lines) + "\n" for lines in marked or plain]


def _never() -> bool:
    return False


def _outcome(blocks: list[str], tests: str, limits: TestLimits, stopped: Callable[[], bool]) -> tuple[bool, str]:
    """Whether the code passes, and what is told of it."""
    nonce = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="kangae-tests-", ignore_cleanup_errors=True) as folder:
        order = {"nonce": nonce, "blocks": blocks, "tests": tests, "limits": asdict(limits)}
        report, code = _run(folder, order, limits, stopped)
    if report is not None:
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            found = json.loads(report)
            if found["nonce"] == nonce:
                return _judged(str(found["failed"]), found["fault"], int(found["count"]), int(found["left_out"]))
    if code is None and stopped():
        return False, "The tests were interrupted, so the answer was not judged."
    return False, _ended(code, limits)


def _judged(failed: str, fault: str, count: int, left_out: int) -> tuple[bool, str]:
    """What the report of the child comes to. Raises UsageError where the tests are at fault."""
    failed = shorten(failed, 300)
    if fault == "tests":
        raise UsageError(f"The unit tests cannot judge any code ({failed}); correct them.")
    if failed:
        return False, f"A test fails: {failed}."
    beside = f" ({counted(left_out, 'test')} left out, as marked)" if left_out else ""
    if count < 1:
        raise UsageError(
            f"No unit test was run{beside}, so nothing was judged; give `assert` lines, or functions `test…`, alone or "
            "in classes, that assert something."
        )
    return True, f"The answer's code passes the tests{beside}."


def _ended(code: int | None, limits: TestLimits) -> str:
    if code is None:
        return _late(limits.wall_seconds)
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"The code was stopped: it took over {limits.cpu_seconds} s of computing, or more memory than there is."
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"exit code {code}"
    return f"The code ended ({name}) before its tests had run."


def _late(seconds: float) -> str:
    return f"The code and its tests did not end within {seconds:g} s, and were stopped."


def _run(
    folder: str, order: Mapping[str, Any], limits: TestLimits, stopped: Callable[[], bool]
) -> tuple[bytes | None, int | None]:
    """Run the child; its report, None without one, and its exit status, None where it was stopped."""
    deadline = time.monotonic() + limits.wall_seconds
    reading, writing = os.pipe()
    try:
        child = subprocess.Popen(
            [sys.executable, "-I", "-B", str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=_environment(folder),
            pass_fds=(writing,),
            start_new_session=True,
        )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    try:
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError), child.stdin as stream:
            stream.write(json.dumps({**order, "report": writing, "parent": os.getpid()}).encode())
        report = _first_line(reading, deadline, stopped)
        with contextlib.suppress(subprocess.TimeoutExpired):
            left = 0.0 if stopped() else max(deadline - time.monotonic(), 0.0)
            child.wait(left if report is None else 1.0)
        return report, child.poll()
    finally:
        os.close(reading)
        # The group outlives its leader where the code started processes of its own.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _first_line(descriptor: int, deadline: float, stopped: Callable[[], bool]) -> bytes | None:
    """The first line that comes, None at the deadline, where it is stopped, at the end, or where it is too long."""
    found = b""
    while b"\n" not in found:
        left = deadline - time.monotonic()
        if left <= 0 or stopped():
            return None
        if not select.select([descriptor], [], [], min(left, _LOOK_EVERY))[0]:
            continue
        part = os.read(descriptor, 4096)
        found += part
        if not part or len(found) > _MOST_REPORT:
            return None
    return found.partition(b"\n")[0]


def _environment(folder: str) -> dict[str, str]:
    """No secrets of the user's environment, and numerical libraries on one thread: each would reserve memory."""
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    return {"PATH": os.defpath, "HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8", "PYTHONUTF8": "1", **threads}

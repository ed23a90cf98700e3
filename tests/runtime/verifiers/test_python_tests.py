"""An answer's code against unit tests: what passes, what fails, and that nothing outlives its limits."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from models.errors import UsageError
from runtime.verifiers.python_tests import PythonTests, python_blocks
from runtime.verifiers.verifier import Case, Verdict

TESTS = "def test_square():\n    assert square(3) == 9\n    assert square(-2) == 4\n"
RIGHT = "def square(x):\n    return x * x\n"


def judged(code: str, tests: str = TESTS, **limits: Any) -> Verdict:
    case = Case("q", f"こうです:\n```python\n{code}\n```\n", options={"tests": tests, "test_limits": limits or None})
    assert PythonTests().applies(case)
    return PythonTests().check(case)


def test_blocks_of_code() -> None:
    assert python_blocks("a\n```python\nx = 1\n```\nb\n~~~py\ny = 2\n~~~\n```sh\nls\n```") == ["x = 1\n", "y = 2\n"]
    assert python_blocks("```\nx = 1\n```") == ["x = 1\n"]
    assert python_blocks("```python\nx = 1") == ["x = 1\n"]
    assert python_blocks("def f():\n    return 1") == ["def f():\n    return 1"]
    assert python_blocks("It is 3.") == []
    assert python_blocks("答えは3です。") == []


def test_without_tests_nothing_is_run() -> None:
    assert not PythonTests().applies(Case("q", f"```python\n{RIGHT}```"))


@pytest.mark.parametrize(
    "tests",
    [
        TESTS,
        "assert square(3) == 9",
        "import unittest\nclass Squares(unittest.TestCase):\n    def test_one(self): self.assertEqual(square(1), 1)\n",
    ],
)
def test_right_code_passes_and_wrong_code_fails(tests: str) -> None:
    assert judged(RIGHT, tests).passed
    found = judged("def square(x):\n    return x + x + 7\n", tests)
    assert not found.passed
    assert "Error" in found.detail


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("def square(x: return", "SyntaxError"),
        ("x = 1", "NameError"),
        ("import os\nos._exit(0)", "before its tests"),
        ("raise SystemExit(0)", "SystemExit"),
        ("input()", "EOFError"),
        ("square = [0] * 10**11", "MemoryError"),
        ("import os\nos.write(int(max(os.listdir('/dev/fd'), key=int)), b'{}\\n')\nos._exit(0)", "code"),
        ("print('x' * 10**7)\nraise ValueError('y' * 10**6)", "ValueError"),
        ("def square(x):\n    return square(x)", "RecursionError"),
    ],
)
def test_code_that_breaks_down_fails_and_says_how(code: str, names: str) -> None:
    found = judged(code)
    assert not found.passed
    assert names in found.detail
    assert len(found.detail) < 500


CASE = "import unittest\nclass A(unittest.TestCase):\n"
WAITING = "import unittest\nclass A(unittest.IsolatedAsyncioTestCase):\n"
ONE = "def f(): return 1\n"


@pytest.mark.parametrize(
    ("tests", "names"),
    [
        ("class TestF:\n    def test_a(self): assert f() == 2", "TestF.test_a: AssertionError"),
        ("class TestF:\n    async def test_a(self): assert f() == 2", "TestF.test_a: AssertionError"),
        (
            "class TestF:\n    def setup_method(self): raise OSError\n    def test_a(self): pass",
            "setup_method: OSError",
        ),
        ("async def test_a(): assert f() == 2", "test_a: AssertionError"),
        ("def check(): assert f() == 2\ncheck()", "AssertionError"),
        (CASE + "    async def test_a(self): assert f() == 2", "test_a: AssertionError"),
        (WAITING + "    async def test_a(self): assert f() == 2", "test_a: AssertionError"),
        (CASE + "    def setUp(self): self.skipTest('別の日')\n    def test_a(self): pass", "skipped itself (別の日)"),
        ("import unittest\ndef test_a(): raise unittest.SkipTest('later')", "skipped itself (later)"),
        (CASE + "    @unittest.expectedFailure\n    def test_a(self): assert f() == 1", "expected to fail"),
        (CASE + "    def test_a(self):\n        with self.subTest(): assert f() == 2", "test_a: AssertionError"),
    ],
)
def test_every_form_of_test_is_run_and_nothing_but_success_passes(tests: str, names: str) -> None:
    found = judged(ONE, tests)
    assert not found.passed
    assert names in found.detail


@pytest.mark.parametrize(
    ("tests", "left_out"),
    [
        ("class TestF:\n    def setup_method(self): self.one = 1\n    def test_a(self): assert f() == self.one", 0),
        ("class TestF:\n    async def test_a(self): assert f() == 1", 0),
        ("async def test_a(): assert f() == 1", 0),
        ("def check(): assert f() == 1\ncheck()", 0),
        ("import unittest\nunittest.TestCase().assertEqual(f(), 1)", 0),
        ("def check(): assert f() == 1\ndef test_a(): check()", 0),
        ("def test_a():\n    if f() != 1: raise AssertionError", 0),
        (
            "def test_a():\n    try:\n        f(1)\n        raise AssertionError\n    except TypeError: pass",
            0,
        ),
        (CASE + "    def test_a(self):\n        with self.assertRaises(TypeError): f(1)", 0),
        (CASE + "    async def test_a(self): assert f() == 1", 0),
        (WAITING + "    async def test_a(self): assert f() == 1", 0),
        (CASE + "    @unittest.skip('later')\n    def test_b(self): assert f() == 2\nassert f() == 1", 1),
    ],
)
def test_every_form_of_test_passes_right_code(tests: str, left_out: int) -> None:
    beside = f" ({left_out} test left out, as marked)" if left_out else ""
    found = judged(ONE, tests)
    assert (found.passed, found.detail) == (True, f"The answer's code passes the tests{beside}.")


@pytest.mark.parametrize(
    ("tests", "names"),
    [
        ("pass", "No unit test was run,"),
        ("# 何もしない", "No unit test was run,"),
        ("assert True", "No unit test was run,"),
        ("def test_a(): pass", "No unit test was run,"),
        ("def test_a(): f()", "No unit test was run,"),
        ("class TestF:\n    def test_a(self): pass", "No unit test was run,"),
        (CASE + "    def test_a(self): pass", "No unit test was run,"),
        ("def check(): assert f() == 2", "No unit test was run,"),
        ("if False:\n    assert f() == 2", "No unit test was run,"),
        ("try:\n    assert f() == 2\nexcept AssertionError:\n    pass", "No unit test was run,"),
        ("class Helper:\n    def test_a(self): assert f() == 2", "No unit test was run,"),
        ("class TestF:\n    def check(self): assert f() == 2", "No unit test was run,"),
        ("import unittest\n@unittest.skip('later')\ndef test_a(): assert f() == 2", "1 test left out"),
        (CASE + "    @unittest.expectedFailure\n    def test_a(self): assert f() == 2", "1 test left out"),
        ("class TestF:\n    def __init__(self): pass\n    def test_a(self): assert f() == 2", "__init__"),
        ("def test_a(): return f() == 2", "test_a returns a value"),
        (CASE + "    def test_a(self): return f() == 2", "A.test_a returns a value"),
        ("def test_a():\n    yield\n    assert f() == 2", "test_a yields"),
        ("def test_a(x): assert f() == 2", "takes arguments"),
        ("assert (f() == 2, 'no')", "line 1 asserts a tuple"),
    ],
)
def test_tests_that_show_nothing_are_the_users_error(tests: str, names: str) -> None:
    with pytest.raises(UsageError) as caught:
        judged(ONE, tests)
    assert names in caught.value.detail


def test_files_stay_small_and_in_a_folder_that_is_removed(tmp_path: Path) -> None:
    found = judged("import os\nopen('here', 'wb').write(b'x' * 5_000_000)")
    assert not found.passed
    assert "File too large" in found.detail
    told = judged("import os\nraise ValueError(os.getcwd())").detail
    folder = told.split("ValueError: ")[1].split(",")[0]
    assert "kangae-tests-" in folder
    assert not Path(folder).exists()


def test_the_users_environment_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "hunter2")
    assert judged(RIGHT, "import os\nassert 'A_SECRET' not in os.environ").passed


@pytest.mark.parametrize("code", ["while True: pass", "import time\ntime.sleep(60)"])
def test_what_does_not_end_is_stopped(code: str) -> None:
    found = judged(code, cpu_seconds=1, wall_seconds=2.0)
    assert not found.passed
    assert "stopped" in found.detail  # it did not come to its tests, which would have passed or failed


def test_processes_that_the_code_leaves_behind_are_killed(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code = (
        "import os, subprocess, sys\n"
        f"held = os.open({str(pipe)!r}, os.O_WRONLY)\n"
        "os.write(held, b'held')\n"
        "try:\n"
        "    subprocess.Popen([sys.executable, '-I', '-S', '-c', 'import time; time.sleep(600)'], pass_fds=(held,))\n"
        "    os.write(held, b' by two')\n"
        "except OSError:\n"
        "    os.write(held, b' by one')  # the system refuses it a process\n"
    )
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert judged(code + RIGHT).passed
        assert _read_to_the_end(reading) in (b"held by two", b"held by one")
    finally:
        os.close(reading)


@pytest.mark.parametrize(
    ("unbound", "seconds"),
    [
        pytest.param("", 600.0, marks=pytest.mark.skipif(sys.platform != "linux", reason="only Linux binds it so")),
        ("import ctypes\nif sys.platform == 'linux': ctypes.CDLL(None).prctl(1, 0)\n", 3.0),
    ],
    ids=["with its parent", "at its limit"],
)
def test_code_that_nobody_waits_for_any_more_ends_by_itself(tmp_path: Path, unbound: str, seconds: float) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code = (
        f"import os, sys, time\n{unbound}held = os.open({str(pipe)!r}, os.O_WRONLY)\nos.write(held, b'held')\n"
        "while True: time.sleep(600)\n"
    )
    limits = {"wall_seconds": seconds, "cpu_seconds": 60}
    answer, options = f"```python\n{code}```", {"tests": TESTS, "test_limits": limits}
    leaving = (
        "import sys, threading\n"
        "from runtime.verifiers.python_tests import PythonTests\n"
        "from runtime.verifiers.verifier import Case\n"
        f"case = Case('q', {answer!r}, options={options!r})\n"
        "threading.Thread(target=PythonTests().check, args=(case,), daemon=True).start()\n"
        "sys.stdin.read()\n"
    )
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with subprocess.Popen([sys.executable, "-c", leaving], stdin=subprocess.PIPE) as judge:
            assert select.select([reading], [], [], 60)[0]
            judge.kill()
        assert _read_to_the_end(reading) == b"held"
    finally:
        os.close(reading)


def _read_to_the_end(pipe: int) -> bytes:
    """What was written; it ends where no process holds the other end any more, which is waited for."""
    found = b""
    while True:
        assert select.select([pipe], [], [], 60)[0], f"a process still holds the pipe, after {found!r}"
        part = os.read(pipe, 100)
        if not part:
            return found
        found += part


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"tests": "def test(:"}, "cannot judge any code .SyntaxError"),
        ({"tests": 5}, "must be Python source"),
        ({"tests": "pass", "test_limits": {"cpu": 1}}, "test_limits"),
        ({"tests": "pass", "test_limits": {"cpu_seconds": 0}}, "cpu_seconds"),
        ({"tests": "pass", "test_limits": {"wall_seconds": "long"}}, "wall_seconds"),
    ],
)
def test_faulty_options_are_the_users_error(options: dict[str, Any], names: str) -> None:
    with pytest.raises(UsageError, match=names):
        PythonTests().check(Case("q", f"```python\n{RIGHT}```", options=options))


@pytest.mark.parametrize("answer", ["", "答えは3です。", "```sh\nls\n```"])
def test_an_answer_without_code_fails(answer: str) -> None:
    found = PythonTests().check(Case("q", answer, options={"tests": TESTS}))
    assert not found.passed
    assert "no Python code" in found.detail


def under_deadline(code: str, seconds: float, **limits: Any) -> Verdict:
    options = {"tests": TESTS, "test_limits": limits or None, "seconds_left": seconds}
    return PythonTests().check(Case("q", f"```python\n{code}\n```\n", options=options))


def test_a_deadline_bounds_the_tests_and_what_it_stops_was_not_judged() -> None:
    endless = "while True: pass\n"
    assert under_deadline(RIGHT, 60.0).passed
    assert under_deadline(endless, 60.0, wall_seconds=0.5).detail == (
        "The code and its tests did not end within 0.5 s, and were stopped."
    )
    stopped = under_deadline(endless, 0.5)
    assert not stopped.passed
    assert stopped.detail == (
        "The tests did not end within the 0.5 s that the deadline left, so the answer was not judged."
    )


def test_tests_that_nobody_waits_for_end_at_once_and_were_not_judged(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    code = f"open({str(mark)!r}, 'w').close()\nwhile True: pass\n"
    options = {"tests": TESTS, "test_limits": {"wall_seconds": 60.0, "cpu_seconds": 60}, "stopped": mark.exists}
    found = PythonTests().check(Case("q", f"```python\n{code}\n```\n", options=options))
    assert not found.passed
    assert found.detail == "The tests were interrupted, so the answer was not judged."


@pytest.mark.parametrize("seconds", [0.1, 0.0, -3.0])
def test_without_time_nothing_is_run_and_nothing_passes(seconds: float, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    found = under_deadline(f"open({str(mark)!r}, 'w')\n{RIGHT}", seconds)
    assert not found.passed and "no time to run the tests, so the answer was not judged" in found.detail
    assert not mark.exists()

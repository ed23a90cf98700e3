"""What the child of `runtime.verifiers.python_tests` does: run code and its unit tests within limits, and report.

It stands alone (the standard library only), because it is started isolated from this project's folders. The order
comes as one JSON object on standard input: `nonce`, `report` (a file descriptor), `parent` (the process that waits for
the report), `blocks`, `tests`, `limits`. One JSON line goes to the descriptor: the nonce, `count` of assertions that
held, `left_out`: how many tests are marked to be skipped, `failed` (a sentence, or empty), `fault` ("" or "tests": what
failed is a fault of the tests themselves).
"""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import json
import os
import resource
import signal
import sys
import traceback
import types
import unittest
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_HELD = "__kangae_held__"
_LONGEST = 1e8  # seconds: no system's timer refuses them
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main() -> None:
    """Take the order, run it, report, and end at once, whatever threads are left."""
    order = json.loads(sys.stdin.buffer.read())
    nonce, report = order["nonce"], int(order["report"])
    _end_with(order["parent"], order["limits"]["wall_seconds"])
    _limit_all(order["limits"])
    result = _run(order["blocks"], order["tests"])
    os.write(report, (json.dumps({"nonce": nonce, **result}) + "\n").encode())
    os._exit(0)


def _end_with(parent: int, seconds: float) -> None:
    """See to it that this process outlives neither its limit nor, on Linux, the process that waits for its report: who
    is gone kills nobody. Code that sets an alarm of its own lifts the limit here, not where it is waited for."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    signal.setitimer(signal.ITIMER_REAL, min(seconds, _LONGEST))
    if sys.platform == "linux":
        with contextlib.suppress(ImportError, OSError, AttributeError):
            import ctypes  # only here: a Python may be built without it

            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it went before it could be bound to
        os._exit(1)


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


class _Faulty(Exception):
    """A test that would show nothing, however right the code is."""


class _Failed(Exception):
    """A test failed: what is told of it."""


def _run(blocks: list[str], tests: str) -> dict[str, Any]:
    module = types.ModuleType("answer")
    sys.modules["answer"] = module
    tally = _Tally()
    try:
        compiled = compile(_counting(tests), "tests", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return tally.result(f"{type(error).__name__}: {error}", "tests")
    try:
        for number, block in enumerate(blocks, 1):
            exec(compile(block, f"answer block {number}", "exec"), module.__dict__)
    except BaseException as error:
        return tally.result(f"the code itself fails ({_told(error)})")
    module.__dict__[_HELD] = tally.held
    before = dict(module.__dict__)
    try:
        exec(compiled, module.__dict__)
    except BaseException as error:
        return tally.result(_told(error))
    try:
        for name, value in module.__dict__.copy().items():
            if before.get(name) is not value:
                _run_one(name, value, tally)
    except _Faulty as fault:
        return tally.result(str(fault), "tests")
    except _Failed as failure:
        return tally.result(str(failure))
    return tally.result("")


class _Tally(unittest.TestResult):
    """What ran so far. As a result of `unittest` it raises what a case shows, once that case is over."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        self._left_out = 0
        self._fault: Exception | None = None

    def held(self) -> None:
        """An assertion was made, and held. A test that makes none shows nothing, so it does not count."""
        self._count += 1

    def leave_out(self) -> None:
        """A test that is marked to be skipped: no code can make it hold or fail."""
        self._left_out += 1

    def result(self, failed: str, fault: str = "") -> dict[str, Any]:
        """The report."""
        return {"count": self._count, "left_out": self._left_out, "failed": failed[:1000], "fault": fault}

    def raise_fault(self) -> None:
        """Raise the first of what the cases so far showed, if it is no success."""
        if self._fault is not None:
            raise self._fault

    def addError(self, test: Any, err: Any) -> None:
        self._note(_Faulty(str(err[1])) if isinstance(err[1], _Faulty) else _Failed(f"{_name(test)}: {_told(err[1])}"))

    def addFailure(self, test: Any, err: Any) -> None:
        self.addError(test, err)

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        if err is not None:
            self.addError(test, err)

    def addSkip(self, test: Any, reason: str) -> None:
        method = getattr(test, str(getattr(test, "_testMethodName", "")), None)
        if _marked(type(test)) or _marked(method):
            self.leave_out()
        else:
            self._note(_skipped(_name(test), reason))

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        """It shows that the code does not do something, not that it is right."""
        self.leave_out()

    def addUnexpectedSuccess(self, test: Any) -> None:
        self._note(_Failed(f"{_name(test)}: it holds, though it is expected to fail"))

    def _note(self, fault: Exception) -> None:
        self._fault = self._fault or fault


def _name(test: Any) -> str:
    return str(test).split()[0]


def _marked(test: Any) -> bool:
    return bool(getattr(test, "__unittest_skip__", False))


def _skipped(name: str, reason: object) -> _Failed:
    return _Failed(f"{name}: it skipped itself ({reason}), so it shows nothing")


def _counting(tests: str) -> ast.Module:
    """The tests, which tell each `assert` line that held, each call of an `assert…` function that came back, each block
    `with raises(…)` or `with assertRaises(…)`, and each `if` or `try` that was left without its `raise AssertionError`
    or `fail()`. Raises SyntaxError also for an assertion that can never fail."""
    tree: ast.Module = _Counting().visit(ast.parse(tests, "tests"))
    return ast.fix_missing_locations(tree)


class _Counting(ast.NodeTransformer):
    def visit_Assert(self, node: ast.Assert) -> list[ast.stmt]:
        if isinstance(node.test, ast.Tuple) and node.test.elts:
            raise SyntaxError(f"line {node.lineno} asserts a tuple, which always holds; leave its brackets out")
        if isinstance(node.test, ast.Constant) and node.test.value:
            return [node]  # `assert True` shows nothing
        return [node, _told_held(node)]

    def visit_Expr(self, node: ast.Expr) -> ast.stmt | list[ast.stmt]:
        return [node, _told_held(node)] if _called(node.value).startswith("assert") else node

    def visit_With(self, node: ast.With) -> ast.stmt | list[ast.stmt]:
        self.generic_visit(node)
        names = [_called(item.context_expr) for item in node.items]
        asserts = any(name.startswith("assert") or name in ("raises", "warns") for name in names)
        return [node, _told_held(node)] if asserts else node

    def visit_AsyncWith(self, node: ast.AsyncWith) -> ast.stmt | list[ast.stmt]:
        return self.visit_With(node)  # type: ignore[arg-type]  # the same fields

    def visit_If(self, node: ast.If) -> ast.stmt | list[ast.stmt]:
        self.generic_visit(node)
        constant = isinstance(node.test, ast.Constant)
        return [node, _told_held(node)] if not constant and _fails([*node.body, *node.orelse]) else node

    def visit_Try(self, node: ast.Try) -> ast.stmt | list[ast.stmt]:
        self.generic_visit(node)
        return [node, _told_held(node)] if _fails([*node.body, *node.orelse]) else node


def _called(node: ast.expr) -> str:
    """The last name of what is called, or waited for; empty for anything else."""
    node = node.value if isinstance(node, ast.Await) else node
    called = node.func if isinstance(node, ast.Call) else None
    return called.attr if isinstance(called, ast.Attribute) else str(getattr(called, "id", ""))


def _fails(body: Sequence[ast.stmt]) -> bool:
    """Whether one of the statements fails the test."""
    return any(
        (isinstance(one, ast.Expr) and _called(one.value) == "fail")
        or (isinstance(one, ast.Raise) and "AssertionError" in ast.dump(one))
        for one in body
    )


def _told_held(node: ast.stmt) -> ast.stmt:
    call = ast.Call(ast.Name(_HELD, ast.Load()), [], [])
    return ast.copy_location(ast.Expr(call), node)


def _run_one(name: str, value: Any, tally: _Tally) -> None:
    """Run what the tests define by this name, if it is a test. Raises _Failed and _Faulty."""
    if isinstance(value, types.FunctionType):
        if name.startswith("test"):
            _call(name, value, tally)
    elif isinstance(value, type) and value.__module__.partition(".")[0] != "unittest":
        if issubclass(value, unittest.TestCase):
            _run_case(value, tally)
        elif name.startswith("Test") and getattr(value, "__test__", True):
            _run_class(name, value, tally)


def _run_case(case: type[unittest.TestCase], tally: _Tally) -> None:
    names = unittest.defaultTestLoader.getTestCaseNames(case)
    for name in names:
        method = inspect.getattr_static(case, name)
        waits_itself = issubclass(case, unittest.IsolatedAsyncioTestCase) and inspect.iscoroutinefunction(method)
        if isinstance(method, types.FunctionType) and not waits_itself:
            setattr(case, name, _to_its_end(f"{case.__name__}.{name}", method))
    try:
        unittest.TestSuite(map(case, names)).run(tally)
    except BaseException as error:  # unittest lets a KeyboardInterrupt through
        raise _Failed(f"{case.__name__}: {_told(error)}") from error
    tally.raise_fault()


def _run_class(name: str, kind: type, tally: _Tally) -> None:
    """The methods `test…` of a class that is no case of `unittest`, as pytest runs them: each on an object of its own,
    between `setup_method` and `teardown_method`, all between `setup_class` and `teardown_class`."""
    tests = [one for one in dir(kind) if one.startswith("test") and callable(getattr(kind, one))]
    if not tests:
        return
    if _marked(kind):
        for _ in tests:
            tally.leave_out()
        return
    if inspect.getattr_static(kind, "__init__") is not inspect.getattr_static(object, "__init__"):
        raise _Faulty(f"the class {name} has an __init__, so its tests are not run; use setup_method")
    _hook(f"{name}.setup_class", getattr(kind, "setup_class", None), kind)
    for one in tests:
        made = kind()
        method = getattr(made, one)
        _hook(f"{name}.setup_method", getattr(made, "setup_method", None), method)
        try:
            _call(f"{name}.{one}", method, tally)
        finally:
            _hook(f"{name}.teardown_method", getattr(made, "teardown_method", None), method)
    _hook(f"{name}.teardown_class", getattr(kind, "teardown_class", None), kind)


def _hook(name: str, hook: Callable[..., Any] | None, about: Any) -> None:
    if hook is None:
        return
    try:
        given = [about] if inspect.signature(hook).parameters else []
        _to_its_end(name, hook)(*given)
    except _Faulty:
        raise
    except BaseException as error:
        raise _Failed(f"{name}: {_told(error)}") from error


def _call(name: str, test: Callable[..., Any], tally: _Tally) -> None:
    if _marked(test):
        tally.leave_out()
        return
    try:
        inspect.signature(test).bind()
    except TypeError as error:
        raise _Faulty(f"{name} takes arguments, which nothing gives it ({error})") from error
    try:
        _to_its_end(name, test)()
    except _Faulty:
        raise
    except unittest.SkipTest as skip:
        raise _skipped(name, skip) from skip
    except BaseException as error:
        raise _Failed(f"{name}: {_told(error)}") from error


def _to_its_end(name: str, test: Callable[..., Any]) -> Callable[..., None]:
    """A test that is run whole: a coroutine is waited for. It raises _Faulty where the test returns anything, for then
    nothing was asserted of that, or yields, for then it was not even begun."""

    @functools.wraps(test)
    def run(*given: Any) -> None:
        found = test(*given)
        if inspect.iscoroutine(found):
            import asyncio  # only here: it takes a while

            found = asyncio.run(found)
        if inspect.isgenerator(found) or inspect.isasyncgen(found):
            raise _Faulty(f"{name} yields, so nothing in it is run")
        if found is not None:
            raise _Faulty(f"{name} returns a value and nothing looks at it; assert it")

    return run


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

"""Mathematics that is compared within a moment, or not at all: with a stand-in for math-verify where its pace or its
faults are tested, and with math-verify itself where the extra `math` is installed."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from types import ModuleType

import pytest

from models.errors import MissingPackageError, UsageError
from runtime.answers.mathematics import equal_mathematics, is_correct_in_time


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """In the place of math-verify: one half is equal to itself, however it is written."""
    module = ModuleType("math_verify")
    module.__dict__["parse"] = lambda text, parsing_timeout: text.strip("$")
    module.__dict__["verify"] = lambda gold, found, timeout_seconds: {gold, found} <= {"1/2", "0.5"}
    monkeypatch.setitem(sys.modules, "math_verify", module)
    return module


@pytest.fixture
def endless(package: ModuleType) -> Iterator[threading.Event]:
    begun, done = threading.Event(), threading.Event()

    def verify(gold: str, found: str, timeout_seconds: object) -> bool:
        begun.set()
        return done.wait(60)

    package.__dict__["verify"] = verify
    yield begun
    done.set()


def test_the_expected_value_in_another_writing_is_correct(package: ModuleType) -> None:
    assert is_correct_in_time("1/2", "0.5", "math") and not is_correct_in_time("1/3", "0.5", "math")
    assert not is_correct_in_time("1/2", "0.5", "text")
    with pytest.raises(UsageError, match="not known"):
        is_correct_in_time("1/2", "0.5", "maths")


def test_what_is_not_done_in_time_is_not_correct_and_holds_nobody_up(endless: threading.Event) -> None:
    assert not is_correct_in_time("1/2", "0.5", "math", seconds=0.05)
    assert endless.wait(20)
    assert is_correct_in_time("0.5", "0.5", "math", seconds=0.05)


@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{10^{10^{10}}}", "10**10**10", r"2^{3000000000}", "2^(10^9)", "9^9^9", r"10^{1,000,000}", "(10^9)!",
        "100000!", "9!!", r"2^{\left(10^{9}\right)}", r"10^{\text{}99999}",
        "(10^9999)^9999", "2^{5!}", "2^{3}^{4}", r"10^{99 \cdot 999}",
    ],
)  # fmt: skip
def test_a_number_that_fills_the_memory_is_not_begun(text: str, endless: threading.Event) -> None:
    assert not equal_mathematics(text, "3", seconds=0.01)
    assert not endless.is_set()


@pytest.mark.parametrize(
    "text",
    ["x^2 + 3x", r"10^{12}", r"\frac{x^{2}}{y^{3}}", "x^2*y^3 + 12345", "5! + 3", "(x^2)^3", "2^{n} + 2^{m}", "e^{2x}"],
)
def test_usual_powers_are_compared(text: str, endless: threading.Event) -> None:
    assert not equal_mathematics(text, "3", seconds=0.01)
    assert endless.wait(20)


@pytest.mark.parametrize("text", ["3 + 4i", r"\frac{1}{2}"])
def test_bare_formulas_are_given_as_formulas(text: str, package: ModuleType) -> None:
    read: list[str] = []
    package.__dict__["parse"] = lambda text, parsing_timeout: read.append(text)
    equal_mathematics(text, r"\boxed{3}")
    assert set(read) == {f"${text}$", r"\boxed{3}"}


def test_a_fault_of_the_package_is_no_verdict(package: ModuleType) -> None:
    def broken(gold: str, found: str, timeout_seconds: object) -> bool:
        raise RecursionError("too deep")

    package.__dict__["verify"] = broken
    assert not equal_mathematics("1/2", "0.5")


@pytest.mark.parametrize(
    ("expected", "answer", "same"),
    [
        ("1/2", "0.5", True),
        (r"$\frac{3}{4}$", r"The answer is \boxed{0.75}.", True),
        ("$x^2 + 2x + 1$", "$(x+1)^2$", True),
        ("12,345", "12345", True),
        ("1/2", "1/3", False),
        ("$x^2$", "$x^3$", False),
        ("7", "There is no answer.", False),
    ],
)
def test_math_verify_itself(expected: str, answer: str, same: bool) -> None:
    pytest.importorskip("math_verify")
    assert is_correct_in_time(answer, expected, "math", seconds=60.0) is same


def test_math_verify_itself_in_either_direction() -> None:
    pytest.importorskip("math_verify")
    for one, other, same in ((r"\frac{1}{2}", "0.5", True), ("3 + 4i", "4i + 3", True), ("3 + 4i", "4 + 3i", False)):
        assert equal_mathematics(one, other, seconds=60.0) is same
        assert equal_mathematics(other, one, seconds=60.0) is same


def test_without_the_package_the_way_to_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "math_verify", None)
    assert not equal_mathematics("1/2", "0.5")
    with pytest.raises(MissingPackageError, match="EXTRAS=math"):
        is_correct_in_time("1/2", "0.5", "math")

"""Answers compared as text, and as mathematics, by a package that talks more than a command may."""

from __future__ import annotations

import logging
import sys
import types
import warnings
from collections.abc import Iterator

import pytest

from models.errors import MissingPackageError, UsageError
from runtime.answers.matching import is_correct


def test_text_is_compared_but_for_case_and_runs_of_spaces() -> None:
    assert is_correct("  42  Bolts\n", "42 bolts")
    assert not is_correct("42", "42 bolts")
    assert not is_correct("42.0", "42")
    with pytest.raises(UsageError):
        is_correct("1", "1", "sum")


@pytest.fixture
def talkative(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    """In the place of math-verify: reads halves, and warns in both of its ways."""
    logger = logging.getLogger("math_verify.parser")

    def parse(text: str, *, parsing_timeout: int | None) -> list[float]:
        logger.warning("Timeout is disabled")
        warnings.warn("sympy is old", stacklevel=1)
        return [0.5 if text in ("1/2", "0.5") else 0.0]

    module = types.ModuleType("math_verify")
    module.__dict__.update(parse=parse, verify=lambda gold, found, *, timeout_seconds: gold == found)
    monkeypatch.setitem(sys.modules, "math_verify", module)
    yield logger


@pytest.mark.filterwarnings("error")
def test_nothing_of_what_the_package_says_comes_through(
    talkative: logging.Logger, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert is_correct("1/2", "0.5", "math")
    assert not is_correct("1/3", "0.5", "math")
    assert caplog.records == []
    assert capsys.readouterr() == ("", "")
    talkative.warning("afterwards")
    assert [record.message for record in caplog.records] == ["afterwards"]


def test_without_the_package_the_way_to_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "math_verify", None)
    with pytest.raises(MissingPackageError, match="EXTRAS=math"):
        is_correct("1/2", "0.5", "math")

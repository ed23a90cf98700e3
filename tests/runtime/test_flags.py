"""A flag that does not exist is told with the nearest that does, and never becomes a part of the question."""

from __future__ import annotations

import pytest

import kangae
from models.errors import UsageError
from runtime.commands.flags import check_flags, nearest_flag


def check(*words: str) -> None:
    check_flags(kangae.build_parser(words[0]), words)


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["ask", "--buget", "32"], "--budget"),
        (["ask", "--buget", "32", "What is 2 + 2?"], "--budget"),
        (["ask", "What is 2 + 2?", "--buget=32"], "--budget"),
        (["ask", "--buget 32", "x"], "--budget"),
        (["ask", "x", "--sytem=Be brief."], "--system"),
        (["ask", "-budget", "32"], "--budget"),
        (["ask", "-model", "x"], "--model"),
        (["ask", "\u2014budget", "32"], "--budget"),
        (["ask", "x", "--max_answer", "3"], "--max-answer"),
        (["ask", "x", "--temp", "0"], "--temperature"),
        (["ask", "x", "--m", "y"], "-m"),
        (["models", "show", "--josn"], "--json"),
        (["bench", "speed", "--dept", "3"], "--depth"),
        (["quantize", "x", "--too", "gguf:Q8_0"], "--to"),
        (["--verson"], "--version"),
        (["--buget", "3"], "--budget"),
    ],
)
def test_a_near_flag_is_named(words: list[str], near: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert kangae.main(words) == 2
    said = capsys.readouterr()
    assert f"did you mean `{near}`?" in said.err
    assert (len(said.err.splitlines()), said.out) == (1, "")


def test_a_flag_and_its_value_in_one_word_are_told_apart() -> None:
    with pytest.raises(UsageError, match="`--budget` and what follows it came as one word"):
        check("ask", "--budget 32")


def test_without_a_near_one_the_help_and_the_way_out_are_named() -> None:
    with pytest.raises(UsageError, match=r"`--zzzz`; see `kangae ask --help`. A text .* goes behind `--`"):
        check("ask", "x", "--zzzz")


@pytest.mark.parametrize(
    "words",
    [
        ["ask", "--", "--buget"],
        ["ask", "-5"],
        ["ask", "-5 + 3"],
        ["ask", "-x + 3 = 5, what is x?"],
        ["ask", "- one\n- two"],
        ["ask", "-"],
        ["ask", "--hello world"],
        ["ask", "\u2014quoth the raven"],
        ["ask", "x", "--system", "--budget is what?"],
        ["ask", "x", "--budget=5", "-mqwen"],
        ["sessions", "list", "-n5"],
        ["models", "list", "--json"],
        ["ask", "--buget", "--help"],
    ],
)
def test_what_is_no_wrong_flag_is_left_alone(words: list[str]) -> None:
    check(*words)


def test_the_nearest_of_several() -> None:
    flags = ("--top-p", "--top-k", "--temperature", "-m")
    assert nearest_flag("--topp", flags) == "--top-p"
    assert nearest_flag("--Temperature", flags) == "--temperature"
    assert nearest_flag("--other", flags) is None

"""Several answers, one outcome: what is the same, who wins, and when a vote is decided."""

from __future__ import annotations

import itertools
import math
import sys
import threading
from dataclasses import replace
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.reply import Finish
from runtime.votes import (
    Ballot,
    classes,
    confidence,
    decided,
    majority_stands,
    normalised,
    same_mathematics,
    same_text,
    tally,
)


def ballot(
    branch: int, answer: str, weight: float = 1.0, finished: float | None = None, finish: Finish = "stop"
) -> Ballot:
    return Ballot(branch, answer, weight, "natural", 80, branch if finished is None else finished, finish)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("  Friday \n", "friday"), ("Ｆｒｉｄａｙ", "friday"), ("13  r\n2", "13 r 2"), ("42.", "42"), ("４２。", "42"),
        ("1,234", "1234"), ("1,234,567.5 kg", "1234567.5 kg"), ("12{,}345", "12345"), ("1\u202f234", "1234"),
        ("1'234", "1234"),
        ("１，２３４個", "1234個"), ("3.14", "3.14"), ("\u22125", "-5"), ("−5", "-5"),
        ("**42**", "42"), ("$42$", "42"), ("$$42$$", "42"), (r"\(42\)", "42"), (r"\[ 42 \]", "42"), ("`x`", "x"),
        ('"Yes."', "yes"), ("「はい」。", "はい"), ("“yes”", "yes"), ("'yes'", "yes"),
        (r"\boxed{42}", "42"), (r"$\boxed{\frac{1}{2}}$.", r"\frac{1}{2}"), (r"**\boxed{1,000}.**", "1000"),
        ("1½", "1 1/2"), ("½", "1/2"), ("10²", "10^2"), ("10⁻³", "10^-3"),
    ],
)  # fmt: skip
def test_normalised(written: str, meant: str) -> None:
    assert normalised(written) == meant


@pytest.mark.parametrize(
    "answer",
    [
        "34, 126, 327", "1,2,3", "0,125", "1,2345", "12,34,567", "1,234,5", "$5 or $6", "**a** and **b**", "'a' or 'b'",
        r"\boxed{1} + \boxed{2}", "「はい」と「いいえ」", "3.14", "x_1", ".5", "$5", "\"",
    ],
)  # fmt: skip
def test_what_is_no_mark_around_the_answer_stays(answer: str) -> None:
    assert normalised(answer) == answer


def test_different_powers_and_fractions_stay_different() -> None:
    for one, other in (("10²", "102"), ("1½", "11/2"), ("10⁻³", "103"), ("-5", "5"), ("1.234", "1234")):
        assert not same_text(one, other)


@given(st.text(alphabet="1,.$*{}\\ boxed'\"「」。²½a\u202f", max_size=12))
def test_normalised_is_settled(text: str) -> None:
    once = normalised(text)
    assert once == once.strip() == " ".join(once.split())
    assert same_text(text, f"  **{text.strip()}**  ") or "*" in text or not text.strip()


def test_classes_in_order_of_appearance() -> None:
    assert classes(["42", "7", "42.", "**7**", "x"], same_text) == [[0, 2], [1, 3], [4]]
    assert classes([], same_text) == []

    def near(one: str, other: str) -> bool:
        return abs(int(one) - int(other)) <= 1

    assert classes(["1", "2", "3"], near) == [[0, 1], [2]]  # held against all, not the last alone
    assert classes(["2", "1", "3"], near) == [[0, 1], [2]]  # nor the first alone


def fake_math_verify(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("math_verify")
    module.parse = lambda text, parsing_timeout: text.strip("$")  # type: ignore[attr-defined]
    module.verify = lambda gold, found, timeout_seconds: (gold, found) == ("1/2", "0.5")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "math_verify", module)


def test_mathematics_is_compared_in_both_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_math_verify(monkeypatch)
    assert same_mathematics("0.5", "1/2") and same_mathematics("1/2", "0.5")
    assert same_mathematics("**0.5**", "0.5.")
    assert not same_mathematics("1/3", "0.5")


def test_mathematics_that_takes_too_long_is_not_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_math_verify(monkeypatch)
    done = threading.Event()

    def endless(gold: str, found: str, timeout_seconds: object) -> bool:
        return done.wait(60)

    monkeypatch.setattr(sys.modules["math_verify"], "verify", endless)
    try:
        assert not same_mathematics("0.5", "1/2", 0.05)
    finally:
        done.set()


def test_without_the_package_the_text_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "math_verify", None)
    assert same_mathematics("42", "42.")
    assert not same_mathematics("0.5", "1/2")


def test_the_heaviest_answer_wins_as_first_written() -> None:
    outcome = tally([ballot(0, "7", 0.9), ballot(1, "**42**", 0.5), ballot(2, "42.", 0.6)], same_text)
    assert outcome.answer == "**42**"
    assert [(one.answer, one.branches) for one in outcome.candidates] == [("**42**", (1, 2)), ("7", (0,))]
    assert [one.weight for one in outcome.candidates] == pytest.approx([1.1, 0.9])
    assert outcome.share == pytest.approx(0.55)
    assert outcome.margin == pytest.approx(0.1)


def test_first_written_is_by_time_not_by_branch() -> None:
    assert tally([ballot(0, "42.", finished=3.0), ballot(1, "42", finished=1.0)], same_text).answer == "42"


def test_ties_go_to_the_earliest() -> None:
    assert tally([ballot(0, "7", finished=2.0), ballot(1, "42", finished=1.0)], same_text).answer == "42"
    split = [
        ballot(0, "7", 0.3, 1.0),
        ballot(1, "42", 0.1, 2.0),
        ballot(2, "42", 0.2, 3.0),
    ]  # 0.1 + 0.2 > 0.3 in floats
    assert tally(split, same_text).answer == "7"


def test_an_answer_that_is_empty_or_cut_off_has_no_vote() -> None:
    ballots = [ballot(0, "4", 1.0, finish="length"), ballot(1, " ** ", 1.0), ballot(2, "7", 0.1), ballot(3, "", 1.0)]
    assert [one.branches for one in tally(ballots[:1] + ballots[2:], same_text).candidates] == [(2,)]
    assert tally([ballots[0], ballots[3]], same_text).answer == "4"
    outcome = tally([ballots[3]], same_text)
    assert (outcome.answer, outcome.share) == ("", 1.0)
    for finish in ("cancelled", "error"):
        cut = replace(ballots[0], finish=finish)
        assert tally([cut, ballots[2]], same_text).answer == "7"


def test_no_weight_at_all() -> None:
    outcome = tally([ballot(0, "1", 0.0), ballot(1, "2", 0.0)], same_text)
    assert (outcome.answer, outcome.share, outcome.margin) == ("1", 0.0, 0.0)


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(ValueError, match="no ballot"):
        tally([], same_text)
    for weight in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="between 0 and 1"):
            ballot(0, "1", weight)


def test_decided_once_nothing_can_change() -> None:
    ballots = [ballot(0, "42"), ballot(1, "42"), ballot(2, "7")]
    assert not decided(ballots, 2, None, same_text)
    assert decided(ballots, 1, None, same_text)  # at most a tie, and 42 was there first
    assert not decided([ballot(0, "7"), ballot(1, "42"), ballot(2, "42")], 1, None, same_text)
    assert not decided([], 3, None, same_text)
    assert not decided([ballot(0, "42", finish="length")], 1, None, same_text)
    assert decided([ballot(0, "42", finish="length")], 0, None, same_text)


def test_decided_once_the_first_few_are_in() -> None:
    ballots = [ballot(0, "42"), ballot(1, "7"), ballot(2, "4", finish="length")]
    assert decided(ballots, 5, 2, same_text)
    assert not decided(ballots, 5, 3, same_text)  # what was cut off is no answer


def test_whether_there_is_a_majority_stands_later_than_the_winner() -> None:
    assert decided([ballot(0, "42")], 1, None, same_text)  # the other can but draw
    assert not majority_stands([ballot(0, "42")], 1, same_text)
    assert majority_stands([ballot(0, "42"), ballot(1, "42")], 1, same_text)
    assert not majority_stands([ballot(0, "42"), ballot(1, "42"), ballot(2, "7")], 1, same_text)
    apart = [ballot(0, "42"), ballot(1, "7"), ballot(2, "8")]
    assert majority_stands(apart, 1, same_text)  # never more than half
    assert not majority_stands(apart, 2, same_text)
    assert not majority_stands([], 2, same_text)
    assert majority_stands([], 0, same_text)


@settings(deadline=None, max_examples=100)
@given(
    votes=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0.1, 0.3, 1.0])), min_size=1, max_size=5),
    outstanding=st.integers(1, 2),
)
def test_a_majority_that_stands_is_not_changed(votes: list[tuple[str, float]], outstanding: int) -> None:
    ballots = [ballot(index, *vote) for index, vote in enumerate(votes)]
    if not (decided(ballots, outstanding, None, same_text) and majority_stands(ballots, outstanding, same_text)):
        return
    before = tally(ballots, same_text).share > 0.5
    for late in itertools.product(itertools.product("abcd", (0.0, 1.0)), repeat=outstanding):
        more = [ballot(100 + index, *vote) for index, vote in enumerate(late)]
        assert (tally(more + ballots, same_text).share > 0.5) is before


VOTE = st.tuples(
    st.sampled_from(["a", "b", "c", ""]),
    st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0]),
    st.sampled_from(["stop", "stop", "stop", "length"]),
)
LATE = [("d", 1.0, "length"), ("", 1.0, "stop"), *itertools.product("abcd", (0.0, 0.4, 1.0), ("stop",))]


@settings(deadline=None, max_examples=150)
@given(votes=st.lists(VOTE, min_size=1, max_size=6), outstanding=st.integers(1, 2))
def test_decided_is_exactly_when_no_completion_changes_the_winner(
    votes: list[tuple[str, float, Finish]], outstanding: int
) -> None:
    ballots = [ballot(index, *vote[:2], finish=vote[2]) for index, vote in enumerate(votes)]
    now = tally(ballots, same_text).answer
    changed = False
    for late in itertools.product(LATE, repeat=outstanding):
        more = [
            ballot(100 + index, answer, weight, finish=finish)  # type: ignore[arg-type]
            for index, (answer, weight, finish) in enumerate(late)
        ]
        if tally(more + ballots, same_text).answer != now:
            changed = True
            break
    assert decided(ballots, outstanding, None, same_text) is not changed


def test_confidence() -> None:
    assert confidence([]) == 0.0
    assert confidence([math.log(0.5), math.log(0.125)]) == pytest.approx(0.25)
    assert confidence([-math.inf, 0.0]) == 0.0
    assert confidence([1e-7]) == 1.0  # rounding


@given(st.lists(st.floats(-50.0, 0.0), min_size=1, max_size=20))
def test_confidence_lies_between_the_least_and_the_most_likely(logprobs: list[float]) -> None:
    low, high = math.exp(min(logprobs)), math.exp(max(logprobs))
    assert low * (1 - 1e-9) <= confidence(logprobs) <= high * (1 + 1e-9)

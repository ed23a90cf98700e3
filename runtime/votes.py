"""One answer out of several: which answers are the same, which has most of the votes, and when no more are needed.

Each branch votes with the weight of its own confidence (the weighted majority of DeepConf, arXiv 2508.15260). A vote is
decided as soon as nothing that is still to come can change it, or once the first few answers are in (short-m@k,
arXiv 2505.17813).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from runtime.answers.matching import folded
from runtime.answers.mathematics import MOST_SECONDS, equal_mathematics
from runtime.reply import CloseReason, Finish

Same = Callable[[str, str], bool]

_TIE_DIGITS: Final = 9  # weights that differ by less are equal: sums of floating-point numbers are not exact

_SUPERSCRIPTS = re.compile(r"[⁺⁻]?[⁰¹²³⁴-⁹]+")
_FRACTION_AFTER_DIGIT = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞])")
_THOUSANDS = re.compile(r"(?<![\d.,])(?![0０])\d{1,3}(?:(\{,\}|[,，'’\u2009\u202f])\d{3})(?:\1\d{3})*(?!\d|[,，]\d)")
_PAIRS: Final = (
    ("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("__", "__"), ("`", "`"),
    ('"', '"'), ("'", "'"), ("“", "”"), ("‘", "’"), ("「", "」"), ("『", "』"), ("«", "»"),
)  # fmt: skip
_BOXED: Final = r"\boxed{"


@dataclass(frozen=True)
class Ballot:
    """What one branch says.

    `weight`: from 0 to 1, for instance the `confidence` of the answer's tokens; `finished`: when the branch ended, in
    seconds or in any order of its own (ties go to the earliest); `finish`: only "stop" is a whole answer.
    Raises `ValueError` for a weight outside of 0 to 1.
    """

    branch: int
    answer: str
    weight: float
    close: CloseReason
    thinking_tokens: int
    finished: float
    finish: Finish = "stop"

    def __post_init__(self) -> None:
        if not 0.0 <= self.weight <= 1.0:
            raise ValueError(f"the weight of branch {self.branch} is {self.weight}; it must be between 0 and 1")


@dataclass(frozen=True)
class Candidate:
    """Equal answers: the first of them as it was written, the weight of all, and whose they are, earliest first."""

    answer: str
    weight: float
    branches: tuple[int, ...]


@dataclass(frozen=True)
class Outcome:
    """The winner's text as first written; its share of all weight; its lead before the next, as a share too (both 0
    where no vote has any weight); all candidates, the winner first."""

    answer: str
    share: float
    margin: float
    candidates: tuple[Candidate, ...]


def tally(ballots: Sequence[Ballot], same: Same) -> Outcome:
    """The weighted majority. Ties go to the candidate that was there first.

    An answer that is empty or not whole has no vote, unless there is no other. Raises `ValueError` without ballots.
    """
    if not ballots:
        raise ValueError("there is no ballot to count")
    candidates = _candidates(ballots, same)
    weights = [candidate.weight for candidate in candidates]
    total = math.fsum(weights)
    second = weights[1] if len(weights) > 1 else 0.0
    share, margin = (weights[0] / total, (weights[0] - second) / total) if total > 0 else (0.0, 0.0)
    return Outcome(candidates[0].answer, share, margin, tuple(candidates))


def decided(ballots: Sequence[Ballot], outstanding: int, first: int | None, same: Same) -> bool:
    """Whether the winner stands, so that the branches still at work can be stopped.

    So it is once `first` answers that have a vote are in (None: all are waited for), and once the `outstanding`
    branches, which all finish later, cannot change the winner whatever they say with a weight of at most 1 each.
    """
    if outstanding == 0:
        return True
    voters = [ballot for ballot in ballots if has_vote(ballot)]
    if not voters:
        return False
    if first is not None and len(voters) >= first:
        return True
    winner, *others = _candidates(voters, same)
    place = {ballot.branch: index for index, ballot in enumerate(_by_time(voters))}
    # A candidate of which nobody has spoken yet would come after all others in a tie.
    rivals = [(other.weight, place[other.branches[0]]) for other in others] + [(0.0, len(voters))]
    return all(
        _rank(winner.weight, place[winner.branches[0]]) < _rank(weight + outstanding, since) for weight, since in rivals
    )


def majority_stands(ballots: Sequence[Ballot], outstanding: int, same: Same) -> bool:
    """Whether the `outstanding` branches cannot change, whatever they say with a weight of at most 1 each, if more than
    half of all weight is behind the winner: a vote of two is no vote of one."""
    voters = [ballot for ballot in ballots if has_vote(ballot)]
    if outstanding == 0 or not voters:
        return outstanding == 0
    winner, *others = (candidate.weight for candidate in _candidates(voters, same))
    lead = round(winner - math.fsum(others), _TIE_DIGITS)
    return lead > outstanding or lead + outstanding <= 0


def classes(answers: Sequence[str], same: Same) -> list[list[int]]:
    """The indices of `answers` that are the same, class by class in order of appearance.

    Each answer is held against all of a class: "583" is the same as "583 mm" and as "583 cm", which are not the same.
    So it joins the first of the two that is there, and a later answer never moves an earlier one.
    """
    found: list[list[int]] = []
    for index, answer in enumerate(answers):
        for members in found:
            if all(same(answers[member], answer) for member in members):
                members.append(index)
                break
        else:
            found.append([index])
    return found


def same_text(one: str, other: str) -> bool:
    """Whether two answers differ only in how they are written down (see `normalised`)."""
    return normalised(one) == normalised(other)


def same_mathematics(one: str, other: str, seconds: float = MOST_SECONDS) -> bool:
    """Whether two answers are the same text or the same mathematics, in either direction.

    Mathematics is compared by math-verify; where that is not installed, or takes longer than `seconds`, only the text
    is. May be called by any thread.
    """
    return same_text(one, other) or equal_mathematics(one, other, min(seconds, MOST_SECONDS))


def normalised(answer: str) -> str:
    r"""`answer` without what does not change its meaning, for comparing, not for showing.

    Trimmed, in one case and one width (NFKC, but powers and mixed fractions stay what they are), runs of spaces folded,
    no thousands separators, no full stop at the end, out of any quotes, bold marks, `$ $` and `\boxed{}` around it.
    """
    text = _THOUSANDS.sub(lambda number: re.sub(r"\D", "", number[0]), answer)
    text = _SUPERSCRIPTS.sub(lambda power: "^" + power[0], _FRACTION_AFTER_DIGIT.sub(" ", text))
    text = unicodedata.normalize("NFKC", text).replace("\u2212", "-").replace("\u2044", "/")
    before = None
    while text != before:
        before = text
        text = _unwrapped(text.strip()).strip().rstrip(".。")
    return folded(text)


def confidence(logprobs: Sequence[float]) -> float:
    """The geometric mean of probabilities that are given as natural logarithms; 0 for none."""
    if not logprobs:
        return 0.0
    return min(1.0, math.exp(math.fsum(logprobs) / len(logprobs)))


def _candidates(ballots: Sequence[Ballot], same: Same) -> list[Candidate]:
    """What the ballots with a vote say, the winner first."""
    whole = [ballot for ballot in ballots if has_vote(ballot)]
    spoken = [ballot for ballot in ballots if normalised(ballot.answer)]
    voters = _by_time(whole or spoken or ballots)
    groups = classes([ballot.answer for ballot in voters], same)
    ranked = sorted(groups, key=lambda members: _rank(_weight(voters, members), members[0]))
    return [
        Candidate(
            voters[members[0]].answer,
            _weight(voters, members),
            tuple(voters[member].branch for member in members),
        )
        for members in ranked
    ]


def has_vote(ballot: Ballot) -> bool:
    """Whether its answer is whole, and no empty one."""
    return ballot.finish == "stop" and normalised(ballot.answer) != ""


def _by_time(ballots: Sequence[Ballot]) -> list[Ballot]:
    return sorted(ballots, key=lambda ballot: (ballot.finished, ballot.branch))


def _weight(ballots: Sequence[Ballot], members: Sequence[int]) -> float:
    return math.fsum(ballots[member].weight for member in members)


def _rank(weight: float, since: int) -> tuple[float, int]:
    """Sorts the heaviest first, and of equals the earliest."""
    return -round(weight, _TIE_DIGITS), since


def _unwrapped(text: str) -> str:
    r"""`text` out of one pair of marks or one `\boxed{}` that goes around all of it."""
    if text.startswith(_BOXED) and text.endswith("}") and _closes_at_end(text[len(_BOXED) :]):
        return text[len(_BOXED) : -1]
    for opening, closing in _PAIRS:
        inner = text[len(opening) : -len(closing)]
        around = text.startswith(opening) and text.endswith(closing) and len(text) > len(opening + closing)
        if around and opening not in inner and closing not in inner:
            return inner
    return text


def _closes_at_end(text: str) -> bool:
    """Whether the brace that stands open before `text` is closed by the last character."""
    depth = 1
    for index, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return index == len(text) - 1
    return False

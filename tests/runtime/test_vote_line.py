"""What a terminal is told of a vote under way."""

from __future__ import annotations

import io

import pytest

from runtime.commands.stream import ReplyStream
from runtime.commands.vote_line import is_news, vote_line
from runtime.events import Closed, ThinkingDelta, Voted


def test_the_line_tells_the_answer_and_the_standing() -> None:
    assert vote_line(Voted("583 parts", 1, 5, standing=(("583 parts", 1),))) == "vote 1 of 5: 583 parts"
    split = (("583 parts", 2), ("590", 1))
    assert vote_line(Voted("590", 3, 5, standing=split)) == "vote 3 of 5: 590; so far 583 parts ×2, 590"
    many = (("a", 3), ("b", 2), ("c", 1), ("d", 1), ("e", 1))
    assert vote_line(Voted("e", 8, 9, standing=many)).endswith("so far a ×3, b ×2, c, 2 others")
    assert vote_line(Voted("7", 3, 5)) == "vote 3 of 5: 7"  # the standing is not known
    assert len(vote_line(Voted("word " * 500, 2, 5, standing=(("word " * 500, 2),)))) < 300


def told(votes: list[Voted]) -> list[int]:
    """Which of them have a line."""
    lines: list[Voted] = []
    for vote in votes:
        if is_news(lines[-1] if lines else None, vote):
            lines.append(vote)
    return [vote.done for vote in lines]


def test_few_votes_have_a_line_each_and_many_now_and_then() -> None:
    assert told([Voted("5", done, 5, standing=(("5", done),)) for done in range(1, 6)]) == [1, 2, 3, 4, 5]
    same = [Voted("5", done, 100, standing=(("5", done),)) for done in range(1, 101)]
    assert told(same) == [1, 11, 21, 31, 41, 51, 61, 71, 81, 91, 100]


def test_another_leader_is_told_at_once() -> None:
    votes = [Voted("5", 1, 100, standing=(("5", 1),)), Voted("6", 2, 100, standing=(("5", 1), ("6", 1)))]
    votes.append(Voted("6", 3, 100, standing=(("6", 2), ("5", 1))))
    assert told(votes) == [1, 3]
    again = Voted("7", 1, 100, standing=(("7", 1),))  # of another question
    assert is_news(votes[-1], again)


def test_the_standing_does_not_cut_into_the_streamed_thought(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    thoughts = io.StringIO()
    stream = ReplyStream(io.StringIO(), thoughts)
    for event in (
        ThinkingDelta("4 and", 1), Voted("7", 1, 3, standing=(("7", 1),)), ThinkingDelta(" 3", 2),
        Voted("7.", 2, 3, standing=(("7", 2),)), ThinkingDelta(" make 7", 3), Closed("natural", 3),
    ):  # fmt: skip
        stream.show(event)
    assert thoughts.getvalue().splitlines() == ["4 and 3 make 7", "vote 1 of 3: 7", "vote 2 of 3: 7.; so far 7 ×2"]

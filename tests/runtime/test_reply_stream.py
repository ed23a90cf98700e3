"""What a terminal is shown of a reply while it comes: the thought dim, votes on lines of their own."""

from __future__ import annotations

import io

import pytest

from runtime.commands.stream import ReplyStream
from runtime.events import AnswerDelta, Closed, Event, ThinkingDelta, Voted


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_thoughts_are_dim_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Event] = [ThinkingDelta("so", 1), ThinkingDelta(" 4", 2), Closed("natural", 2), AnswerDelta("4", 1)]
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)

    def told(thoughts: io.StringIO) -> tuple[str, str]:
        out = io.StringIO()
        stream = ReplyStream(out, thoughts)
        for event in events:
            stream.show(event)
        stream.end()
        return out.getvalue(), thoughts.getvalue()

    assert told(Terminal()) == ("4\n", "\x1b[2mso\x1b[0m\x1b[2m 4\x1b[0m\n")
    assert told(io.StringIO()) == ("4\n", "so 4\n")
    monkeypatch.setenv("NO_COLOR", "1")
    assert told(Terminal()) == ("4\n", "so 4\n")


def test_votes_stand_on_lines_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    thoughts = io.StringIO()
    stream = ReplyStream(io.StringIO(), thoughts)
    stream.show(Voted("1", 1, 5))
    for event in (
        ThinkingDelta("4 and", 1), Voted("7", 2, 5), ThinkingDelta(" 3", 2), Voted("8\n8", 3, 5),
        ThinkingDelta(".\nSo", 3), ThinkingDelta(" 7", 4), Voted("7", 4, 5),
    ):  # fmt: skip
        stream.show(event)
    lines = ["vote 1 of 5: 1", "4 and 3.", "vote 2 of 5: 7", "vote 3 of 5: 8 8"]
    assert thoughts.getvalue().splitlines() == [*lines, "So 7"]
    stream.show(Closed("natural", 4))
    stream.show(Voted("7", 5, 5))
    stream.answer("7")
    stream.end()
    assert thoughts.getvalue().splitlines() == [*lines, "So 7", "vote 4 of 5: 7", "vote 5 of 5: 7"]


def test_a_vote_that_is_held_back_is_told_where_the_thought_breaks_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    thoughts = io.StringIO()
    stream = ReplyStream(io.StringIO(), thoughts)
    stream.show(ThinkingDelta("4 and", 1))
    stream.show(Voted("7", 1, 5))
    stream.end()
    assert thoughts.getvalue() == "4 and\nvote 1 of 5: 7\n"


def test_a_note_waits_for_the_end_of_the_answers_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    screen = io.StringIO()  # both go to one terminal
    stream = ReplyStream(screen, screen)
    stream.show(ThinkingDelta("so 4", 2))
    stream.show(AnswerDelta("5", 1))
    stream.note("the disk is full")
    stream.show(AnswerDelta("6", 2))
    assert screen.getvalue() == "so 4\n56"
    stream.end()
    stream.note("and slow")
    assert screen.getvalue() == "so 4\n56\nthe disk is full\nand slow\n"

"""Judging in threads: verdicts as they come, and an end that waits for nobody who can be told to stop."""

from __future__ import annotations

import threading

import pytest

from runtime.judges import Judges


def never() -> bool:
    return False


def test_verdicts_are_taken_when_they_are_there() -> None:
    gate = threading.Event()
    with Judges[str](never) as judges:
        judges.begin(0, lambda: "slow" if gate.wait(20) else "never")
        judges.begin(1, lambda: "quick")
        assert (first := next(judges.rest())) == (1, "quick"), first
        assert list(judges.ready()) == []
        gate.set()
        assert list(judges.rest()) == [(0, "slow")]
        assert list(judges.rest()) == []


def test_what_a_judgement_raises_is_raised_where_it_is_taken() -> None:
    def broken() -> str:
        raise RuntimeError("a fault of ours")

    with Judges[str](never) as judges:
        judges.begin(0, broken)
        with pytest.raises(RuntimeError, match="of ours"):
            list(judges.rest())


def test_leaving_tells_those_at_work_to_stop_and_waits_for_them() -> None:
    begun, over, judges = threading.Event(), threading.Event(), Judges[None](never)

    def long() -> None:
        begun.set()
        if judges._left.wait(20) and judges.stopped():
            over.set()

    with pytest.raises(KeyboardInterrupt), judges:
        judges.begin(0, long)
        assert begun.wait(20)
        raise KeyboardInterrupt
    assert over.is_set()


def test_a_cancelled_command_is_seen_by_those_at_work() -> None:
    cancelled = threading.Event()
    with Judges[bool](cancelled.is_set) as judges:
        assert not judges.stopped()
        cancelled.set()
        judges.begin(0, judges.stopped)
        assert list(judges.rest()) == [(0, True)]

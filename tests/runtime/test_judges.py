"""Judging in threads: verdicts as they come, and an end that waits for nobody who can be told to stop."""

from __future__ import annotations

import threading
import time

import pytest

from runtime.judges import Judges
from runtime.reply import ModelLabel, Reply, SpentBudget, Timings, Usage
from runtime.verification import judged
from runtime.verifiers.verifier import Case, Kind, Verdict


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


class Slow:
    """Passes everything, and keeps how long it took."""

    name = "slow"
    kind: Kind = "form"
    took = 0.0

    def applies(self, case: Case) -> bool:
        return True

    def check(self, case: Case) -> Verdict:
        begun = time.perf_counter()
        threading.Event().wait(0.02)
        self.took = time.perf_counter() - begun
        return Verdict.of(self, True, "right")


@pytest.mark.parametrize("deadline", [None, 600.0])
def test_the_time_of_a_reply_counts_its_judging_and_what_it_waited_for_it(deadline: float | None) -> None:
    label, slow = ModelLabel("m", "m.gguf", "Q8_0", "fake"), Slow()
    timings = Timings(prefill_s=0.5, total_s=2.0)
    reply = Reply("i", "q", label, "", "7", "natural", "stop", Usage(), SpentBudget(), timings)
    found = judged(reply, [slow], deadline, waited=1.0)
    assert found.checks[0].passed and found.timings.prefill_s == 0.5
    assert slow.took > 0 and found.timings.total_s >= 2.0 + 1.0 + slow.took

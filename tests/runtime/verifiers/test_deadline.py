"""A verdict that does not come in time is not waited for, and nothing passes by it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from models.errors import UsageError
from runtime.events import Done
from runtime.ladder.ladder import LadderResponder
from runtime.reply import ModelLabel, Reply, SpentBudget, Timings, Usage
from runtime.request import Budget, Message, Request
from runtime.verification import doubts, judged, verified
from runtime.verifiers.deadline import MOMENT, verdicts_in_time
from runtime.verifiers.verifier import Case, Kind, Verdict
from tests.fakes.answering_responder import AnsweringResponder

LABEL = ModelLabel("m", "m.gguf", "Q8_0", "fake")
REPLY = Reply("i", "何個?", LABEL, "", "7", "natural", "stop", Usage(), SpentBudget(), Timings())


class Stuck:
    """Passes everything, once its gate is open; it looks at nothing before."""

    name = "stuck"
    kind: Kind = "truth"

    def __init__(self) -> None:
        self.gate, self.over = threading.Event(), threading.Event()
        self.case: Case | None = None

    def applies(self, case: Case) -> bool:
        return True

    def check(self, case: Case) -> Verdict:
        self.case = case
        self.gate.wait(60)
        self.over.set()
        return Verdict.of(self, True, "right")


@pytest.fixture
def stuck() -> Any:
    verifier = Stuck()
    yield verifier
    verifier.gate.set()
    assert verifier.over.wait(60)  # it was left, not killed


class Timed:
    """Passes everything; by its clock each verdict takes so long."""

    name = "timed"
    kind: Kind = "form"

    def __init__(self, seconds: float, passes: bool = True) -> None:
        self.seconds, self.passes, self.now = seconds, passes, 0.0

    def applies(self, case: Case) -> bool:
        return True

    def check(self, case: Case) -> Verdict:
        self.now += self.seconds
        return Verdict.of(self, self.passes, "its own words")


@pytest.mark.parametrize("seconds", [0.05, 0.0, -3.0])
def test_who_comes_to_no_end_is_left_and_told_to_stop(stuck: Stuck, seconds: float) -> None:
    reply = verified(REPLY, [stuck], seconds=seconds)
    assert not stuck.over.is_set()
    assert [(check.name, check.kind, check.passed) for check in reply.checks] == [("stuck", "truth", False)]
    assert "so the answer was not judged by it" in doubts(reply)[0]
    assert stuck.case is not None and stuck.case.options["stopped"]()


def test_the_others_are_judged_all_the_same(stuck: Stuck) -> None:
    reply = verified(REPLY, [stuck, Timed(0.0)], seconds=0.05)
    assert [(check.name, check.passed) for check in reply.checks] == [("stuck", False), ("timed", True)]


@pytest.mark.parametrize(
    ("took", "seconds", "passes"),
    [
        (0.9, 1.0, True),
        (1.1, 1.0, False),
        (2.0, 0.5, False),
        (0.0, 0.0, True),  # the answer came with the deadline's last token: a moment is nobody's fault
        (MOMENT / 2, -1.0, True),
        (2 * MOMENT, -1.0, False),
    ],
)
def test_a_verdict_that_comes_late_passes_nothing(took: float, seconds: float, passes: bool) -> None:
    judge = Timed(took)
    reply = verified(REPLY, [judge], seconds=seconds, clock=lambda: judge.now)
    assert reply.checks[0].passed is passes
    assert bool(doubts(reply)) is not passes


def test_a_late_verdict_that_failed_keeps_its_words() -> None:
    judge = Timed(2.0, passes=False)
    (found,) = verdicts_in_time(judge, Case("q", "7"), 1.0, lambda: judge.now)
    assert (found.passed, found.detail) == (False, "its own words")


def test_all_share_the_deadline() -> None:
    judge = Timed(0.6)
    reply = verified(REPLY, [judge, judge], seconds=1.0, clock=lambda: judge.now)
    assert [check.passed for check in reply.checks] == [True, False]
    assert "within the 0.4 s" in reply.checks[1].detail


def test_without_a_deadline_it_is_waited_for() -> None:
    judge = Timed(1_000.0)
    assert verified(REPLY, [judge], clock=lambda: judge.now).checks[0].passed
    assert judged(REPLY, [judge], None).checks[0].passed


def test_a_users_error_is_raised_and_a_cancelled_command_is_seen() -> None:
    class Wrong(Timed):
        def check(self, case: Case) -> Verdict:
            if case.options["stopped"]():
                raise UsageError("a wrong option")
            return super().check(case)

    case = Case("q", "7", options={"stopped": lambda: True})
    with pytest.raises(UsageError, match="wrong option"):
        verdicts_in_time(Wrong(0.0), case, 30.0, lambda: 0.0)
    (found,) = verdicts_in_time(Wrong(0.0), Case("q", "7", options={"stopped": lambda: False}), 30.0, lambda: 0.0)
    assert found.passed


def test_a_ladder_does_not_wait_for_a_judge_beyond_its_deadline(stuck: Stuck) -> None:
    ladder = LadderResponder(AnsweringResponder(), [stuck])
    *_, last = ladder.respond(Request((Message("user", "How many?"),), Budget(seconds=1.2)))
    assert isinstance(last, Done)
    assert not stuck.over.is_set()
    assert not last.reply.checks[0].passed and doubts(last.reply)

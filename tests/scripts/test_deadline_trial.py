"""The trial of deadlines: its arithmetic, and its runs over a scripted backend whose decodes move the clock."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from functools import partial

import pytest

import deadline_trial
from deadline_runs import Measured, Row, Run, Setting, cancels_row, summed, written
from deadline_trial import cancel_once, main, measure_endless, measure_shipped, spread
from models.errors import CannotMeetError, UsageError
from runtime.backends.backend import Aborted, Slice
from runtime.backends.fake import FakeBackend, scripted
from runtime.events import Event
from runtime.local_responder import LocalResponder
from runtime.request import Budget, Message, Request
from runtime.responder import Control, Responder
from tests.fakes.scripted_model import FAMILY, VOCABULARY
from tests.fakes.timed_backend import known_speed

COUNTING = "<think>\n" + " ".join(map(str, range(1500)))
STEP, TOKEN = 0.1, 0.001


class TimedBackend(FakeBackend):
    """Every decode takes `STEP` seconds and `TOKEN` more for each token."""

    def __init__(self, text: str = COUNTING) -> None:
        super().__init__(scripted(VOCABULARY, text, answer="It is 2"), VOCABULARY, context=8192, sequences=1)
        self.now = 100.0

    def decode(self, batch: Sequence[Slice]) -> list[int | None]:
        self.now += STEP + TOKEN * sum(len(part.ids) for part in batch)
        return super().decode(batch)

    def clock(self) -> float:
        return self.now


def local(backend: TimedBackend) -> LocalResponder:
    responder = LocalResponder(backend, FAMILY, clock=backend.clock)
    known_speed(responder)
    return responder


def silent(line: str) -> None: ...


def test_what_is_late() -> None:
    assert not Run(2.0, 2.1 - 1e-9).late and Run(2.0, 2.11).late
    assert not Run(20.0, 20.4 - 1e-9).late and Run(20.0, 20.41).late
    assert Run(0.5, 0.9, refused=True).late
    assert Run(2.0, 1.5).lateness == -0.5


def test_the_row_of_a_setting() -> None:
    runs = [
        Run(2.0, 1.9, answer_tokens=10, close="deadline"),
        Run(2.0, 2.25, answer_tokens=0, close="deadline"),
        Run(2.0, 0.1, refused=True),
        Run(2.0, 1.0, answer_tokens=4, close="natural"),
    ]
    assert summed(Setting("2 s", 32), runs) == Row(
        "2 s",
        32,
        runs=4,
        refused=1,
        empty=1,
        late=1,
        worst_lateness_ms=250.0,
        median_share=0.95,
        median_answer_tokens=4,
        closes={"deadline": 2, "natural": 1},
    )
    refused = summed(Setting("x"), [Run(1.0, 0.25, refused=True)])
    assert (refused.median_share, refused.median_answer_tokens, refused.worst_lateness_ms) == (None, None, -750.0)
    heading, first, second = written([summed(Setting("2 s", 32), runs), refused]).splitlines()
    assert first.split() == ["2", "s", "32", "4", "1", "1", "1", "+250", "ms", "95.0%", "4"]
    assert second.split() == ["x", "own", "1", "1", "0", "0", "-750", "ms", "–", "–"]
    assert len(heading.split()) == 9


def test_the_row_of_cancels() -> None:
    assert cancels_row([0.01, None, 0.03, 0.02], 4000) == {
        "prompt_tokens": 4000,
        "runs": 4,
        "missed": 1,
        "median_ms": 20.0,
        "worst_ms": 30.0,
    }
    assert cancels_row([None], 10)["worst_ms"] is None


def test_an_endless_thought_is_in_time_or_refused() -> None:
    backend, measured = TimedBackend(), Measured()
    measure_endless(
        local(backend), measured, deadlines=(0.5, 5.0), lengths=(64, 600), runs=2, tell=silent, clock=backend.clock
    )
    rows = {(row.setting, row.prompt_tokens): row for row in (summed(*item) for item in measured.items())}
    assert set(rows) == {("0.5 s", 64), ("5 s", 64), ("0.5 s", 600), ("5 s", 600)}
    for length in (64, 600):
        assert (rows["0.5 s", length].refused, rows["0.5 s", length].worst_lateness_ms) == (2, -500.0)
        kept = rows["5 s", length]
        assert (kept.runs, kept.refused, kept.empty, kept.late) == (2, 0, 0, 0)
        assert kept.closes == {"deadline": 2}
        assert kept.worst_lateness_ms <= 0.0
        assert 0.5 < (kept.median_share or 0.0) <= 1.0
    prefills = [part for batch in backend.batches for part in batch if part.position < 300 < part.position + 64]
    assert len(prefills) == 1 + 2  # the sample, and each long prompt that was taken on: none came from the prefix cache


def test_the_shipped_models_deadlines_are_shares_of_its_own_time() -> None:
    backend, measured = TimedBackend("<think>\n1 + 1 = 2\n</think>\n\n2"), Measured()
    questions = ["What is 1 + 1?", "How much is 1 + 1, please?", "1 + 1 = ?"]
    measure_shipped(
        local(backend), measured, questions, shares=(0.6, 1.0, 4.0), runs=2, tell=silent, clock=backend.clock
    )
    tight, own, loose = (measured[Setting(f"{share} × own")] for share in ("0.6", "1", "4"))
    assert [len(runs) for runs in (tight, own, loose)] == [6, 6, 6]
    assert [run.deadline * 4 for run in own] == pytest.approx([run.deadline for run in loose])
    assert [run.seconds for run in loose] == pytest.approx([run.deadline for run in own])
    assert all(run.close == "natural" for run in loose)
    assert all(run.close == "deadline" for run in tight if not run.refused)
    assert not any(run.late for run in (*tight, *own, *loose))
    with pytest.raises(UsageError, match="three problems"):
        measure_shipped(local(backend), measured, questions[:2], shares=(1.0,), runs=1, tell=silent)


class Stuck(TimedBackend):
    """Its third decode of a prompt goes on until it is aborted, which takes 40 ms."""

    def __init__(self) -> None:
        super().__init__()
        self.stopped = threading.Event()

    def decode(self, batch: Sequence[Slice]) -> list[int | None]:
        if any(part.position >= 128 for part in batch):
            assert self.stopped.wait(30)
            self.now += 0.04
            raise Aborted
        return super().decode(batch)

    def abort(self) -> None:
        self.stopped.set()


def test_how_long_a_cancel_takes() -> None:
    backend = Stuck()
    request = Request((Message("user", "word " * 60),))
    taken = cancel_once(LocalResponder(backend, FAMILY, clock=backend.clock), request, 0.0, backend.clock)
    # from where the cancel came: the decode before, if it was still under way, and what the abort took
    assert taken == pytest.approx(0.04) or taken == pytest.approx(0.04 + STEP + 64 * TOKEN)


def test_a_prefill_that_is_over_at_once_cannot_be_cancelled() -> None:
    backend = TimedBackend("<think>\nA\n</think>\n\n2")
    short = Request((Message("user", "1+1?"),), Budget())
    assert cancel_once(LocalResponder(backend, FAMILY), short, 0.5) is None


def test_problems_are_spread_over_the_file() -> None:
    questions = [str(number) for number in range(10)]
    assert spread(questions, 4) == ["0", "2", "5", "7"]
    assert spread(questions, 99) == questions


class Breaking:
    """Passes requests on until the one that breaks."""

    def __init__(self, inner: Responder, breaks_at: int, error: BaseException) -> None:
        self.facts, self.backend_name, self.context = inner.facts, inner.backend_name, inner.context
        self._inner, self._left, self._error = inner, breaks_at, error

    def respond(self, request: Request, control: Control | None = None) -> Iterator[Event]:
        self._left -= 1
        if self._left < 0:
            raise self._error
        return self._inner.respond(request, control)

    def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
        return self._inner.respond_many(requests, control)

    def close(self) -> None: ...


def opens(responder: Responder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline_trial, "opened", lambda *_: contextlib.nullcontext(responder))


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (UsageError("No such thing."), 2)])
def test_what_was_measured_is_printed_when_it_breaks_off(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opens(Breaking(local(TimedBackend()), 3, error), monkeypatch)
    assert main(["--deadlines", "30,40", "--prompts", "64", "--runs", "2", "--json"]) == code
    printed, told = capsys.readouterr()
    found = json.loads(printed)
    assert [(row["setting"], row["runs"]) for row in found["rows"]] == [("30 s", 2)]
    assert "Traceback" not in told


class Late(Breaking):
    """Refuses everything, too late."""

    def __init__(self, inner: Responder, clock: list[float]) -> None:
        super().__init__(inner, 1, CannotMeetError("Not in time."))
        self._clock = clock

    def respond(self, request: Request, control: Control | None = None) -> Iterator[Event]:
        self._clock[0] += 3.0
        return super().respond(request, control)


@pytest.mark.parametrize(("deadline", "code"), [("2", 1), ("5", 0)])
def test_a_late_refusal_fails_the_trial(
    deadline: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    opens(Late(local(TimedBackend()), now), monkeypatch)
    monkeypatch.setattr(deadline_trial, "measure_endless", partial(measure_endless, clock=lambda: now[0]))
    assert main(["--deadlines", deadline, "--prompts", "64", "--runs", "1"]) == code
    assert f"{(3 - float(deadline)) * 1000:+.0f} ms" in capsys.readouterr().out

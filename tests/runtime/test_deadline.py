"""Deadlines over the scripted backend and a clock that its decodes move: in time, always, and with an answer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from models.errors import CannotMeetError, UsageError
from runtime.backends.backend import Aborted, Slice
from runtime.backends.fake import FakeBackend, scripted
from runtime.events import Done
from runtime.local_responder import LocalResponder
from runtime.pace import Speed
from runtime.reply import Reply
from runtime.request import Budget, Endings, Message, Request
from runtime.speed_record import SpeedRecord
from tests.fakes.scripted_model import FAMILY, VOCABULARY, ask, reply_of
from tests.fakes.timed_backend import LONG, SENTENCE, STEP, TOKEN, TimedBackend, known_speed


def reply(
    backend: TimedBackend, seconds: float, question: str = "1+1?", tokens: int | None = None
) -> tuple[Reply, float]:
    """The reply, and the seconds it took by the backend's clock."""
    responder = LocalResponder(backend, FAMILY, clock=lambda: backend.now)
    known_speed(responder)
    start = backend.now
    # the scripted thought says one sentence over and over
    request = Request((Message("user", question),), Budget(tokens, seconds), endings=Endings(loops=False))
    return reply_of(list(responder.respond(request))), backend.now - start


@pytest.mark.parametrize("seconds", [2.0, 3.5, 5.0, 10.0, 20.0])
def test_in_time_with_an_answer(seconds: float) -> None:
    found, taken = reply(TimedBackend(answer="It is 2"), seconds)
    assert found.close == "deadline"
    assert taken <= seconds
    assert found.answer == "It is 2" and found.finish == "stop"
    assert found.thinking.endswith("Time is up.")
    assert found.budget.seconds == seconds


def test_a_thought_ends_at_a_sentence_where_one_is_near() -> None:
    found, _ = reply(TimedBackend(), 20.0)
    assert found.thinking.endswith(SENTENCE + "\nTime is up.")


def test_a_thought_that_ends_sooner_is_left_alone() -> None:
    found, taken = reply(TimedBackend("<think>\nShort.\n</think>\n\n2"), 20.0)
    assert (found.close, found.answer) == ("natural", "2")
    assert taken < 5.0


def test_the_budget_holds_beside_the_deadline() -> None:
    found, _ = reply(TimedBackend(), 20.0, tokens=16)
    assert found.close == "budget" and found.usage.thinking_tokens <= 16


@pytest.mark.parametrize("slow_after", [12, 40, 60])
def test_a_machine_that_slows_down_is_followed(slow_after: int) -> None:
    found, taken = reply(TimedBackend(slow_after=slow_after), 12.0)
    assert found.close == "deadline"
    assert taken <= 12.0
    assert found.answer


def test_a_long_answer_is_cut_and_flagged() -> None:
    found, taken = reply(TimedBackend(answer="word " * 400), 6.0)
    assert taken <= 6.0
    assert (found.close, found.finish) == ("deadline", "length")
    assert found.answer and found.flags == ("deadline: the answer was cut off",)


def test_what_cannot_be_kept_is_refused_before_it_starts() -> None:
    backend = TimedBackend()
    responder = LocalResponder(backend, FAMILY, clock=lambda: backend.now)
    known_speed(responder)
    before = len(backend.batches)
    with pytest.raises(CannotMeetError, match=r"within 0.5 s .*--deadline [\d.]+ or more"):
        list(responder.respond(Request((Message("user", "1+1?"),), Budget(seconds=0.5))))
    assert len(backend.batches) == before


def test_a_prompt_too_long_for_the_time_says_what_would_fit() -> None:
    backend = TimedBackend(context=16384)
    responder = LocalResponder(backend, FAMILY, clock=lambda: backend.now)
    with pytest.raises(CannotMeetError, match=r"shorten the prompt of \d+ tokens to about \d+"):
        list(responder.respond(Request((Message("user", "word " * 2000),), Budget(seconds=6.0))))


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_no_such_deadline(seconds: float) -> None:
    with pytest.raises(UsageError, match="deadline"):
        Budget(seconds=seconds)


class StuckBackend(FakeBackend):
    """What it decodes far into a prompt goes on until it is aborted."""

    def __init__(self) -> None:
        super().__init__(scripted(VOCABULARY, LONG), VOCABULARY, context=4096)
        self.stopped = threading.Event()

    def decode(self, batch: Sequence[Slice]) -> list[int | None]:
        if any(part.position > 150 for part in batch) and not self.stopped.is_set():
            assert self.stopped.wait(30)
            raise Aborted
        return super().decode(batch)

    def abort(self) -> None:
        self.stopped.set()


def test_a_decode_that_would_outlast_the_deadline_is_broken_off() -> None:
    backend = StuckBackend()
    responder = LocalResponder(backend, FAMILY)
    events = list(responder.respond(Request((Message("user", "word " * 60),), Budget(seconds=1.0))))
    found = reply_of(events)
    assert backend.stopped.is_set()
    assert (found.close, found.finish, found.answer) == ("deadline", "length", "")
    assert found.flags


def test_the_speed_is_measured_once_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "speeds.json"
    backend = TimedBackend()
    first = LocalResponder(backend, FAMILY, record=SpeedRecord(file, "a"), clock=lambda: backend.now)
    speed = known_speed(first)
    assert speed is not None and speed.decode_tps == pytest.approx(1 / (STEP + TOKEN), rel=0.01)
    again = TimedBackend()
    second = LocalResponder(again, FAMILY, record=SpeedRecord(file, "a"), clock=lambda: again.now)
    known = known_speed(second)
    assert known is not None and known.decode_tps == pytest.approx(speed.decode_tps, rel=0.001)
    assert again.batches == []


def test_a_kept_speed_of_a_busy_hour_refuses_nothing(tmp_path: Path) -> None:
    record = SpeedRecord(tmp_path / "speeds.json", "a")
    record.keep(Speed(2.0, 0.5))
    backend = TimedBackend()
    responder = LocalResponder(backend, FAMILY, record=record, clock=lambda: backend.now)
    found = reply_of(list(responder.respond(Request((Message("user", "1+1?"),), Budget(seconds=10.0)))))
    assert found.answer == "2"
    speed = record.read()
    assert speed is not None and speed.decode_tps > 5.0


def test_without_a_deadline_nothing_is_measured() -> None:
    backend = TimedBackend("<think>\nA\n</think>\n\n2")
    responder = LocalResponder(backend, FAMILY, clock=lambda: backend.now)
    assert isinstance(list(responder.respond(ask()))[-1], Done)
    assert responder._speed.speed is None


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"a": 3}', '{"a": {"prefill_tps": "x"}}', '{"a": {"prefill_tps": 0}}']
)
def test_a_damaged_record_is_no_record(tmp_path: Path, content: str) -> None:
    file = tmp_path / "speeds.json"
    file.write_text(content)
    record = SpeedRecord(file, "a")
    assert record.read() is None
    record.keep(Speed(10.0, 2.0))
    assert record.read() == Speed(10.0, 2.0)


def test_widths_stand_beside_the_speed(tmp_path: Path) -> None:
    record = SpeedRecord(tmp_path / "speeds.json", "a")
    assert record.widths() == {}
    record.keep(Speed(10.0, 2.0), {8: 4})
    assert SpeedRecord(tmp_path / "speeds.json", "b").widths() == {}
    record.keep(Speed(11.0, 2.0))
    assert (record.read(), record.widths()) == (Speed(11.0, 2.0), {8: 4})
    record.keep(Speed(11.0, 2.0), {})
    assert record.widths() == {}


def test_a_record_that_cannot_be_written_is_let_be(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("x")
    SpeedRecord(blocked / "speeds.json", "a").keep(Speed(1.0, 1.0))
    assert blocked.read_text() == "x"

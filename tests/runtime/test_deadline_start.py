"""How a turn under a deadline begins: the rehearsal, what is refused, and what is known of the machine's speed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from models.errors import CannotMeetError, UsageError
from runtime.backends.backend import Aborted, Slice
from runtime.backends.fake import FakeBackend, scripted
from runtime.events import AnswerDelta
from runtime.local_responder import LocalResponder
from runtime.pace import Speed
from runtime.reply import Reply
from runtime.request import Budget, Endings, Message, Request
from runtime.responder import Control
from runtime.speed_record import SpeedRecord
from tests.fakes.scripted_model import FAMILY, VOCABULARY, reply_of
from tests.fakes.timed_backend import LONG, STEP, TOKEN, TimedBackend, known_speed


def request(seconds: float | None, *said: str) -> Request:
    roles = ("user", "assistant", "user")
    messages = tuple(Message(role, text) for role, text in zip(roles, said or ("1+1?",), strict=False))  # type: ignore[arg-type]
    return Request(messages, Budget(seconds=seconds), endings=Endings(loops=False))


def local(backend: TimedBackend, record: SpeedRecord | None = None) -> LocalResponder:
    return LocalResponder(backend, FAMILY, clock=backend.clock, record=record)


def asked(responder: LocalResponder, one: Request) -> Reply:
    return reply_of(list(responder.respond(one)))


# the rehearsal


def test_a_rehearsal_ends_at_the_deadline() -> None:
    backend = TimedBackend()
    start = backend.now
    with pytest.raises(CannotMeetError, match=r"within 0.3 s cannot be kept"):
        asked(local(backend), request(0.3))
    assert backend.now - start <= 0.3 + STEP + TOKEN


def test_a_rehearsal_is_cancelled() -> None:
    control = Control()
    backend = TimedBackend(on_decode=lambda fake: control.cancel() if len(fake.batches) == 1 else None)
    found = reply_of(list(local(backend).respond(request(60.0), control)))
    assert (found.finish, found.answer, len(backend.batches)) == ("cancelled", "", 1)


def test_an_interrupt_during_the_rehearsal_ends_with_a_cancelled_reply() -> None:
    def interrupt(fake: FakeBackend) -> None:
        if len(fake.batches) == 2:
            fake._on_decode = None
            raise KeyboardInterrupt

    backend = TimedBackend(on_decode=interrupt)
    responder = local(backend)
    assert asked(responder, request(60.0)).finish == "cancelled"
    assert len(backend.batches) == 2
    assert asked(responder, request(60.0)).answer == "2"


class StuckBackend(FakeBackend):
    """Its first decode goes on until it is aborted."""

    def __init__(self) -> None:
        super().__init__(scripted(VOCABULARY, LONG), VOCABULARY)
        self.stopped = threading.Event()

    def decode(self, batch: Sequence[Slice]) -> list[int | None]:
        assert self.stopped.wait(30)
        raise Aborted

    def abort(self) -> None:
        self.stopped.set()


def test_a_decode_of_the_rehearsal_that_would_outlast_the_deadline_is_broken_off() -> None:
    with pytest.raises(CannotMeetError, match="before it was known how fast"):
        list(LocalResponder(StuckBackend(), FAMILY).respond(request(0.3)))


@pytest.mark.parametrize("seconds", [1.2, 1.4, 1.6, 1.8, 2.0, 2.2])
def test_what_the_rehearsal_took_is_gone(seconds: float) -> None:
    backend = TimedBackend(answer="It is 2")
    start = backend.now
    try:
        found = asked(local(backend), request(seconds))
    except CannotMeetError as error:
        assert f"within {seconds:g} s" in error.detail
    else:
        assert (found.answer, found.finish) == ("It is 2", "stop")
    assert backend.now - start <= seconds


def test_a_model_that_is_closed_in_the_rehearsal_ends_the_turn() -> None:
    responder = local(TimedBackend())
    rehearse, ended = responder._rehearse, []

    def closing(*about: Any) -> Speed | None:
        found = rehearse(*about)
        responder.close()
        return found

    def ask() -> None:
        try:
            asked(responder, request(60.0))
        except UsageError as error:
            ended.append(error.detail)

    responder._rehearse = closing  # type: ignore[method-assign, assignment]
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(20)
    assert ended == ["The model is closed; open it again."]


# what is refused


def test_a_history_that_the_cache_holds_costs_nothing() -> None:
    backend = TimedBackend("<think>\nShort.\n</think>\n\n2", context=16384)
    responder = local(backend)
    long = "word " * 900
    asked(responder, request(None, long))
    start = backend.now
    with pytest.raises(CannotMeetError):
        asked(responder, request(6.0, "No " + long))
    found = asked(responder, request(6.0, long, "2", "2+2?"))
    assert found.answer and found.usage.cached_tokens > 4500
    assert backend.now - start <= 6.0


class Tiring(TimedBackend):
    """A token far behind in a prompt takes eight times as long."""

    def seconds(self, batch: Sequence[Slice]) -> float:
        return sum(8 if part.position >= 128 else 1 for part in batch) * super().seconds(batch) / len(batch)


def test_a_prefill_that_cannot_be_done_in_time_ends_early(tmp_path: Path) -> None:
    record = SpeedRecord(tmp_path / "speeds.json", "a")
    backend = Tiring(context=16384)
    responder = local(backend, record)
    known_speed(responder)
    backend.now += 1000.0
    start, known = backend.now, record.read()
    found = asked(responder, request(12.0, "word " * 500))
    taken = backend.now - start
    assert (found.close, found.finish, found.answer) == ("deadline", "length", "")
    assert found.flags == ("deadline: the answer was cut off",)
    assert taken < 10.0
    learned = record.read()
    assert known is not None and learned is not None and learned.prefill_tps < known.prefill_tps / 2
    before = len(backend.batches)
    with pytest.raises(CannotMeetError):  # it was just now so slow
        asked(responder, request(12.0, "Again " + "word " * 500))
    assert len(backend.batches) == before


# what is known


def test_a_turn_tells_how_fast_it_was(tmp_path: Path) -> None:
    record = SpeedRecord(tmp_path / "speeds.json", "a")
    record.keep(Speed(5.0, 0.5))
    backend = TimedBackend("<think>\nA short thought.\n</think>\n\n2")
    asked(local(backend, record), request(None, "word " * 20))
    speed = record.read()
    assert speed is not None
    assert speed.decode_tps == pytest.approx(1 / (STEP + TOKEN), rel=0.01)
    assert 100 < speed.prefill_tps < 1000


def test_a_short_turn_tells_nothing_of_its_prefill(tmp_path: Path) -> None:
    record = SpeedRecord(tmp_path / "speeds.json", "a")
    record.keep(Speed(5.0, 0.5))
    asked(local(TimedBackend("<think>\nA short thought.\n</think>\n\n2"), record), request(None, "1?"))
    speed = record.read()
    assert speed is not None and speed.prefill_tps == 5.0 and speed.decode_tps > 5.0


def test_turns_side_by_side_do_not_tell_how_fast_one_is(tmp_path: Path) -> None:
    record = SpeedRecord(tmp_path / "speeds.json", "a")
    record.keep(Speed(5.0, 0.5))
    backend = TimedBackend("<think>\nA short thought.\n</think>\n\n2")
    list(local(backend, record).respond_many([request(None, "word " * 20), request(None, "other " * 20)]))
    assert record.read() == Speed(5.0, 0.5)


def test_turns_of_two_calls_at_once_do_not_tell_how_fast_one_is(tmp_path: Path) -> None:
    record = SpeedRecord(tmp_path / "speeds.json", "a")
    record.keep(Speed(5.0, 0.5))
    responder = local(TimedBackend("<think>\nA short thought.\n</think>\n\n2"), record)
    first = responder.respond(request(None, "word " * 20))
    next(first)
    asked(responder, request(None, "other " * 20))
    assert reply_of(list(first)).answer == "2"
    assert record.read() == Speed(5.0, 0.5)


def test_a_pause_in_the_prefill_does_not_make_the_model_slow() -> None:
    backend, control = TimedBackend("<think>\nA.\n</think>\n\n2"), Control()
    responder = local(backend)
    step, steps = responder._engine.step, []

    def stepping() -> bool:
        worked = step()
        steps.append(worked)
        if len(steps) == 1:
            control.pause()
        elif not worked:
            backend.now += 60.0
            control.resume()
        return worked

    responder._engine.step = stepping  # type: ignore[method-assign]
    assert reply_of(list(responder.respond(request(None, "word " * 40), control))).answer == "2"
    assert False in steps
    speed = responder._speed.speed
    assert speed is not None and speed.prefill_tps == pytest.approx(64 / (STEP + 64 * TOKEN), rel=0.2)


def test_a_refusal_is_measured_again_after_a_while(tmp_path: Path) -> None:
    backend = TimedBackend()
    responder = local(backend)
    responder._speed.measured(2.0, 0.5)
    with pytest.raises(CannotMeetError):
        asked(responder, request(10.0))
    assert not backend.batches
    backend.now += 100.0
    assert asked(responder, request(10.0)).answer == "2"


# the answer's time


def test_short_answers_leave_more_time_to_think() -> None:
    backend = TimedBackend()
    responder = local(backend)
    known_speed(responder)
    thoughts = []
    for _ in range(5):
        start = backend.now
        found = asked(responder, request(20.0))
        assert (found.close, found.answer, found.finish) == ("deadline", "2", "stop")
        assert backend.now - start <= 20.0
        thoughts.append(found.usage.thinking_tokens)
    assert min(thoughts[3:]) > max(thoughts[:3]) + 20


def test_answers_that_were_stopped_do_not_tell_how_long_answers_are() -> None:
    responder = local(TimedBackend("<think>\nA.\n</think>\n\n" + "word " * 40))
    for _ in range(4):
        control = Control()
        for event in responder.respond(request(None), control):
            if isinstance(event, AnswerDelta):
                control.cancel()
    assert responder._lengths.most is None


def test_a_cut_answer_without_a_thought_is_flagged() -> None:
    backend = TimedBackend(answer="word " * 400)
    responder = local(backend)
    known_speed(responder)
    found = asked(responder, Request((Message("user", "1+1?"),), Budget(tokens=0, seconds=4.0)))
    assert (found.close, found.finish) == ("off", "length")
    assert found.flags == ("deadline: the answer was cut off",)
    limited = asked(responder, Request((Message("user", "1+1?"),), Budget(tokens=0, seconds=9.0, answer_reserve=5)))
    assert (limited.finish, limited.flags) == ("length", ())

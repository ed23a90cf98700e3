"""Deadlines of turns that are not alone or stand still: votes, trial answers, pauses."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from models.errors import CannotMeetError
from runtime.backends.fake import FakeBackend, scripted
from runtime.events import AnswerDelta, Event, ThinkingDelta
from runtime.local_responder import LocalResponder
from runtime.pace import Speed
from runtime.reply import Reply
from runtime.request import Budget, Endings, Message, Probing, Request, Sampling, Voting
from runtime.responder import Control
from runtime.speed_record import SpeedRecord
from runtime.voting import VotingResponder
from tests.fakes.scripted_model import FAMILY, VOCABULARY, reply_of
from tests.fakes.timed_backend import TimedBackend, known_speed
from tests.runtime.test_trial_answers import WORDS, doubter

# votes


def votes(backend: TimedBackend, seconds: float, count: int = 4) -> tuple[Reply, float]:
    responder = VotingResponder(LocalResponder(backend, FAMILY, clock=backend.clock), Sampling)
    request = Request(
        (Message("user", "1+1?"),),
        Budget(seconds=seconds),
        Sampling(temperature=0.01),
        endings=Endings(loops=False),
        voting=Voting(count, first=count),
    )
    start = backend.now
    return reply_of(list(responder.respond(request))), backend.now - start


def test_votes_that_wait_for_a_place_share_one_deadline() -> None:
    found, taken = votes(TimedBackend(answer="word " * 40, sequences=2), 8.0)
    assert taken <= 8.0
    assert found.timings.total_s == pytest.approx(taken, abs=0.5)
    assert found.answer.startswith("word word") and len(found.votes) == 2
    assert any(flag.startswith("votes: 2 of 4 thoughts were left out: A reply within 8 s") for flag in found.flags)


def test_a_second_wave_gets_what_is_left() -> None:
    found, taken = votes(TimedBackend("<think>\nA.\n</think>\n\n2", sequences=2), 9.0)
    assert taken <= 9.0
    assert (found.answer, len(found.votes), found.flags) == ("2", 4, ())


def test_votes_that_cannot_be_in_time_at_all_are_refused() -> None:
    with pytest.raises(CannotMeetError, match=r"within 0\.9 s"):
        votes(TimedBackend(sequences=2), 0.9)


# trial answers


@pytest.mark.parametrize("seconds", [7.5, 7.8, 8.1, 8.4, 9.0, 11.7])
def test_trial_answers_leave_the_answers_time_whole(tmp_path: Path, seconds: float) -> None:
    answers = [str(digit) * 22 for digit in range(1, 9)]
    backend = TimedBackend(script=doubter(answers), sequences=2)
    backend.vocabulary = WORDS
    record = SpeedRecord(tmp_path / "speeds.json", "a")
    record.keep(Speed(390.0, 9.9))
    responder = LocalResponder(backend, FAMILY, clock=backend.clock, spare=1, record=record)
    probing = Probing(confidence=0.001, least=4, every=1000, agreeing=9)
    start = backend.now
    request = Request(
        (Message("user", "1+1?"),), Budget(seconds=seconds), endings=Endings(probing=probing, loops=False)
    )
    found = reply_of(list(responder.respond(request)))
    assert backend.now - start <= seconds
    assert (found.close, found.finish) == ("deadline", "stop")
    assert found.answer in answers


# pauses


class Sleeping(threading.Condition):
    """Waits by moving the backend's clock."""

    def __init__(self, backend: TimedBackend) -> None:
        super().__init__()
        self._backend = backend
        self.slept: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.slept.append(timeout)
        self._backend.now += timeout
        return False


def paused_at(kind: type[Event], responder: LocalResponder, seconds: float) -> Reply:
    control, events = Control(), []
    request = Request((Message("user", "1+1?"),), Budget(seconds=seconds), endings=Endings(loops=False))
    for event in responder.respond(request, control):
        events.append(event)
        if isinstance(event, kind):
            control.pause()
    return reply_of(events)


@pytest.mark.parametrize("seconds", [6.0, 6.06, 6.12, 6.18, 6.24])
def test_a_pause_in_the_answer_ends_at_the_deadline(seconds: float) -> None:
    backend = TimedBackend("<think>\nA.\n</think>\n\n" + "word " * 40)
    responder = LocalResponder(backend, FAMILY, clock=backend.clock)
    known_speed(responder)
    responder._changed = Sleeping(backend)
    start = backend.now
    found = paused_at(AnswerDelta, responder, seconds)
    assert backend.now - start <= seconds + 0.01
    assert (found.finish, found.flags) == ("length", ("deadline: the answer was cut off",))


@pytest.mark.parametrize("seconds", [6.0, 6.06, 6.12, 6.18, 6.24])
def test_a_pause_in_the_thought_ends_when_it_must_close(seconds: float) -> None:
    backend = TimedBackend()
    responder = LocalResponder(backend, FAMILY, clock=backend.clock)
    known_speed(responder)
    responder._changed = sleeping = Sleeping(backend)
    start = backend.now
    found = paused_at(ThinkingDelta, responder, seconds)
    assert backend.now - start <= seconds
    assert (found.close, found.answer, found.finish) == ("deadline", "2", "stop")
    assert len(sleeping.slept) > 5
    assert sleeping.slept[-1] < sleeping.slept[0]  # the last wait is as long as the thought still may be


class Woken(threading.Condition):
    """Sleeps until it is notified, whatever the timeout."""

    missed = False

    def wait(self, timeout: float | None = None) -> bool:
        if not super().wait(10):
            self.missed = True
            return False
        return True


def test_the_deadline_wakes_who_waits_on_a_paused_answer() -> None:
    backend = FakeBackend(scripted(VOCABULARY, "<think>\nA.\n</think>\n\n" + "word " * 40), VOCABULARY)
    responder = LocalResponder(backend, FAMILY)
    known_speed(responder)
    responder._changed = changed = Woken()
    found = paused_at(AnswerDelta, responder, 1.0)
    assert not changed.missed
    assert found.finish == "length"

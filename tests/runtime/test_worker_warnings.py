"""What a worker warns of reaches its parent: at any time, whole, to the last, and nobody waits for it forever."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from runtime.backends.fake import FakeBackend, scripted
from runtime.events import AnswerDelta, Event, ThinkingDelta
from runtime.local_responder import LocalResponder
from runtime.request import Request, Resumable
from runtime.responder import Control
from runtime.worker.process import _Desk
from runtime.worker.protocol import Happened, Warned
from runtime.worker.warning_log import LOGGER, WarningLog
from runtime.worker.worker import WorkerError, WorkerResponder, _import_path
from tests.fakes.scripted_model import FAMILY, VOCABULARY, ask, reply_of
from tests.fakes.scripted_responder import MortalResponder

ROOT = Path(__file__).parents[2]


class Told:
    """What was warned of here, in order; `wait_for` waits until that came."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._changed = threading.Condition()

    def tell(self, text: str) -> None:
        with self._changed:
            self.texts.append(text)
            self._changed.notify_all()

    def wait_for(self, text: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: text in self.texts, 60)


@pytest.fixture
def told() -> Iterator[Told]:
    told = Told()
    log = WarningLog(told.tell)
    log.begin()
    yield told
    log.end()


class WarningResponder(MortalResponder):
    """Warns when it is opened, in each turn, some time after it, and when it is closed."""

    def respond(self, request: Request, control: Control | None = None) -> Iterator[Event]:
        LOGGER.info("this is no warning")
        LOGGER.warning("asked \x1b[2J%s\x07\n\u202eonce", request.messages[-1].content)
        yield from super().respond(request, control)
        threading.Thread(target=self._warn_later, args=(threading.current_thread(),)).start()

    def close(self) -> None:
        LOGGER.error("closed " + "x" * 5000)

    @staticmethod
    def _warn_later(turn: threading.Thread) -> None:
        turn.join()
        LOGGER.warning("between the turns")


def open_warning(_model: object) -> WarningResponder:
    """Called in the worker, by its import path."""
    LOGGER.warning("opened")
    return WarningResponder()


def open_thinker(_model: object) -> LocalResponder:
    """Called in the worker; it keeps its turns in the state folder."""
    text = "<think>\n" + "".join(f"{n} and {n} is {2 * n}.\n" for n in range(20)) + "</think>\n\n2"
    return LocalResponder(FakeBackend(scripted(VOCABULARY, text), VOCABULARY, context=2048), FAMILY)


def test_warnings_come_at_any_time_and_to_the_last(told: Told) -> None:
    responder = WorkerResponder(open_warning)
    assert told.texts == ["opened"]
    assert reply_of(responder.respond(ask("1+1?"))).finish == "stop"
    told.wait_for("between the turns")
    responder.close()
    assert told.texts[:3] == ["opened", "asked [2J1+1? once", "between the turns"]
    (last,) = told.texts[3:]
    assert last.startswith("closed xxx") and last.endswith("x…") and len(last) == 1000


def test_a_worker_that_dies_has_told_its_warnings(told: Told) -> None:
    responder = WorkerResponder(open_warning)
    with pytest.raises(WorkerError, match="GGML_ASSERT failed"):
        list(responder.respond(ask("die")))
    assert told.texts == ["opened", "asked [2Jdie once"]
    responder.close()


def test_a_turn_that_cannot_be_kept_is_told(told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("KANGAE_STATE_DIR", str(tmp_path / "file"))
    responder, control = WorkerResponder(open_thinker), Control()
    for event in responder.respond(Resumable.of(ask(), id="turn"), control):
        if isinstance(event, ThinkingDelta):
            control.cancel()
    responder.close()
    (text,) = told.texts
    assert text.startswith("The turn cannot be gone on with later: ") and "KANGAE_STATE_DIR" in text


def test_a_listener_that_fails_ends_no_turn(capfd: pytest.CaptureFixture[str]) -> None:
    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ZeroDivisionError

    failing = Failing()
    LOGGER.addHandler(failing)
    try:
        responder = WorkerResponder(open_warning)
        assert reply_of(responder.respond(ask("1+1?"))).answer == "The sum is **42**."
        responder.close()
    finally:
        LOGGER.removeHandler(failing)
    assert "Traceback" not in capfd.readouterr().err


class Desk:
    """A worker's desk whose parent reads only when it is told to."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.parent: Connection[Any, Any] = Connection(ours.detach())
        self.desk = _Desk(Connection(theirs.detach()))

    def close(self) -> None:
        self.parent.close()
        self.desk._pipe.close()


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.close()


def test_who_warns_does_not_wait_for_a_pipe_that_another_has_filled(desk: Desk) -> None:
    long = Happened(0, AnswerDelta("x" * (8 << 20), 1))
    sender = threading.Thread(target=desk.desk.send, args=(long,), daemon=True)
    sender.start()
    assert desk.parent.poll(60)  # it has begun, and cannot end: a socket holds less
    warner = threading.Thread(target=desk.desk.warn, args=("the disk is full",), daemon=True)
    warner.start()
    warner.join(60)
    assert not warner.is_alive() and sender.is_alive()
    assert desk.parent.recv() == long
    assert desk.parent.poll(60) and desk.parent.recv() == Warned("the disk is full")
    sender.join(60)
    assert not sender.is_alive()


def test_what_warns_while_it_is_sent_is_told_after_it(desk: Desk) -> None:
    class Talkative(AnswerDelta):
        def __reduce__(self) -> tuple[Any, ...]:
            desk.desk.warn("sent")
            return AnswerDelta, (self.text, self.tokens)

    sender = threading.Thread(target=desk.desk.send, args=(Happened(0, Talkative("a", 1)),), daemon=True)
    sender.start()
    sender.join(60)
    assert not sender.is_alive()
    assert [desk.parent.recv(), desk.parent.recv()] == [Happened(0, AnswerDelta("a", 1)), Warned("sent")]


def test_no_warning_of_many_threads_is_lost(desk: Desk) -> None:
    def work(name: int) -> None:
        for number in range(200):
            desk.desk.warn(f"{name} {number}")
            desk.desk.send(Happened(name, AnswerDelta("a", number)))

    threads = [threading.Thread(target=work, args=(name,), daemon=True) for name in range(4)]
    for thread in threads:
        thread.start()
    seen = [desk.parent.recv() for _ in range(4 * 2 * 200)]
    for thread in threads:
        thread.join(60)
    for name in range(4):
        mine = [one.text for one in seen if isinstance(one, Warned) and one.text.startswith(f"{name} ")]
        assert mine == [f"{name} {number}" for number in range(200)]


def test_the_worker_finds_the_packages_and_not_their_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", ["/elsewhere"])
    assert _import_path() == ["/elsewhere", str(ROOT)]

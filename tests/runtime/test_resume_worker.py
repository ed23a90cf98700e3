"""Kept turns of an engine in a worker process: they outlive the worker, and the next one goes on with them."""

from __future__ import annotations

import os
import signal

from runtime.backends.fake import FakeBackend, scripted
from runtime.events import Closed, ThinkingDelta
from runtime.local_responder import LocalResponder
from runtime.request import Resumable
from runtime.responder import Control
from runtime.turn.kept_turns import KeptTurns
from runtime.worker.worker import WorkerResponder
from tests.fakes.scripted_model import FAMILY, VOCABULARY, ask, reply_of

TEXT = "<think>\n" + "".join(f"{n} and {n} is {2 * n}.\n" for n in range(20)) + "</think>\n\n2"


def open_thinker(_model: object) -> LocalResponder:
    """Called in the worker, by its import path."""
    return LocalResponder(FakeBackend(scripted(VOCABULARY, TEXT), VOCABULARY, context=2048), FAMILY)


def test_a_turn_outlives_its_worker() -> None:
    turns = KeptTurns()
    wanted = reply_of(open_thinker(None).respond(ask()))
    workers, control, events = WorkerResponder(open_thinker), Control(), []
    try:
        for event in workers.respond(Resumable.of(ask(), id="turn"), control):
            events.append(event)
            if isinstance(event, ThinkingDelta) and not control.cancelled:
                control.cancel()
        stopped = reply_of(events)
        assert (stopped.finish, turns.has("turn")) == ("cancelled", True)
        assert workers._worker is not None
        os.kill(workers._worker._process.pid, signal.SIGKILL)
        workers._worker._reader.join(60)
        rest = list(workers.respond(Resumable.of(ask(), id="turn", resumed=True)))
    finally:
        workers.close()
    reply = reply_of(rest)
    assert len(stopped.thinking) < len(wanted.thinking)
    for name in ("thinking", "answer", "close", "finish", "usage", "budget"):
        assert getattr(reply, name) == getattr(wanted, name)
    assert sum(isinstance(event, Closed) for event in rest) == 1
    assert not turns.has("turn")

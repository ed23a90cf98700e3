"""The worker process: same events as in-process, steering at once, crashes as sentences, no orphans."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.errors import InternalError, KangaeError, ModelError
from runtime.events import AnswerDelta, Closed, Done, Event, ThinkingDelta
from runtime.request import Budget, Message, Request
from runtime.responder import Control
from runtime.worker import process as worker_process
from runtime.worker.worker import WorkerError, WorkerResponder
from tests.fakes.scripted_responder import FACTS, ScriptedResponder, open_scripted, open_with_progress

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerResponder]:
    responder = WorkerResponder(open=open_scripted, model="scripted")
    yield responder
    responder.close()


def asked(question: str, budget: Budget | None = None) -> Request:
    return Request((Message("user", question),), budget=budget or Budget(), id="1")


def done(events: list[Event]) -> Done:
    last = events[-1]
    assert isinstance(last, Done)
    return last


def pid_of(responder: WorkerResponder) -> int:
    assert responder._worker is not None
    return responder._worker._process.pid


def test_the_events_are_those_of_the_responder_itself(worker: WorkerResponder) -> None:
    request = asked("12 + 30?", Budget(tokens=4))
    assert list(worker.respond(request)) == list(ScriptedResponder().respond(request))
    assert (worker.facts, worker.backend_name, worker.context) == (FACTS, "scripted", 2048)


def test_many_requests_go_over_together(worker: WorkerResponder) -> None:
    events = list(worker.respond_many([asked("a"), asked("b")]))
    assert [event.reply.question for event in events if isinstance(event, Done)] == ["a", "b"]


def test_progress_of_the_load_is_told() -> None:
    seen: list[float] = []
    responder = WorkerResponder(open=open_with_progress, model="scripted", on_progress=seen.append)
    responder.close()
    assert seen == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("wish", ["answer_now", "cancel"])
def test_steering_reaches_a_turn_under_way(wish: str) -> None:
    responder = WorkerResponder(open=open_scripted, model="gated")
    control = Control()
    events: list[Event] = []
    for event in responder.respond(asked("12 + 30?"), control):
        events.append(event)
        if isinstance(event, ThinkingDelta) and event.tokens == 2:
            getattr(control, wish)()
    responder.close()
    reply = done(events).reply
    if wish == "cancel":
        assert (reply.finish, reply.thinking, reply.answer) == ("cancelled", "12 + ", "")
    else:
        assert Closed("user", 2) in events
        assert (reply.finish, reply.answer) == ("stop", "The sum is **42**.")


def test_a_turn_that_nobody_listens_to_is_cancelled_and_the_next_one_answered() -> None:
    responder = WorkerResponder(open=open_scripted, model="gated")
    events = responder.respond(asked("first"))
    for event in events:
        if isinstance(event, ThinkingDelta):
            break
    events.close()  # type: ignore[attr-defined]
    control = Control()
    control.answer_now()
    assert done(list(responder.respond(asked("second"), control))).reply.question == "second"
    responder.close()


def test_two_threads_may_ask_at_once(worker: WorkerResponder) -> None:
    answers: dict[str, str] = {}

    def ask(question: str) -> None:
        answers[question] = done(list(worker.respond(asked(question)))).reply.question

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {"a": "a", "b": "b"}


def test_a_crash_is_a_sentence_and_the_next_question_starts_a_new_worker(worker: WorkerResponder) -> None:
    first = pid_of(worker)
    events: list[Event] = []
    with pytest.raises(WorkerError) as failure:
        events.extend(worker.respond(asked("die")))
    assert "SIGABRT" in failure.value.detail
    assert "GGML_ASSERT failed: the shape is wrong" in failure.value.detail
    assert done(list(worker.respond(asked("again")))).reply.answer == "The sum is **42**."
    assert pid_of(worker) != first


def test_without_a_place_for_temporary_files_only_the_last_words_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    responder = WorkerResponder(open=open_scripted, model="scripted")
    assert done(list(responder.respond(asked("12 + 30?")))).reply.answer == "The sum is **42**."
    with pytest.raises(WorkerError, match=r"ended by the signal SIGABRT\. The next question starts a new one\."):
        list(responder.respond(asked("die")))
    responder.close()


def test_a_worker_that_was_killed_while_idle_is_replaced(worker: WorkerResponder) -> None:
    assert worker._worker is not None
    os.kill(pid_of(worker), signal.SIGKILL)
    worker._worker._reader.join(20)
    events = list(worker.respond(asked("still there?")))
    assert any(isinstance(event, AnswerDelta) for event in events)


def test_errors_of_opening_keep_their_kind_and_exit_code() -> None:
    with pytest.raises(ModelError, match="no model called missing") as failure:
        WorkerResponder(open=open_scripted, model="missing")
    assert failure.value.exit_code == 3


def test_a_fault_names_its_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KANGAE_STATE_DIR", str(tmp_path))
    with pytest.raises(InternalError, match=r"RuntimeError: a fault of ours\. The report is in "):
        WorkerResponder(open=open_scripted, model="broken")
    (report,) = (tmp_path / "reports").iterdir()
    assert "Traceback" in report.read_text(encoding="utf-8")


def test_closing_ends_the_process_and_refuses_more() -> None:
    responder = WorkerResponder(open=open_scripted, model="scripted")
    assert responder._worker is not None
    process = responder._worker._process
    responder.close()
    responder.close()
    assert process.returncode == 0
    with pytest.raises(KangaeError, match="was closed"):
        list(responder.respond(asked("anyone?")))


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this system tells no end of a stranger's process")
def test_the_worker_ends_with_its_parent_even_if_that_is_killed() -> None:
    """A process's descriptor becomes readable when the process ends."""
    script = (
        "import os, sys, threading\n"
        "from runtime.worker.worker import WorkerResponder\n"
        "from tests.fakes.scripted_responder import open_scripted\n"
        "responder = WorkerResponder(open=open_scripted, model='gated')\n"
        "print(responder._worker._process.pid, flush=True)\n"
        "threading.Event().wait()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = os.pidfd_open(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    ended, _, _ = select.select([worker], [], [], 20)
    os.close(worker)
    parent.stdout.close()
    assert ended


def test_a_fault_is_told_also_where_no_report_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KANGAE_STATE_DIR", "~no-such-user/x")
    error = worker_process._tellable(RuntimeError("a fault of ours"))
    assert error.exit_code == 70
    assert "a fault of ours" in error.detail

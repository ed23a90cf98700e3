"""`kangae ask` that is broken off, by Ctrl-C, a closed terminal or a full output: what was said is kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

import kangae
from runtime import opening
from runtime.commands.interrupt import CancelOnInterrupt
from runtime.responder import Control
from runtime.store import Store
from tests.fakes.answering_responder import AnsweringResponder

ROOT = Path(__file__).parents[2]
Kept = Callable[[], list[dict[str, Any]]]


def test_an_interrupted_reply_is_kept_and_gives_130(
    model: AnsweringResponder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kangae.main(["ask", "stop"]) == 130
    assert capsys.readouterr().err == "one two three\nInterrupted; what was produced is kept.\n"
    with Store.open() as store:
        (reply,) = store.replies(store.conversations()[0].id)
    assert (reply.record["finish"], reply.record["thinking"]) == ("cancelled", "one two three")


def test_what_was_stopped_is_told_and_kept_only_if_there_is_any(
    model: AnsweringResponder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kangae.main(["ask", "stop"]) == 130
    assert kangae.main(["ask", "stop", "--budget", "off"]) == 130  # nothing was thought
    assert capsys.readouterr().err.count("Interrupted") == 2
    with Store.open() as store:
        assert len(store.conversations()) == 1


def test_ctrl_c_before_the_reply_is_one_object(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_model(name: str, **options: object) -> AnsweringResponder:
        raise KeyboardInterrupt

    monkeypatch.setattr(opening, "open_model", open_model)
    assert kangae.main(["ask", "x", "--json"]) == 130
    assert json.loads(capsys.readouterr().out)["error"]["exit"] == 130
    assert kangae.main(["ask", "x"]) == 130
    assert capsys.readouterr().err.startswith("Interrupted")


SCRIPT = """
import sys
from runtime import opening
from tests.fakes.scripted_responder import Script, ScriptedResponder
import signal, threading, kangae
signal.signal(signal.SIGHUP, signal.SIG_IGN if sys.argv[1] == "ignoring" else signal.SIG_DFL)
gate = {3: threading.Event()} if sys.argv[1] != "free" else {}
opening.open_model = lambda name, **options: ScriptedResponder([Script(answer=("42",) * 9, gates=gate)])
sys.exit(kangae.main(sys.argv[2:]))
"""


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *words], cwd=ROOT, env=environment, stdout=stdout, stderr=subprocess.PIPE
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_ctrl_c_prints_what_there_is(child: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = child("gated", "ask", "x")
    assert process.stderr is not None
    said = process.stderr.read(7)
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said + rest == b"12 + 30\nInterrupted; what was produced is kept.\n"


def test_a_terminal_that_is_closed_loses_no_turn(
    child: Callable[..., subprocess.Popen[bytes]], kept_replies: Kept
) -> None:
    process = child("gated", "ask", "x")
    assert process.stderr is not None
    process.stderr.read(7)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 130
    (record,) = kept_replies()
    assert (record["thinking"], record["finish"]) == ("12 + 30", "cancelled")


def test_a_hangup_that_is_ignored_stays_so(child: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = child("ignoring", "ask", "x")
    assert process.stderr is not None
    process.stderr.read(7)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_a_second_hangup_does_no_more_and_a_second_ctrl_c_ends_the_program() -> None:
    control = Control()
    with CancelOnInterrupt(control) as interrupt:
        interrupt._handle(signal.SIGHUP, None)
        assert control.cancelled
        interrupt._handle(signal.SIGHUP, None)
        interrupt._handle(signal.SIGINT, None)
        with pytest.raises(KeyboardInterrupt):
            interrupt._handle(signal.SIGINT, None)


@pytest.fixture
def closed_terminal() -> Iterator[TextIO]:
    ours, theirs = os.openpty()
    os.close(ours)
    with open(theirs, "w", encoding="utf-8") as stream:
        yield stream


def test_an_answer_that_no_terminal_takes_is_kept(
    model: AnsweringResponder, closed_terminal: TextIO, monkeypatch: pytest.MonkeyPatch, kept_replies: Kept
) -> None:
    monkeypatch.setattr(sys, "stdout", closed_terminal)
    assert kangae.main(["ask", "one question"]) == 130
    assert [record["answer"] for record in kept_replies()] == ["question"]


@pytest.mark.parametrize("words", [["x y", "--json"], ["--file", "FILE"]])
def test_objects_that_no_terminal_takes_are_kept(
    model: AnsweringResponder,
    lines: Callable[..., str],
    closed_terminal: TextIO,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    kept_replies: Kept,
) -> None:
    path = lines({"question": "x y"})
    monkeypatch.setattr(sys, "stdout", closed_terminal)
    assert kangae.main(["ask", *(path if word == "FILE" else word for word in words)]) == 130
    assert [record["answer"] for record in kept_replies()] == ["y"]


@pytest.mark.parametrize("words", [("ask", "x"), ("ask", "x", "--json")])
def test_a_stdout_that_takes_nothing_is_9(
    child: Callable[..., subprocess.Popen[bytes]], words: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "read").touch()
    # a full disk where the system can play one, else a file that is open for reading alone
    with open("/dev/full", "wb") if Path("/dev/full").exists() else open(tmp_path / "read", "rb") as full:
        process = child("free", *words, stdout=full.fileno())
        _, said = process.communicate(timeout=60)
    assert process.returncode == 9
    assert b"Cannot write" in said
    assert b"Traceback" not in said and b"Exception" not in said


def test_a_reader_that_goes_away_is_no_fault(child: Callable[..., subprocess.Popen[bytes]]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = child("free", "ask", "x", stdout=writer)
    os.close(writer)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"Traceback" not in said and b"Exception" not in said

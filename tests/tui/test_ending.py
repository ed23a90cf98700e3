"""Ends that no user chose: a fault of ours anywhere in the interface, and a system or a terminal that goes away."""

from __future__ import annotations

import errno
import io
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import pytest
from rich.traceback import Traceback
from textual.drivers._writer_thread import MAX_QUEUED_WRITES, WriterThread
from textual.pilot import Pilot

from tests.fakes.scripted_responder import Script
from tests.tui.helpers import SMALL, ask, begin, gate, make_app, stored, until
from tui.app import KangaeApp
from tui.hangup import LastingFile
from tui.status_line import StatusLine
from tui.welcome import Welcome

ROOT = Path(__file__).parent.parent.parent


def fail(*_: object, **__: object) -> Any:
    raise ZeroDivisionError("a fault of ours")


async def _worker_fails() -> None:
    fail()


def _in_a_handler(pilot: Pilot[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KangaeApp, "action_copy_answer", fail)
    pilot.app.simulate_key("ctrl+y")


def _in_a_worker(pilot: Pilot[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    pilot.app.run_worker(_worker_fails())


def _in_a_timer(pilot: Pilot[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    pilot.app.set_timer(0.01, fail)


def _while_drawing(pilot: Pilot[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StatusLine, "render", fail)
    pilot.app.query_one(StatusLine).refresh()


def _in_a_widget(pilot: Pilot[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Welcome, "compose", fail)
    pilot.app.simulate_key("ctrl+n")


def _in_the_reading_of_the_terminal(pilot: Pilot[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        fail()
    except ZeroDivisionError:
        pilot.app.call_later(pilot.app.panic, Traceback())


FAULTS = [
    _in_a_handler,
    _in_a_worker,
    _in_a_timer,
    _while_drawing,
    _in_a_widget,
    _in_the_reading_of_the_terminal,
]


@pytest.mark.parametrize("break_it", FAULTS, ids=lambda one: one.__name__.strip("_"))
async def test_a_fault_ends_the_interface_without_a_traceback_and_keeps_what_was_said(
    break_it: Callable[[Pilot[Any], pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "sessions.sqlite3"
    app = make_app(Script(), Script(gates={3: gate()}), path=path)
    with pytest.raises((ZeroDivisionError, RuntimeError), match="a fault of ours"):
        async with app.run_test(size=SMALL) as pilot:
            await ask(pilot, "first")
            turn = await begin(pilot, "second")
            await until(pilot, lambda: turn.thought.tokens == 3)
            break_it(pilot, monkeypatch)
            await until(pilot, lambda: False)
    assert "a fault of ours" in str(app.failure)
    assert app.kept and app.return_code == 70
    said = capsys.readouterr()
    assert said.out + said.err == ""
    assert [reply["finish"] for replies in stored(path).values() for reply in replies] == ["stop", "cancelled"]


async def test_a_fault_on_mount_is_told_as_any_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(KangaeApp, "set_budget", fail)
    app = make_app()
    with pytest.raises(ZeroDivisionError):
        async with app.run_test(size=SMALL):
            pass
    assert isinstance(app.failure, ZeroDivisionError) and not app.kept
    said = capsys.readouterr()
    assert said.out + said.err == ""


CHAT = """
import sys, threading
from tests.fakes.scripted_responder import Script, ScriptedResponder
import kangae, tui.cli
from tui.app import KangaeApp

script = Script(gates={{3: threading.Event()}})
tui.cli.make_opener = lambda *_: lambda _: ScriptedResponder([script])
{more}
sys.exit(kangae.main(["chat"]))
"""
FAULT = "KangaeApp.action_copy_answer = lambda self: 1 / 0"


class Terminal:
    """`kangae chat` in a terminal of its own, with a model that stops in the middle of its first thought."""

    def __init__(self, folders: Path, more: str = "") -> None:
        self._master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (24, 80))
        self.said = ""
        self.path = folders / "state" / "kangae.sqlite3"
        self.modes = termios.tcgetattr(slave)
        self._slave = slave
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHAT.format(more=more)],
            cwd=ROOT,
            env={**os.environ, "TERM": "xterm-256color"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def wait_for(self, text: str) -> None:
        while text not in self.said:
            self.said += os.read(self._master, 65536).decode("utf-8", "replace")

    def hang_up(self) -> None:
        """As a terminal's window that is closed."""
        os.close(self._slave)
        os.close(self._master)

    def end(self) -> str:
        """What it said after its screen was left; its modes are again what they were."""
        code = self.process.wait(30)
        os.set_blocking(self._master, False)
        while True:
            try:
                self.said += os.read(self._master, 65536).decode("utf-8", "replace")
            except OSError:
                break
        assert termios.tcgetattr(self._slave) == self.modes
        os.close(self._slave)
        os.close(self._master)
        assert code == self.process.returncode
        return re.sub(r"\x1b\[[?<>]?[\d;]*[a-z]", "", self.said.rpartition("\x1b[?1049l")[2])


def _take_terminal() -> None:
    import fcntl

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests under nohup would hand on that it is ignored


@pytest.mark.parametrize("ends_it", ["SIGTERM", "SIGHUP", "window closed"])
def test_a_turn_under_way_is_kept_where_the_system_ends_the_program(ends_it: str, own_folders: Path) -> None:
    terminal = Terminal(own_folders)
    terminal.wait_for("scripted")
    terminal.type(b"first\r")
    terminal.wait_for("12 + 30")
    if ends_it == "window closed":
        terminal.hang_up()
    else:
        terminal.process.send_signal(signal.Signals[ends_it])
    assert terminal.process.wait(30) == 130
    (reply,) = stored(terminal.path)["first"]
    assert (reply["finish"], reply["thinking"]) == ("cancelled", "12 + 30")
    if ends_it != "window closed":
        said = terminal.end()
        assert "What was said is kept: `kangae sessions list` names it." in said
        assert f"Interrupted: The interface was ended by the signal {ends_it}." in said


def test_a_fault_is_one_message_that_names_its_report(own_folders: Path) -> None:
    terminal = Terminal(own_folders, FAULT)
    terminal.wait_for("scripted")
    terminal.type(b"first\r")
    terminal.wait_for("12 + 30")
    terminal.type(b"\x19")
    said = terminal.end()
    (report,) = (own_folders / "state" / "reports").iterdir()
    assert terminal.process.returncode == 70
    assert (
        said.split()
        == (
            "What was said is kept: `kangae sessions list` names it. "
            f"A fault in Kangae: ZeroDivisionError in `chat`. The report is {report}; please send it with what you did."
        ).split()
    )
    assert "Traceback" in report.read_text() and "ZeroDivisionError: division by zero" in report.read_text()
    assert stored(terminal.path)["first"][0]["finish"] == "cancelled"


class ClosedTerminal(io.StringIO):
    """What a terminal's file is once its window is gone."""

    def write(self, text: str) -> int:
        raise OSError(errno.EIO, "Input/output error")

    def flush(self) -> None:
        raise OSError(errno.EIO, "Input/output error")


def test_what_is_drawn_for_a_terminal_that_is_gone_keeps_nobody_waiting() -> None:
    told: list[str] = []
    thread = WriterThread(cast(IO[str], LastingFile(ClosedTerminal(), lambda: told.append("gone"))))
    thread.start()
    for _ in range(4 * MAX_QUEUED_WRITES):
        thread.write("drawn")
    thread.stop()
    assert not thread.is_alive() and told


def test_a_closed_window_ends_it_even_where_hangups_are_ignored(own_folders: Path) -> None:
    terminal = Terminal(
        own_folders, more="import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup"
    )
    terminal.wait_for("scripted")
    terminal.type(b"first\r")
    terminal.wait_for("12 + 30")
    terminal.hang_up()
    assert terminal.process.wait(30) == 130
    (reply,) = stored(terminal.path)["first"]
    assert (reply["finish"], reply["thinking"]) == ("cancelled", "12 + 30")

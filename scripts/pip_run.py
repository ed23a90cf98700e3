"""One run of pip that shows where it stands, and whose failure is told in a sentence."""

from __future__ import annotations

import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

_COUNTER = re.compile(r"^\s*\[\s*(\d+/\d+|\d+%)\]\s*(.*)")
# ninja shows the commands (a link between ": &&" and "&& :"), make says what it does.
_COMPILE = re.compile(r"\s-c\s+(?:\S*/)?([^/\s]+\.\w+)(?:\s|$)|^Building \w+ object (?:\S*/)?([^/\s]+)\.o$")
_LINK = re.compile(r"^: && .*\s(?:-o|qc)\s|^Linking ")
_STEP = re.compile(r"^\s*(Collecting|Downloading|Using cached|Building|Installing|Preparing metadata|Processing)\b")
_BUILD = re.compile(r"Installing build dependencies|Building wheel for llama")
_OFFLINE = re.compile(
    r"NewConnectionError|Temporary failure in name resolution|Name or service not known|nodename nor servname|"
    r"Network is unreachable|Connection refused|ConnectTimeout|ReadTimeout|Max retries exceeded|ProxyError"
)
_NO_MEMORY = re.compile(
    r"Killed signal terminated program|terminated with signal 9|unable to execute command: Killed|^[ \t]*Killed$|"
    r"out of memory allocating|LLVM ERROR: out of memory|virtual memory exhausted|"
    r"final link failed: memory exhausted|nvcc fatal\s*: Memory allocation failure",
    re.MULTILINE,
)
# Not the bare names of cmake's variables: commands of a sound build hold them, too (-DCMAKE_C_COMPILER=/usr/bin/cc).
_NO_COMPILER = re.compile(
    r"No CMAKE_C(?:XX)?_COMPILER could be found|CMAKE_C(?:XX)?_COMPILER not set|"
    r"Could not find compiler set in environment variable C(?:C|XX)|"
    r"The C(?:XX)? compiler\s+\"[^\"]*\"\s+is not able to compile a simple test program"
)
_OLD_CMAKE = re.compile(r"[Cc]ould not find CMake|CMake must be installed|CMake \S+ or higher is required")
_BUILD_FAULTS = (  # the first kind that a log holds is told, whatever its place: later kinds follow from earlier ones
    re.compile(r":\d+(?::\d+)?: (?:fatal )?error:|\(\d+\): error:?\s"),  # compilers; nvcc
    re.compile(r"undefined reference to|^nvcc fatal"),
    re.compile(r"^(?:ld|collect2|ninja|cc1plus|nvcc).*error|^ninja: build stopped: interrupted"),
    re.compile(r"^CMake Error"),
)
_PIP_SAYS_NOTHING = re.compile(r"subprocess-exited-with-error|originates from a subprocess|finished with status")
_LINE_WIDTH = 100
_QUIET_SECONDS = 15.0


class Trouble(Exception):
    """What went wrong and what to do, in one sentence."""


class PipRun:
    """Runs the environment's pip. `before_build` is called once, when pip begins to build; it may raise `Trouble`."""

    def __init__(
        self,
        python: Path,
        environment: Mapping[str, str] | None = None,
        *,
        before_build: Callable[[], None] | None = None,
    ) -> None:
        self._python = python
        self._environment = dict(environment if environment is not None else os.environ)
        self._before_build = before_build
        self._terminal = sys.stderr.isatty()
        self._shown = 0.0

    def run(self, command: str, *arguments: str, what: str) -> None:
        """`pip COMMAND ARGUMENTS`; raises `Trouble` if it fails, which names a file with the whole output."""
        call = [str(self._python), "-m", "pip", command, "--no-input", "--disable-pip-version-check", "--retries", "2"]
        self._environment["PYTHONUNBUFFERED"] = "1"
        with tempfile.TemporaryDirectory(prefix="kangae-pip-", ignore_cleanup_errors=True) as scratch:
            self._environment["TMPDIR"] = scratch  # pip leaves its own folders behind where it is interrupted
            self._run([*call, *arguments], what)

    def _run(self, call: Sequence[str], what: str) -> None:
        process = subprocess.Popen(
            call,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        with tempfile.NamedTemporaryFile("w+", prefix="kangae-pip-", suffix=".log", delete=False) as log:
            try:
                self._follow(process, log.file, what)
            except BaseException:
                _end(process)
                Path(log.name).unlink(missing_ok=True)
                raise
            finally:
                self._clear()
            if process.wait() == 0:
                Path(log.name).unlink(missing_ok=True)
                return
            log.flush()
            log.seek(0)
            raise Trouble(_reason(log.read(), what, log.name))

    def _follow(self, process: subprocess.Popen[str], log: IO[str], what: str) -> None:
        """Keep pip's lines and show the latest step with the time that has passed, until pip ends."""
        lines: queue.Queue[str | None] = queue.Queue()
        assert process.stdout is not None
        threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
        start, counter, step = time.monotonic(), "", "starting"
        while True:
            try:
                line = lines.get(timeout=1.0)
            except queue.Empty:
                self._show(f"{what}: {counter}{step}", time.monotonic() - start)
                continue
            if line is None:
                return
            log.write(line)
            if self._before_build is not None and _BUILD.search(line):
                check, self._before_build = self._before_build, None
                check()
            counted = _COUNTER.match(line)
            if counted:
                counter, step = f"[{counted[1]}] ", build_step(counted[2].strip())
            elif _STEP.match(line):
                counter, step = "", line.strip()
            self._show(f"{what}: {counter}{step}", time.monotonic() - start)

    def _show(self, text: str, seconds: float) -> None:
        """On a terminal one line, renewed; elsewhere a line now and then."""
        now = time.monotonic()
        if now - self._shown < (0.1 if self._terminal else _QUIET_SECONDS):
            return
        if not self._terminal and not self._shown:
            self._shown = now  # a short run says nothing
            return
        self._shown = now
        line = f"  {int(seconds) // 60}:{int(seconds) % 60:02d} {text}"[
            : min(_LINE_WIDTH, shutil.get_terminal_size().columns - 1)
        ]
        sys.stderr.write(f"\r\x1b[K{line}" if self._terminal else line + "\n")
        sys.stderr.flush()

    def _clear(self) -> None:
        if self._terminal and self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def build_step(command: str) -> str:
    """What a step of the build does, by the command that ninja shows or the words that make says."""
    compiled = _COMPILE.search(command)
    if compiled:
        return f"compiling {compiled[1] or compiled[2]}"
    return "linking" if _LINK.search(command) else "preparing"


def _read(source: IO[str], lines: queue.Queue[str | None]) -> None:
    for line in source:
        lines.put(line)
    lines.put(None)


def _end(process: subprocess.Popen[str]) -> None:
    """End pip and the compilers it started: they share a session of their own."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=5)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        process.kill()


def _reason(said: str, what: str, log: str) -> str:
    """A sentence for pip's output. What stopped a build comes before the network, whose retries a log may hold, too."""
    if "No space left on device" in said:
        return f"the disk is full; {what} needs some room: free some and run the command again."
    if _NO_MEMORY.search(said):
        return (
            f"{what} cannot be built: the compiler ran out of memory; close other programs, or build one file at a "
            f"time: CMAKE_BUILD_PARALLEL_LEVEL=1 make run (log: {log})."
        )
    if _NO_COMPILER.search(said):
        return f"{what} cannot be built: no working C/C++ compiler; install one and run the command again (log: {log})."
    if _OLD_CMAKE.search(said):
        return (
            f"{what} cannot be built: cmake is missing or too old; install it and run the command again (log: {log})."
        )
    if _OFFLINE.search(said) and not _build_cause(said):
        return (
            f"{what} cannot be fetched: no package index was reached; connect to a network and run the command again."
        )
    return f"{what} could not be installed: {_cause(said)}; the whole output is in {log}."


def _cause(said: str) -> str:
    """The line that says what went wrong: the compiler's or cmake's own before pip's word about it."""
    return _build_cause(said) or _pip_cause(said)


def _build_cause(said: str) -> str:
    """What the compiler, the linker or cmake said; "" where none of them failed."""
    lines = _lines(said)
    for pattern in _BUILD_FAULTS:
        for number, line in enumerate(lines):
            if pattern.search(line):
                return " ".join(lines[number : number + 1 + line.endswith(":")])[:200].rstrip(".")
    return ""


def _pip_cause(said: str) -> str:
    lines = [line for line in _lines(said) if not _PIP_SAYS_NOTHING.search(line)]
    faults = [number for number, line in enumerate(lines) if re.search(r"\berror\b", line, re.IGNORECASE)]
    if not faults:
        return "pip gave no reason"
    first = lines[faults[0]]
    if first.endswith(":"):
        first = f"{first} {lines[faults[0] + 1]}" if len(lines) > faults[0] + 1 else first.rstrip(":")
    return re.sub(r"^(ERROR|error):\s*", "", first)[:200].rstrip(".")


def _lines(said: str) -> list[str]:
    return [line.strip() for line in said.splitlines() if line.strip()]

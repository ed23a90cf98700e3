"""Work of the C library in a process of its own: it ends its process on what it cannot stand."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TICK = 0.25  # seconds between two looks at how far it is


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit code (negative: the signal that ended it) and what it said."""

    code: int
    said: str


def run_child(module: str, job: Mapping[str, Any], tick: Callable[[], None] | None = None) -> Ended:
    """Run `python -m module JOB` to its end; `tick` is called now and then. What the block that waits raises (Ctrl-C)
    ends the child as well, and so does our own end."""
    # -P: a folder called like one of ours, where the command is given, must not be taken for it.
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", module, json.dumps(job)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        stdin=subprocess.PIPE,  # its end tells the child that we are gone
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,  # Ctrl-C is ours to handle
    )
    try:
        while True:
            try:
                child.wait(timeout=_TICK)
                break
            except subprocess.TimeoutExpired:
                if tick is not None:
                    tick()
    except BaseException:
        child.kill()
        child.wait()
        raise
    said = child.stdout.read().strip() if child.stdout else ""
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()
    return Ended(child.returncode, said)


def end_with_parent(leftovers: Sequence[str | Path]) -> None:
    """In the child: when the parent is gone, remove the unfinished files and folders, and end."""

    def wait() -> None:
        sys.stdin.read()  # until the parent's end of the pipe closes
        try:
            for path in map(Path, leftovers):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
        finally:
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()

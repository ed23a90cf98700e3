"""The lock of a kept turn: one process at a time goes on with it. The kernel lets it go where that process ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

_TRIES, _BETWEEN = 10, 0.01
"""Who only looks whether a lock is held takes it for a moment (`is_held`), which must not seem to be another holder."""


class TurnLock:
    """A held lock, until `release`; see `take_lock`."""

    def __init__(self, path: Path, descriptor: int | None) -> None:
        self._path = path
        self._descriptor = descriptor

    def release(self) -> None:
        """Let it go. Safe to call twice."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)  # while it is held, so that nobody's but its own goes
            os.close(descriptor)


def take_lock(path: Path) -> TurnLock | None:
    """Take the lock of this file, made if missing; None: another one holds it. Where no file can be made, or the file
    system has no locks, nothing is guarded: nothing can be written there, or nobody could tell."""
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_BETWEEN)
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        except OSError:
            return TurnLock(path, None)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return TurnLock(path, descriptor)
            os.close(descriptor)  # its holder has removed it meanwhile
        except (BlockingIOError, FileNotFoundError):
            os.close(descriptor)
        except OSError:
            os.close(descriptor)
            return TurnLock(path, None)
    return None


def is_held(path: Path) -> bool:
    """Whether a process, this one among them, holds the lock of this file."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False

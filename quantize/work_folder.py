"""A hidden folder beside what is being made, for what takes long: kept by a kill, so that the next run goes on."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from models.errors import InterruptedByUser, UsageError
from models.write_fault import write_error

_LOCK = "lock"


@contextlib.contextmanager
def work_folder(target: Path, key: str) -> Iterator[Path]:
    """A folder of `target`'s own disk, the same for the same `target` and `key` (all that decides the result).

    It is removed when the block ends, or raises an error that another run would meet again; Ctrl-C and a kill keep it
    (where anything is in it). What runs with other keys left of the same `target` is removed first. Raises UsageError
    where another process works in it, WriteError where it cannot be made, InterruptedByUser for Ctrl-C.
    """
    mark = hashlib.sha256(key.encode()).hexdigest()[:16]
    prefix = f".{target.name}."
    folder = target.parent / f"{prefix}{mark}.work"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for other in target.parent.glob(f"{_escaped(prefix)}*.work"):
            if other != folder:
                _remove_if_left(other)
        folder.mkdir(exist_ok=True)
        lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o666)
    except OSError as error:
        raise write_error(folder, error, "choose another place with -o") from error
    try:
        if not _locked(lock):
            raise UsageError(f"Another process is making {target}; wait for it, or name another output with -o.")
        try:
            yield folder
        except (KeyboardInterrupt, InterruptedByUser) as stop:
            if os.listdir(folder) != [_LOCK]:
                raise InterruptedByUser(
                    f"Stopped before {target} was whole; the same command again goes on where it stopped."
                ) from stop
            shutil.rmtree(folder, ignore_errors=True)
            raise InterruptedByUser(f"Stopped before anything of {target} was made; give the command again.") from stop
        except Exception:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _escaped(prefix: str) -> str:
    """`prefix` as a pattern that means itself."""
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in prefix)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a disk without locks
    return True


def _remove_if_left(folder: Path) -> None:
    """Remove a work folder whose process is gone."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o666)
        try:
            if _locked(descriptor):
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)

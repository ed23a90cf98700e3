"""Files that are written whole or not at all: beside their place first, and moved there in one step."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

_MARK_BYTES = 8
"""Of the random part of a name, so that neither two processes nor two threads write one file."""


def write_whole(path: Path, content: bytes | str, *, mode: int = 0o666, sync: bool = True) -> None:
    """Write `path` in one step, a text as UTF-8; see `unfinished`. Raises OSError; then `path` is as it was."""
    with unfinished(path, mode=mode, sync=sync) as (part,):
        part.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


@contextlib.contextmanager
def unfinished(*paths: Path, mode: int = 0o666, sync: bool = True) -> Iterator[tuple[Path, ...]]:
    """Empty files beside `paths`, in the same order, for the block to fill; then they take their places.

    None does before all are on the disk, and none does where the block raises. `mode`: the rights of what is new, less
    the umask. `sync` False: where power fails within seconds, a path may be empty after that; for what is soon made
    again, and must not wait for a slow disk. What killed processes left unfinished of `paths` is taken away. The
    folders are there. Raises OSError.
    """
    parts: list[_Part] = []
    try:
        for path in paths:
            _clear(path)
            parts.append(_Part(path, mode))
        yield tuple(part.place for part in parts)
        if sync:
            for part in parts:
                os.fsync(part.descriptor)
        for part in parts:
            part.place.replace(part.path)
    finally:
        for part in parts:
            part.end()


def require_writable(folder: Path, mode: int = 0o777) -> None:
    """Make sure that files can be made in `folder`, which is made (with the rights `mode`) if it is not there: for
    what takes long, and is written last. Raises OSError."""
    folder.mkdir(mode, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".", suffix=".part"):
        pass


class _Part:
    """An unfinished file. Its lock is held as long as its writer lives: the kernel takes it from one that is killed, in
    whatever container that ran; a process number would tell that of this container alone, and is used again."""

    def __init__(self, path: Path, mode: int) -> None:
        self.path = path
        while True:
            self.place = path.with_name(f".{path.name}.{secrets.token_hex(_MARK_BYTES)}.part")
            self.descriptor = os.open(self.place, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode)
            if self._taken():
                return
            os.close(self.descriptor)

    def end(self) -> None:
        """Take it away, if it is still there."""
        with contextlib.suppress(OSError):
            self.place.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            os.close(self.descriptor)

    def _taken(self) -> bool:
        """Lock it; False where another process took it for left over, just before."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True  # without locks on this disk nobody clears it either
        return os.fstat(self.descriptor).st_nlink > 0


def _clear(path: Path) -> None:
    """Take away what killed processes left unfinished of `path`. What cannot be is left: that hinders no writing."""
    ours = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{{2 * _MARK_BYTES}}}\.part")
    with contextlib.suppress(OSError):
        for name in filter(ours.fullmatch, os.listdir(path.parent)):
            _remove_if_left(path.with_name(name))


def _remove_if_left(part: Path) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(part, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink(missing_ok=True)
        finally:
            os.close(descriptor)

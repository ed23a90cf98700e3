"""Why something cannot be written, and what to do about it: the one place that says so."""

from __future__ import annotations

import errno
from pathlib import Path

from models.errors import WriteError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SQLITE = {13: errno.ENOSPC, 8: errno.EACCES}
"""SQLITE_FULL and SQLITE_READONLY (https://sqlite.org/rescode.html), primary codes, as the system would say it."""


def write_error(path: str | Path, error: Exception, instead: str, *, what: str = "") -> WriteError:
    """The error that tells why `path` cannot be written. `error`: an OSError, one of SQLite, or any other.

    `instead`: what a person can do in any case, as "name another file with -o". `what`: what is not written, in words;
    the path if it is empty.
    """
    cause, remedy = _cause(Path(path), error)
    return WriteError(f"{what or path} cannot be written ({cause}); {remedy + ', or ' if remedy else ''}{instead}.")


def _cause(path: Path, error: Exception) -> tuple[str, str]:
    """The cause, and what takes it away; that is empty where only another place helps."""
    number = _number(error)
    if number in _FULL:
        return "the disk is full", "free space there"
    if number == errno.EROFS:
        return "the disk is read-only", ""
    if number in (errno.EACCES, errno.EPERM):
        return "permission denied", "check the permissions"
    if number == errno.EISDIR:
        return "it is a folder, not a file", ""
    if number in (errno.EEXIST, errno.ENOTDIR) and (blocking := _file_on_the_way(path)) is not None:
        return f"{blocking} is a file, not a folder", ""
    if number == errno.ENOENT:
        return f"there is no folder {path.parent}", "make it"
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)), ""


def _number(error: Exception) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    return _SQLITE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)


def _file_on_the_way(path: Path) -> Path | None:
    return next((place for place in (path, *path.parents) if place.exists() and not place.is_dir()), None)

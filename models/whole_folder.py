"""A folder that is written whole or not at all: under a hidden name beside its place, and moved there in one step."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

_MARK_BYTES = 8
"""Of the random part of a name, so that no two writers use one folder."""


@contextlib.contextmanager
def unfinished_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """An empty folder beside `target` for the block to fill; then it takes that place.

    It does not before all of it is on the disk, and is removed where the block raises. `replace`: a folder that is
    there is taken away just before; else it is an error. What killed processes left unfinished of `target` is
    taken away; the folder around it is made. Raises OSError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _clear(target)
    part, lock = _begin(target)
    try:
        yield part
        for file in part.rglob("*"):
            _sync(file)
        if replace and target.exists():
            old = _hidden(target)
            target.rename(old)
            part.rename(target)
            _remove(old)
        else:
            part.rename(target)  # an empty folder is replaced, one that holds something is an error
        _sync(target.parent)
    finally:
        _remove(part)
        os.close(lock)


@contextlib.contextmanager
def temporary_folder(beside: Path) -> Iterator[Path]:
    """An empty hidden folder beside `beside`, removed when the block ends. What killed processes left of the same is
    taken away; the folder around it is made. Raises OSError."""
    beside.parent.mkdir(parents=True, exist_ok=True)
    _clear(beside)
    part, lock = _begin(beside)
    try:
        yield part
    finally:
        _remove(part)
        os.close(lock)


def _begin(target: Path) -> tuple[Path, int]:
    """An empty hidden folder, and the descriptor whose lock tells that its writer lives."""
    while True:
        part = _hidden(target)
        part.mkdir()
        lock = os.open(part, os.O_RDONLY | os.O_DIRECTORY)
        with contextlib.suppress(OSError):  # a disk without locks: then nobody clears it either
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if part.is_dir():
            return part, lock
        os.close(lock)  # another process took it for left over, just before


def _hidden(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(_MARK_BYTES)}.part")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            folder.unlink(missing_ok=True)


def _clear(target: Path) -> None:
    """Take away what killed processes left of `target`; their locks are gone with them. What cannot be is left."""
    ours = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{{2 * _MARK_BYTES}}}\.part")
    with contextlib.suppress(OSError):
        for name in filter(ours.fullmatch, os.listdir(target.parent)):
            _remove_if_left(target.with_name(name))


def _remove_if_left(folder: Path) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(folder)
        finally:
            os.close(descriptor)

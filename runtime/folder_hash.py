"""The content of a model's folder as one hash, found again by the place, size and time of its files."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Final

from models.errors import ModelError
from models.whole_file import write_whole

_SUFFIXES: Final = frozenset({".safetensors", ".json", ".jinja"})
_CHUNK: Final = 4 << 20


def folder_hash(folder: Path, cache: Path) -> str:
    """SHA-256 of all that a folder's model is made of. `cache`: where hashes are kept, made if missing (one that cannot
    be written costs time alone). Raises `ModelError` for a folder that cannot be read."""
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix in _SUFFIXES and file.is_file())
        record = cache / "folders" / f"{_place(files)}.sha256"
        with contextlib.suppress(OSError, UnicodeDecodeError):
            known = record.read_text("ascii").strip()
            if len(known) == 64:
                return known
        found = _content(files)
    except OSError as error:
        raise ModelError(f"{folder} cannot be read ({error.strerror}); check the disk and its permissions.") from error
    with contextlib.suppress(OSError):
        record.parent.mkdir(parents=True, exist_ok=True)
        write_whole(record, found + "\n")
    return found


def _place(files: list[Path]) -> str:
    running = hashlib.sha256()
    for file in files:
        status = file.stat()
        told = (os.path.realpath(file), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        running.update(os.fsencode(repr(told)))
    return running.hexdigest()


def _content(files: list[Path]) -> str:
    running = hashlib.sha256()
    for file in files:
        running.update(os.fsencode(f"{file.name}:{file.stat().st_size}\n"))
        with file.open("rb") as stream:
            while block := stream.read(_CHUNK):
                running.update(block)
    return running.hexdigest()

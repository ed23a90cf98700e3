"""A GPTQ folder run by llama.cpp: packed anew as GGUF once, bit for bit, and kept in the cache by its content."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Final

from models.catalogue import ModelEntry, open_entry
from models.errors import ModelError, WriteError
from models.whole_file import write_whole

_FORM: Final = 1
"""Raised when the same folder would be packed otherwise, so that what older versions kept is not taken."""
_CHUNK: Final = 4 << 20
_READ_SUFFIXES: Final = frozenset({".safetensors", ".json", ".jinja", ".model", ".txt", ".md"})


def repacked_entry(entry: ModelEntry, cache: Path, why: str) -> ModelEntry:
    """The GGUF of a GPTQ folder: made now, or found in `cache`, which is made if missing. `why`: what keeps the folder
    from being run as it is; both are said in a warning.

    Raises ModelError where the folder is unsound or cannot be packed anew exactly, WriteError where there is no room.
    """
    files = _files(entry.path)
    place = _digest(files)
    record = cache / f"{hashlib.sha256(os.fsencode(os.path.realpath(entry.path))).hexdigest()}.json"
    known = _recall(record)
    content = known["content"] if known.get("place") == place else _content(entry.path, files)
    file = cache / f"{content}-{_FORM}.gguf"
    if not file.is_file():
        _repack(entry.path, file)
    if known.get("content") not in (content, None):
        with contextlib.suppress(OSError):  # what the folder held before
            (cache / f"{known['content']}-{_FORM}.gguf").unlink(missing_ok=True)
    if known.get("place") != place:
        with contextlib.suppress(OSError):
            write_whole(record, json.dumps({"place": place, "content": content}))
    found = open_entry(file, name=entry.name or entry.path.resolve().name)
    logging.getLogger("kangae").warning(
        "%s is a GPTQ model, and %s: the same integers, packed anew as GGUF (%s), are run by llama.cpp.",
        entry.path,
        why,
        found.quant,
    )
    return found


def _repack(folder: Path, file: Path) -> None:
    from models.gptq.repack import repack_to_gguf

    try:
        repack_to_gguf(folder, file, replace=True)
    except WriteError as error:
        raise WriteError(
            f"{folder} is packed anew as GGUF to be run, but {error.detail.split(';')[0]}; free space there, set "
            "KANGAE_CACHE_DIR to another folder, or write the file yourself: `kangae quantize FOLDER --to gguf:Q4_0 -o "
            "FILE`."
        ) from error


def _files(folder: Path) -> list[Path]:
    """All that the GGUF is made of, in one order."""
    try:
        return sorted(file for file in folder.iterdir() if file.suffix in _READ_SUFFIXES and file.is_file())
    except OSError as error:
        raise ModelError(f"{folder} cannot be read ({error.strerror}); check its permissions.") from error


def _digest(files: list[Path]) -> str:
    """What the system says of the files: the same as long as nobody writes them."""
    running = hashlib.sha256()
    for file in files:
        status = file.stat()
        told = f"{file.name}:{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}\n"
        running.update(os.fsencode(told))
    return running.hexdigest()


def _content(folder: Path, files: list[Path]) -> str:
    running = hashlib.sha256()
    try:
        for file in files:
            running.update(os.fsencode(f"{file.name}:{file.stat().st_size}\n"))
            with open(file, "rb") as stream:
                while block := stream.read(_CHUNK):
                    running.update(block)
    except OSError as error:
        raise ModelError(f"{folder} cannot be read ({error.strerror}); check the disk and its rights.") from error
    return running.hexdigest()


def _recall(record: Path) -> dict[str, str]:
    """What was noted of the folder; empty for what is missing or damaged."""
    try:
        found = json.loads(record.read_text("utf-8"))
        return {"place": str(found["place"]), "content": str(found["content"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {}

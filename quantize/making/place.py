"""Where a form goes: whether it may, told before any work is done."""

from __future__ import annotations

import errno
from pathlib import Path

from models.errors import UsageError
from quantize.form import Form, GgufForm, GptqForm
from quantize.source import Source

_OURS = {GptqForm: ("quantize_config.json", "GPTQ"), None: ("genai_config.json", "ONNX")}


def require_possible(path: Path) -> Path:
    """`path`, if it can be one. Raises UsageError where it is empty, too long, or a link that leads nowhere."""
    try:
        path.lstat()
        if path.is_symlink() and not path.exists():
            raise UsageError(f"{path} is a link that leads nowhere; name another output with -o, or remove it.")
    except ValueError as error:
        raise UsageError("The output's path holds a sign that no path can have; name another one with -o.") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise UsageError(
                f"The name {path.name[:40]}… is longer than the disk takes; name another output with -o."
            ) from error
    return path


def require_free(source: Source, form: Form, target: Path, *, force: bool) -> None:
    """Raise UsageError where something stands at `target` that may not be replaced: the source, a folder around it,
    what is no model of that form, or (without `force`) anything."""
    require_possible(target)
    if not target.exists():
        return
    places = [place for place in (source.place, source.folder) if place is not None]
    if any(target.samefile(place) for place in places):
        raise UsageError(f"{target} is the source itself; name another output with -o.")
    if isinstance(form, GgufForm):
        if target.is_dir():
            raise UsageError(f"{target} is a folder, and a GGUF is a file; name another output with -o.")
        if not force:
            raise UsageError(f"{target} exists; name another output with -o, or replace it with --force.")
        return
    known, kind = _OURS[GptqForm if isinstance(form, GptqForm) else None]
    if not target.is_dir():
        raise UsageError(f"{target} is a file, and {kind} is written as a folder; name another output with -o.")
    if not any(target.iterdir()):
        return
    if not force:
        raise UsageError(f"{target} exists; name another output with -o, or replace it with --force.")
    if any(target.resolve() in place.resolve().parents for place in places):
        raise UsageError(f"{target} holds the source; name another output with -o.")
    if not (target / known).is_file():
        raise UsageError(f"{target} holds something else than a model as {kind}; name another output with -o.")

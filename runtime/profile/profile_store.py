"""The profiles kept on this machine: one JSON file a model file, named by that file's SHA-256."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from models.errors import KangaeError
from models.locations import state_folder
from models.plain_text import one_line
from models.whole_file import require_writable, write_whole
from models.write_fault import write_error
from runtime.profile.profile import EffortTokens, Origin, Profile, Row

_FORMAT: Final = 1
"""Raised when an old profile would be misread: it is ignored then, and the model is calibrated anew."""
_MOST_BYTES: Final = 1 << 20
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_ELSEWHERE: Final = "set KANGAE_STATE_DIR to a folder that can be written"


def profiles_folder() -> Path:
    """Where they are; it need not exist."""
    return state_folder() / "profiles"


def profile_file(sha256: str) -> Path:
    """The file for a model file with this hash."""
    return profiles_folder() / f"{sha256}.json"


def save_profile(profile: Profile) -> Path:
    """Write it whole or not at all, over an older one of the same model file. Raises WriteError."""
    path = profile_file(profile.origin.sha256)
    text = json.dumps({"format": _FORMAT, **asdict(profile)}, ensure_ascii=False, indent=1, allow_nan=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(path, text + "\n")
    except OSError as error:
        raise write_error(path, error, _ELSEWHERE) from error
    return path


def require_profiles() -> None:
    """Make sure that a profile can be kept, before one is measured for long. Raises WriteError."""
    folder = profiles_folder()
    try:
        require_writable(folder, 0o700)
    except OSError as error:
        raise write_error(folder, error, _ELSEWHERE) from error


def load_profile(sha256: str) -> Profile | None:
    """The profile of a model file with this hash; None where there is none. One that is damaged or of another format is
    none either, and a warning says so: a model must open all the same."""
    path = None
    try:
        if not _HASH.fullmatch(sha256):
            return None
        path = profile_file(sha256)
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        profile = _parsed(data)
        if profile.origin.sha256 != sha256:
            raise ValueError("it was measured on another file")
    except (FileNotFoundError, NotADirectoryError, KangaeError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        logging.getLogger("kangae").warning(
            one_line(f"The profile {path} is ignored ({reason[:200]}); run `kangae calibrate` again, or remove it.")
        )
        return None
    return profile


def _parsed(data: bytes) -> Profile:
    """The profile that a file's bytes spell; raises ValueError with what is wrong."""
    if len(data) > _MOST_BYTES:
        raise ValueError("it is too large")
    try:
        found = json.loads(data)
    except ValueError as error:
        raise ValueError("it is no JSON") from error
    found = _object(found, "it")
    if found.get("format") != _FORMAT:
        raise ValueError(f"its format is {str(found.get('format'))[:20]}, not {_FORMAT}")
    efforts = found.get("efforts")
    rows = found.get("rows")
    if not isinstance(rows, list):
        raise ValueError("its rows are no list")
    return Profile(
        origin=_origin(_object(found.get("origin"), "origin")),
        least=_whole(found, "least"),
        closing_message=None if found.get("closing_message") is None else _text(found, "closing_message"),
        confidence=_number_or_none(found, "confidence"),
        agreeing=_whole(found, "agreeing"),
        margin=_number_or_none(found, "margin"),
        efforts=None if efforts is None else _efforts(_object(efforts, "efforts")),
        reserve=_whole_or_none(found, "reserve"),
        ramp=_flag(found, "ramp"),
        boundary=_flag(found, "boundary") if "boundary" in found else True,  # older profiles did not look
        sure=_number_or_none(found, "sure"),
        rungs=_names_or_none(found, "rungs"),
        reasons={str(name): str(why) for name, why in _object(found.get("reasons"), "reasons").items()},
        rows=tuple(_row(_object(row, "a row")) for row in rows),
    )


def _origin(found: Mapping[str, Any]) -> Origin:
    texts = {name: _text(found, name) for name in ("model", "sha256", "quant", "machine", "problems", "date")}
    return Origin(n=_whole(found, "n"), seed=_whole(found, "seed"), **texts)


def _efforts(found: Mapping[str, Any]) -> EffortTokens:
    if not {"low", "medium", "high"} <= set(found):  # a missing one would read as unlimited
        raise ValueError("an effort is missing")
    return EffortTokens(*(_whole_or_none(found, name) for name in ("low", "medium", "high")))


def _row(found: Mapping[str, Any]) -> Row:
    interval = found.get("ci")
    if not isinstance(interval, list) or len(interval) != 2:
        raise ValueError("an interval is no pair")
    low, high = (_number({"ci": end}, "ci") for end in interval)
    return Row(
        stage=_text(found, "stage"),
        setting=_text(found, "setting"),
        budget=_whole_or_none(found, "budget"),
        n=_whole(found, "n"),
        accuracy=_number(found, "accuracy"),
        ci=(low, high),
        tokens=_number(found, "tokens"),
        thinking_tokens=_number(found, "thinking_tokens"),
    )


def _object(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is no object")
    return value


def _text(found: Mapping[str, Any], name: str) -> str:
    value = found.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")
    return value


def _number(found: Mapping[str, Any], name: str) -> float:
    value = found.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} is no number")
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError(f"{name} is too large a number") from error


def _whole(found: Mapping[str, Any], name: str) -> int:
    value = found.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} is no whole number")
    return value


def _flag(found: Mapping[str, Any], name: str) -> bool:
    """False where it is missing: an older version did not know it."""
    value = found.get(name, False)
    if not isinstance(value, bool):
        raise ValueError(f"{name} is neither true nor false")
    return value


def _names_or_none(found: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    value = found.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError(f"{name} is no list of names")
    return tuple(value)


def _number_or_none(found: Mapping[str, Any], name: str) -> float | None:
    return None if found.get(name) is None else _number(found, name)


def _whole_or_none(found: Mapping[str, Any], name: str) -> int | None:
    return None if found.get(name) is None else _whole(found, name)

"""Where Kangae keeps its files. Nothing is created here: who writes makes the folder."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import PlatformDirs

from models.errors import UsageError

_DIRECTORIES = PlatformDirs("kangae", appauthor=False)
_SHIPPED = Path(__file__).parent / "tiny" / "kangae-tiny-Q8_0.gguf"


def _overridden(variable: str, default: str | Path) -> Path:
    """The folder named by an environment variable, else the platform's own place."""
    value = os.environ.get(variable, "").strip()
    if not value:
        return Path(default)
    try:
        path = Path(value).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{variable} is {value!r}, whose home folder is unknown; give a whole path.") from error
    if not path.is_absolute():
        path = Path.cwd() / path
    return path


def config_folder() -> Path:
    """Settings that a person writes. `KANGAE_CONFIG_DIR` overrides it."""
    return _overridden("KANGAE_CONFIG_DIR", _DIRECTORIES.user_config_path)


def state_folder() -> Path:
    """Conversations, audits, report files. `KANGAE_STATE_DIR` overrides it."""
    return _overridden("KANGAE_STATE_DIR", _DIRECTORIES.user_state_path)


def cache_folder() -> Path:
    """What can be made again: verdicts on files, saved prefills. `KANGAE_CACHE_DIR` overrides it."""
    return _overridden("KANGAE_CACHE_DIR", _DIRECTORIES.user_cache_path)


def models_folder() -> Path:
    """Models that were fetched or made. `KANGAE_MODELS_DIR` overrides it."""
    return _overridden("KANGAE_MODELS_DIR", _DIRECTORIES.user_data_path / "models")


def shipped_model() -> Path:
    """The file of the model that ships (kangae-tiny, Q8_0). It may be missing from a source tree that was not built."""
    return _SHIPPED

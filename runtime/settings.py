"""Settings: a flag wins over the environment (`KANGAE_BUDGET`), the environment over the file `config.toml`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from models.errors import UsageError
from models.locations import config_folder

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def parse_budget(value: object) -> int | None:
    """Thinking tokens: a whole number from 0, `off` (0) or `unlimited` (None: what the context holds)."""
    if value == "off":
        return 0
    if value == "unlimited":
        return None
    try:
        return _whole(value)
    except ValueError:
        raise ValueError(f"{value!r} is no budget; give a number of thinking tokens, `off` or `unlimited`") from None


def _whole(value: object, *, least: int = 0) -> int:
    """A whole number from `least`."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{value!r} is no whole number")
    try:
        number = int(value)
    except ValueError:
        raise ValueError(f"{str(value)[:40]!r} is no whole number") from None
    if number < least:
        raise ValueError(f"{number} is too small; give {least} or more")
    return number


def parse_whole(value: object) -> int:
    """A whole number from 0."""
    return _whole(value)


def parse_count(value: object) -> int:
    """A whole number from 1."""
    return _whole(value, least=1)


def parse_seed(value: object) -> int:
    """A seed: a whole number below 2^32 - 1 (which the C library takes for "any")."""
    number = _whole(value)
    if number >= 2**32 - 1:
        raise ValueError(f"{number} is too large; give a seed below {2**32 - 1}")
    return number


def parse_number(value: object) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is no number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"{str(value)[:40]!r} is no number") from None
    if number != number or number in (float("inf"), float("-inf")):
        raise ValueError(f"{value!r} is no finite number")
    return number


def parse_seconds(value: object) -> float:
    """A number of seconds above 0."""
    seconds = parse_number(value)
    if not 0.0 < seconds < 1e9:
        raise ValueError(f"{value!r} is no deadline; give a number of seconds above 0")
    return seconds


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def _switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in (*_TRUE, *_FALSE):
        return value.strip().lower() in _TRUE
    raise ValueError(f"{value!r} is neither true nor false")


_PARSERS: Final[Mapping[str, Callable[[object], Any]]] = MappingProxyType(
    {
        "model": _text,
        "budget": parse_budget,
        "deadline": parse_seconds,
        "min_thinking": parse_whole,
        "max_answer": parse_count,
        "system": _text,
        "temperature": parse_number,
        "top_p": parse_number,
        "top_k": parse_whole,
        "min_p": parse_number,
        "seed": parse_seed,
        "context": parse_count,
        "threads": parse_count,
        "gpu_layers": parse_whole,
        "parallel": parse_count,
        "store": _switch,
        "thinking_days": parse_whole,
    }
)


@dataclass(frozen=True)
class Settings:
    """What holds where no flag says otherwise. None: the model's or the machine's own default."""

    model: str = "kangae-tiny"
    budget: int | None = None
    """Thinking tokens; None: unlimited."""
    deadline: float | None = None
    """Seconds for the whole reply; None: no limit."""
    min_thinking: int = 0
    max_answer: int | None = None
    system: str = ""
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    context: int | None = None
    """Tokens of cache."""
    threads: int | None = None
    gpu_layers: int | None = None
    parallel: int = 8
    """How many questions of a file are answered at once."""
    store: bool = True
    """Whether replies are kept in the state directory."""
    thinking_days: int = 0
    """Days after which stored thoughts are forgotten; 0: kept as long as their reply."""
    origins: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), compare=False)
    """Where a setting comes from: the file's path or the variable's name; absent: the default."""

    def values(self) -> dict[str, Any]:
        """All settings by name."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "origins"}


def config_file() -> Path:
    """The file that a person writes; it need not be there."""
    return config_folder() / "config.toml"


def load_settings(environment: Mapping[str, str] | None = None, path: Path | None = None) -> Settings:
    """Settings from the file and, over it, the environment. Tables in the file (`[tui]`) belong to other parts and are
    not read here. Raises UsageError for a name or a value that is not known."""
    environment = os.environ if environment is None else environment
    path = config_file() if path is None else path
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, value in read_config(path).items():
        if isinstance(value, dict):
            continue
        if name not in _PARSERS:
            raise UsageError(f"{path} sets {name!r}, which is no setting; there are {', '.join(_PARSERS)}.")
        values[name], origins[name] = _parsed(name, value, f"{path}: {name}"), str(path)
    for name in _PARSERS:
        variable = f"KANGAE_{name.upper()}"
        given = environment.get(variable)
        if given is not None and given.strip():
            values[name], origins[name] = _parsed(name, given.strip(), variable), variable
    return Settings(**values, origins=MappingProxyType(origins))


def read_config(path: Path) -> dict[str, Any]:
    """The file as it stands; empty if there is none. Raises UsageError if it cannot be read."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except IsADirectoryError as error:
        raise UsageError(f"The settings {path} are a folder, not a file; remove or rename that folder.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"The settings {path} are no UTF-8 text ({error}); correct or remove the file.") from error
    except OSError as error:
        raise UsageError(
            f"The settings {path} cannot be read ({error.strerror}); check the file's permissions."
        ) from error
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"The settings {path} are no TOML ({error}); correct or remove the file.") from error


def _parsed(name: str, value: object, where: str) -> Any:
    try:
        return _PARSERS[name](value)
    except ValueError as error:
        raise UsageError(f"{where}: {error}.") from error

"""What is to be measured: forms, problems, and how much of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from models.catalogue import ModelEntry, find
from models.errors import UsageError
from runtime.problems import Problem

KL_TOKENS: Final = 20_000
AT_ONCE: Final = 8
ALONE: Final = 8
_VERSION: Final = 1  # of what is measured and how


@dataclass(frozen=True)
class FormFile:
    """A form to measure. `name`: what opens it (a path or a catalogue name); `form`: as `kangae quantize --to` names
    it; `label`: what a table calls it, different for each."""

    name: str
    form: str
    label: str
    entry: ModelEntry


@dataclass(frozen=True)
class MeasureSettings:
    """On what and how. `problems`: with an expected answer each, none of them among those that any of the forms was
    calibrated on. `kl_tokens`: tokens of the reference's replies that are compared, at most; 0: none. `alone`: how many
    problems are put one at a time, for the time that a person waits; all others `parallel` at once. `budget` None:
    unlimited. `state`: folder of what was measured; None: in the cache."""

    problems: tuple[Problem, ...]
    kl_tokens: int = KL_TOKENS
    parallel: int = AT_ONCE
    alone: int = ALONE
    budget: int | None = None
    max_answer: int | None = None
    system: str = ""
    seeds: int = 1
    threads: int | None = None
    gpu_layers: int | None = None
    context: int | None = None
    state: Path | None = None
    fresh: bool = False
    """Measure again what was measured before."""

    def __post_init__(self) -> None:
        if not self.problems:
            raise UsageError("There is no problem to measure on; give a file of them with --problems.")
        if min(self.parallel, self.alone, self.seeds) < 1 or self.kl_tokens < 0:
            raise UsageError("Problems at once, alone and seeds are counted from 1, tokens to compare from 0.")

    @property
    def problems_sha256(self) -> str:
        """Of the problems as they are asked and judged."""
        said = [(one.id, one.question, one.expected, one.check) for one in self.problems]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()

    def key(self, *shas: str, machine: str, builds: str) -> str:
        """What one result of these files can be found by again. `machine`, `builds`: where and with what it ran."""
        said: list[Any] = [_VERSION, *shas, self.problems_sha256, self.kl_tokens, self.parallel, self.alone]
        said += [self.budget, self.max_answer, self.system, self.seeds, self.threads, self.gpu_layers, self.context]
        return hashlib.sha256(json.dumps([*said, machine, builds]).encode()).hexdigest()


def form_files(names: Sequence[str]) -> tuple[FormFile, ...]:
    """The forms that these paths and names mean; a folder that holds several GGUF files means all of them. Each file
    once. Raises ModelError where one is missing."""
    found: dict[Path, FormFile] = {}
    for name in names:
        for one in _expanded(name):
            entry = find(one)
            found.setdefault(entry.path.resolve(), FormFile(one, form_of(entry), form_of(entry), entry))
    return _told_apart(tuple(found.values()))


def form_of(entry: ModelEntry) -> str:
    """A form as `kangae quantize --to` names it, as far as the entry tells."""
    if entry.form == "gguf":
        return f"gguf:{entry.quant}"
    if entry.form == "gptq":
        return f"gptq:{_gptq_name(entry.path)}"
    return f"{entry.form}:{entry.quant}" if entry.quant not in ("", entry.form) else entry.form


def _gptq_name(folder: Path) -> str:
    """Bits and group size, from whichever configuration tells them."""
    for file, part in (("quantize_config.json", None), ("config.json", "quantization_config")):
        try:
            value = json.loads((folder / file).read_text("utf-8"))
        except (OSError, ValueError):
            continue
        told = value.get(part, {}) if part is not None and isinstance(value, dict) else value
        if isinstance(told, dict) and isinstance(told.get("bits"), int):
            group = told.get("group_size")
            return f"{told['bits']}" + (f":g{group}" if isinstance(group, int) and group > 0 else ":row")
    return "?"


def _expanded(name: str) -> list[str]:
    folder = Path(name).expanduser()
    try:
        files = sorted(folder.glob("*.gguf")) if folder.is_dir() else []
    except (OSError, ValueError):
        files = []
    whole = [file for file in files if "-of-" not in file.stem or "-00001-of-" in file.stem]
    return [str(file) for file in whole] if len(whole) > 1 else [name]


def _told_apart(files: tuple[FormFile, ...]) -> tuple[FormFile, ...]:
    """Forms that several files have, with what their file is called."""
    forms = [one.form for one in files]
    return tuple(
        one if forms.count(one.form) == 1 else replace(one, label=f"{one.form} {one.entry.path.stem}") for one in files
    )

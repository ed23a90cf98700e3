"""All usual types of one model side by side: bytes, bits per weight, accuracy."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from models.errors import UsageError
from models.gguf_header import read_header
from models.locations import shipped_model
from models.plural import counted
from quantize.gguf import open_master, quantize_gguf
from runtime.problems import Problem, parse_problem, require_problems

USUAL_TYPES: Final = ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "Q3_K_M", "Q2_K")
_AT_ONCE: Final = 8
_SEED: Final = 7


@dataclass(frozen=True)
class TableSettings:
    """What to write where, and on what to measure. `problems` None: those that ship, else `count` new ones."""

    source: str
    folder: str
    force: bool = False
    threads: int = 0
    problems: str | None = None
    count: int = 200
    types: tuple[str, ...] = USUAL_TYPES


@dataclass(frozen=True)
class TableRow:
    """One type. `interval` is the accuracy's 95 % bootstrap interval; `thinking_tokens` a mean over the problems."""

    form: str
    file: Path
    bytes: int
    bits_per_weight: float
    problems: int
    accuracy: float
    interval: tuple[float, float]
    thinking_tokens: float
    seconds_per_correct: float | None

    def as_json(self) -> dict[str, Any]:
        """A row as `kangae quantize --table --json` prints it."""
        return {
            "form": self.form,
            "file": str(self.file),
            "bytes": self.bytes,
            "bpw": round(self.bits_per_weight, 3),
            "n": self.problems,
            "accuracy": self.accuracy,
            "ci": list(self.interval),
            "thinking_tokens": self.thinking_tokens,
            "seconds_per_correct": self.seconds_per_correct,
        }


def make_table(settings: TableSettings, progress: Callable[[str], None]) -> list[TableRow]:
    """Write every type of `settings.types` into the folder and measure each without a budget.

    A file that is there is measured as it stands unless `force` is set, so that a run that was broken off goes on where
    it stopped. Raises what `quantize_gguf` and opening a model raise.
    """
    entry = open_master(settings.source)
    problems = load_problems(settings.problems, settings.count)
    folder = Path(settings.folder).expanduser()
    rows = []
    for number, quant in enumerate(settings.types, start=1):
        where = f"{number}/{len(settings.types)} {quant}"
        file = folder / f"{entry.name}-{quant}.gguf"
        same = file.exists() and file.samefile(entry.path)
        if not same and (settings.force or not _is_whole(file, quant)):
            progress(f"{where}: writing")
            quantize_gguf(entry, quant, file, force=True, threads=settings.threads)
        progress(f"{where}: {counted(len(problems), 'problem')}")
        rows.append(_measure(quant, file, problems, settings.threads))
    return rows


def _is_whole(file: Path, quant: str) -> bool:
    """Whether `file` is there. Raises UsageError where it holds another type than its name says: it is not ours."""
    if not file.exists():
        return False
    found = read_header(file).quant
    if found != quant:
        raise UsageError(f"{file} exists and holds {found}; name another folder with -o, or replace it with --force.")
    return True


def load_problems(source: str | None, count: int) -> list[Problem]:
    """The first `count` problems of a file, of the one that ships, or new ones whose operands no training has seen."""
    shipped = shipped_model().with_name("problems.jsonl")
    if source is not None or shipped.is_file():
        return require_problems(source or str(shipped))[:count]
    from models.tiny.problems import write_problems
    from models.tiny.wording import training_wordings

    records = write_problems(count, _SEED, training_wordings())
    return [parse_problem(json.dumps(record), number) for number, record in enumerate(records, start=1)]


def _measure(quant: str, file: Path, problems: list[Problem], threads: int) -> TableRow:
    from runtime import opening
    from runtime.bench.asking import Asking
    from runtime.bench.budget import measure

    responder = opening.open_model(str(file), sequences=min(_AT_ONCE, len(problems)), threads=threads or None)
    with Asking(responder, sampling={True: None, False: None}) as asking:
        run = asking.ask(problems, None)
        found = measure(run.outcomes, None, opening.responder_family(responder), None)
    correct = sum(outcome.correct for outcome in run.outcomes)
    return TableRow(
        form=f"gguf:{quant}",
        file=file,
        bytes=file.stat().st_size,
        bits_per_weight=read_header(file).bits_per_weight,
        problems=int(found["n"]),
        accuracy=float(found["accuracy"]),
        interval=(float(found["ci"][0]), float(found["ci"][1])),
        thinking_tokens=float(found["thinking_tokens"]),
        seconds_per_correct=round(run.seconds / correct, 4) if correct else None,
    )

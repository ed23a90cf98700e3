"""The problems that forms are measured on: never those that they were calibrated on."""

from __future__ import annotations

import json
from typing import Final

from models.locations import shipped_model
from runtime.problems import Problem, parse_problem, require_problems

_SEED: Final = 7


def load_problems(source: str | None, count: int) -> list[Problem]:
    """The first `count` problems of a file, of the one that ships, or new ones whose operands no training has seen."""
    shipped = shipped_model().with_name("problems.jsonl")
    if source is not None or shipped.is_file():
        return require_problems(source or str(shipped))[:count]
    from models.tiny.problems import write_problems
    from models.tiny.wording import training_wordings

    records = write_problems(count, _SEED, training_wordings())
    return [parse_problem(json.dumps(record), number) for number, record in enumerate(records, start=1)]

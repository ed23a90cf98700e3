"""Questions to let a model think about: those that ship, or a person's own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.errors import UsageError
from models.locations import shipped_model
from quantize.calibration.record import Record, read_records
from runtime.request import Message

SEED: Final = 1018
"""Of the questions that ship; the problems that accuracy is measured on are drawn with another."""
COUNT: Final = 4000


@dataclass(frozen=True)
class PromptSet:
    """Conversations that wait for a reply, in order; `sha256` is that of their texts."""

    prompts: tuple[tuple[Message, ...], ...]
    origin: str
    sha256: str

    @classmethod
    def of(cls, prompts: Iterable[tuple[Message, ...]], origin: str) -> PromptSet:
        """The set of these prompts, each once."""
        kept = tuple(dict.fromkeys(prompts))
        texts = [[(message.role, message.content) for message in messages] for messages in kept]
        return cls(kept, origin, hashlib.sha256(json.dumps(texts).encode()).hexdigest())


def shipped_prompts() -> PromptSet:
    """Questions of shop-floor arithmetic in English and Japanese; none of those that accuracy is measured on."""
    from models.tiny.problems import write_problems
    from models.tiny.wording import training_wordings

    measured = _measured(shipped_model().with_name("problems.jsonl"))
    drawn = (str(one["question"]) for one in write_problems(COUNT, SEED, training_wordings()))
    return PromptSet.of(
        ((Message("user", question),) for question in drawn if question not in measured),
        f"shop-floor problems, seed {SEED}",
    )


def _measured(path: Path) -> frozenset[str]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(str(json.loads(line)["question"]) for line in lines if line.strip())


def prompts_of(records: Iterable[Record], source: str) -> PromptSet:
    """The questions of a person's file. Raises UsageError where there is none."""
    found = PromptSet.of((record.messages for record in records if record.messages), Path(source).name)
    if not found.prompts:
        raise UsageError(f'{source} holds no question; give lines as {{"question": "…"}}.')
    return found


def own_prompts(source: str) -> PromptSet:
    """As `prompts_of`, read from the file."""
    return prompts_of(read_records(source), source)

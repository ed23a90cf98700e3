"""What runs under deadlines come to: how many were refused, empty or late, and how much of the time they used."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

from models.columns import table


@dataclasses.dataclass(frozen=True)
class Setting:
    """What runs have in common: the deadline's name, and about how many tokens a prompt has (None: a problem's own)."""

    name: str
    prompt_tokens: int | None = None


@dataclasses.dataclass(frozen=True)
class Run:
    """One question under a deadline: seconds until the reply, or until it was `refused` (the command's exit code 7)."""

    deadline: float
    seconds: float
    refused: bool = False
    answer_tokens: int = 0
    close: str = ""

    @property
    def lateness(self) -> float:
        """Seconds behind the deadline; negative before it."""
        return self.seconds - self.deadline

    @property
    def late(self) -> bool:
        """Whether it came later than is allowed."""
        return self.lateness > max(0.1, 0.02 * self.deadline)


@dataclasses.dataclass(frozen=True)
class Row:
    """All runs of a setting. `empty`: the deadline came before there was an answer. `worst_lateness_ms` over all runs,
    negative if all were in time; the medians are those of the replies, None if there was none."""

    setting: str
    prompt_tokens: int | None
    runs: int
    refused: int
    empty: int
    late: int
    worst_lateness_ms: float
    median_share: float | None
    median_answer_tokens: float | None
    closes: dict[str, int]


Measured = dict[Setting, list[Run]]


def summed(setting: Setting, runs: Sequence[Run]) -> Row:
    """The row of a setting's runs, of which there is at least one."""
    replies = [run for run in runs if not run.refused]
    closes = [run.close for run in replies]
    return Row(
        setting.name,
        setting.prompt_tokens,
        len(runs),
        refused=len(runs) - len(replies),
        empty=sum(run.answer_tokens == 0 for run in replies),
        late=sum(run.late for run in runs),
        worst_lateness_ms=round(max(run.lateness for run in runs) * 1000, 1),
        median_share=round(statistics.median(run.seconds / run.deadline for run in replies), 4) if replies else None,
        median_answer_tokens=statistics.median(run.answer_tokens for run in replies) if replies else None,
        closes={close: closes.count(close) for close in sorted(set(closes))},
    )


def written(rows: Sequence[Row]) -> str:
    """The rows as a table."""
    heading = ["deadline", "prompt", "runs", "refused", "empty", "late", "worst", "share", "answer"]
    lines = [
        [
            row.setting,
            "own" if row.prompt_tokens is None else str(row.prompt_tokens),
            *(str(count) for count in (row.runs, row.refused, row.empty, row.late)),
            f"{row.worst_lateness_ms:+.0f} ms",
            "–" if row.median_share is None else f"{row.median_share:.1%}",
            "–" if row.median_answer_tokens is None else f"{row.median_answer_tokens:g}",
        ]
        for row in rows
    ]
    return table([heading, *lines], right=True)


def cancels_row(taken: Sequence[float | None], length: int) -> dict[str, float | int | None]:
    """Median and worst in ms of the cancels that came in time; `missed`: the prefill was over before."""
    seconds = [one for one in taken if one is not None]
    return {
        "prompt_tokens": length,
        "runs": len(taken),
        "missed": len(taken) - len(seconds),
        "median_ms": round(statistics.median(seconds) * 1000, 1) if seconds else None,
        "worst_ms": round(max(seconds) * 1000, 1) if seconds else None,
    }

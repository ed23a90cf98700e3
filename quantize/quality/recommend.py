"""Which form to take: the one with the most right answers in time, on the machine that it was measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.catalogue import estimate_fit
from models.cli import human_bytes
from models.errors import CannotMeetError, ModelError, ResourceError
from quantize.quality.row import FormRow, paired

if TYPE_CHECKING:
    from quantize.quality.report import Report

_LEFT: Final = 0.9  # of the memory: a tenth is for what the machine does besides
_MARGIN: Final = 0.02
"""Of the problems: what a smaller form may lose at most and still count as equal."""
_AS_FAST: Final = 1.1
_STEPS: Final = 48


@dataclass(frozen=True)
class Recommendation:
    """The form to take, the one after it, and why. `in_time`: share of problems answered right, within the deadline
    where there is one. `memory` in bytes, `deadline` in seconds."""

    row: FormRow
    runner_up: FormRow | None
    in_time: float
    memory: int | None
    deadline: float | None
    reasons: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The object of `kangae quantize --recommend --json`."""
        return {
            "form": self.row.form,
            "label": self.row.label,
            "file": self.row.file,
            "in_time": round(self.in_time, 4),
            "runner_up": self.runner_up.label if self.runner_up is not None else None,
            "memory": self.memory,
            "deadline": self.deadline,
            "why": " ".join(self.reasons),
        }

    def text(self) -> str:
        """The form, and two or three sentences."""
        return f"{self.row.label}: {self.row.file}\n" + "\n".join(self.reasons)


def recommend(report: Report, memory: int | None = None, deadline: float | None = None) -> Recommendation:
    """The form of `report` that gives the most right answers within `deadline` seconds each in `memory` bytes.

    Thoughts ran to their own end when they were measured: `ask --deadline` closes them early and may save some of the
    answers that come too late here. A form whose loss against the best is at most 2 points, and not beyond chance (the
    95 % interval of the paired difference holds 0), counts as equal; of equals the smallest is taken, under a deadline
    the fastest, and the smallest of those within a tenth of its time. Raises ResourceError (nothing fits),
    CannotMeetError (nothing is right in time), ModelError (nothing was measured).
    """
    measured = [row for row in report.rows if row.replies]
    if not measured:
        raise ModelError("No form could be measured; the report says why of each.")
    fitting = [row for row in measured if fits(row, memory)]
    if not fitting:
        least = min(measured, key=lambda row: row.peak_bytes)
        raise ResourceError(
            f"No form fits into {human_bytes(memory or 0)}: {least.label}, the smallest, takes "
            f"{human_bytes(least.peak_bytes)}, so {human_bytes(needed(least))} would do."
        )
    chosen = choose(fitting, deadline)
    if chosen is None:
        earliest = min((one["seconds"] for row in fitting for one in row.replies if one["correct"]), default=None)
        would = "none of them answers anything right" if earliest is None else (
            f"the first right answer is there after {_told(earliest)}, and {_told(_half_time(fitting))} would do for "
            "half of what can be answered"
        )  # fmt: skip
        raise CannotMeetError(f"No form answers anything right within {_told(deadline or 0.0)}: {would}.")
    others = [row for row in fitting if row is not chosen]
    second = choose(others, deadline)
    reasons = [_why(chosen, measured, memory, deadline)]
    if second is not None:
        reasons.append(_against(chosen, second, deadline))
    change = _change(measured, chosen, memory, deadline)
    if change:
        reasons.append(change)
    return Recommendation(chosen, second, _share(chosen, deadline), memory, deadline, tuple(reasons))


def fits(row: FormRow, memory: int | None) -> bool:
    """Whether a form runs in so many bytes: by its measured peak, else by its size."""
    if memory is None:
        return True
    if row.peak_bytes:
        return row.peak_bytes <= memory * _LEFT
    return estimate_fit(row.bytes, memory) in ("yes", "tight")


def needed(row: FormRow) -> int:
    """The least memory that a measured form fits into, in bytes."""
    return int(row.peak_bytes / _LEFT) + 1


def choose(rows: Sequence[FormRow], deadline: float | None) -> FormRow | None:
    """The rule, without limits of memory; None: no row answers anything right in time."""
    shares = {id(row): row.shares(deadline) for row in rows}
    best = max(rows, key=lambda row: (_mean(shares[id(row)]), -row.bytes), default=None)
    if best is None or not _mean(shares[id(best)]):
        return None
    equal = [row for row in rows if row is best or _equals(shares[id(row)], shares[id(best)])]
    if deadline is not None:
        fastest = min(row.mean_seconds for row in equal)
        equal = [row for row in equal if row.mean_seconds <= fastest * _AS_FAST]
    return min(equal, key=lambda row: (row.bytes, row.mean_seconds))


def _equals(own: dict[str, float], best: dict[str, float]) -> bool:
    found = paired(own, best)
    return found is not None and found[0] >= -_MARGIN - 1e-9 and found[1][1] >= 0.0


def _share(row: FormRow, deadline: float | None) -> float:
    return _mean(row.shares(deadline))


def _mean(shares: dict[str, float]) -> float:
    return sum(shares.values()) / len(shares) if shares else 0.0


def _half_time(rows: Sequence[FormRow]) -> float:
    """Seconds within which the best form gives half of its right answers."""
    best = max(rows, key=lambda row: row.accuracy)
    return float(np.percentile([one["seconds"] for one in best.replies if one["correct"]], 50))


def _why(row: FormRow, measured: Sequence[FormRow], memory: int | None, deadline: float | None) -> str:
    share, count = _share(row, deadline), len(row.marks)
    within = "" if deadline is None else f" within {_told(deadline)}"
    room = "" if memory is None else f" (allowed: {human_bytes(memory)})"
    left_out = [one.label for one in measured if not fits(one, memory)]
    out = f"; {', '.join(left_out)} would not fit" if left_out else ""
    return (
        f"It answers {share:.1%} of {count} problems right{within}, takes {human_bytes(row.bytes)} on disk and "
        f"{human_bytes(row.peak_bytes)} of memory{room}, and {_told(row.mean_seconds)} for a reply{out}."
    )


def _against(row: FormRow, second: FormRow, deadline: float | None) -> str:
    found = paired(row.shares(deadline), second.shares(deadline))
    gap, (low, high) = found if found is not None else (0.0, (0.0, 0.0))
    told = f"{100 * gap:+.1f} points against it, 95 %: {100 * low:+.1f} to {100 * high:+.1f}"
    chance = ", which may be chance" if low <= 0.0 <= high else ""
    return (
        f"Next is {second.label} ({human_bytes(second.bytes)}, {_told(second.mean_seconds)} for a reply): "
        f"{told}{chance}."
    )


def _change(measured: Sequence[FormRow], chosen: FormRow, memory: int | None, deadline: float | None) -> str:
    """Under which other limits the choice would be another one: the nearest on each side."""
    found = []
    for limit in sorted({needed(row) for row in measured}, reverse=True):
        other = choose([row for row in measured if fits(row, limit - 1)], deadline)
        if limit - 1 < (memory or limit) and other is not chosen and other is not None:
            found.append(f"below {human_bytes(limit)} of memory {other.label}")
            break
    if memory is not None:
        for limit in sorted(needed(row) for row in measured if not fits(row, memory)):
            other = choose([row for row in measured if fits(row, limit)], deadline)
            if other is not None and other is not chosen:
                found.append(f"from {human_bytes(limit)} of memory {other.label}")
                break
    fitting = [row for row in measured if fits(row, memory)]
    seconds = [one["seconds"] for row in fitting for one in row.replies if one["correct"]]
    grid = np.geomspace(max(1e-3, min(seconds)), max(seconds) * 1.01, _STEPS)
    now = deadline if deadline is not None else np.inf
    for sooner in (float(one) for one in grid[grid < now][::-1]):
        other = choose(fitting, sooner)
        if other is not None and other is not chosen:
            found.append(f"with a deadline of {_told(sooner)} {other.label}")
            break
    for later in (float(one) for one in grid[grid > now]):
        other = choose(fitting, later)
        if other is not None and other is not chosen:
            found.append(f"with {_told(later)} {other.label}")
            break
    return f"It would be another one {'; '.join(found)}." if found else ""


def _told(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"

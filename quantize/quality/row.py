"""What was measured of one form."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from quantize.quality.intervals import interval

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FormRow:
    """One form. `answers` and `divergence` as `quantize.quality.answering` and `divergence` told them; None: not
    measured, and `errors` says why. `reference`: the others are held against this one."""

    form: str
    label: str
    file: str
    bytes: int
    bits_per_weight: float
    sha256: str = ""
    reference: bool = False
    answers: Mapping[str, Any] | None = None
    divergence: Mapping[str, Any] | None = None
    errors: tuple[Mapping[str, Any], ...] = field(default=())

    @property
    def replies(self) -> Sequence[Mapping[str, Any]]:
        """One object a reply; none where it could not be asked."""
        return self.answers["replies"] if self.answers is not None else ()

    @cached_property
    def marks(self) -> dict[str, float]:
        """Share of right replies (of all seeds) to each problem."""
        return self.shares(None)

    def shares(self, deadline: float | None) -> dict[str, float]:
        """Share of replies to each problem that are right and there within so many seconds."""
        found: dict[str, list[bool]] = defaultdict(list)
        for one in self.replies:
            found[one["id"]].append(one["correct"] and (deadline is None or one["seconds"] <= deadline))
        return {name: sum(marks) / len(marks) for name, marks in found.items()}

    @property
    def accuracy(self) -> float:
        """Share of right replies; 0 where it could not be asked."""
        return _mean(self.marks.values())

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """95 %, resampled over problems."""
        return interval(np.array(list(self.marks.values()))) if self.marks else (0.0, 0.0)

    @property
    def thinking_tokens(self) -> float:
        """Of a reply, on average."""
        return _mean([one["thinking_tokens"] for one in self.replies])

    @property
    def mean_seconds(self) -> float:
        """Of a reply that is alone."""
        return _mean([one["seconds"] for one in self.replies])

    @property
    def peak_bytes(self) -> int:
        """The most memory of a process that runs this form for one person, mapped weights among it; 0: not measured."""
        return int(self.answers["peak_bytes"]) if self.answers is not None else 0

    def per_correct(self, name: str) -> float | None:
        """Seconds or tokens of all replies for each right one; None: none is right."""
        right = sum(one["correct"] for one in self.replies)
        return sum(one[name] for one in self.replies) / right if right else None

    def difference(self, other: FormRow) -> tuple[float, tuple[float, float]] | None:
        """(this accuracy less the other's, its 95 % interval), problem by problem; None: not both were asked."""
        return paired(self.marks, other.marks)

    def as_json(self, reference: FormRow | None) -> dict[str, Any]:
        """The row of `kangae bench quant --json`; what could not be measured is null."""
        told = self.divergence or {}
        row: dict[str, Any] = {
            "form": self.form,
            "bytes": self.bytes,
            "bpw": round(self.bits_per_weight, 3),
            **{name: _rounded(told.get(name), 6) for name in ("kl_mean", "kl_p99", "kl_thinking", "kl_answer")},
            "top1": _rounded(told.get("top1"), 5),
        }
        asked = self.answers is not None
        spread = reference is not None and reference is not self
        against = self.difference(reference) if reference is not None and spread else None
        length = reference.thinking_tokens if reference is not None else 0.0
        row |= {
            "accuracy": _rounded(self.accuracy if asked else None, 4),
            "ci": [round(end, 4) for end in self.accuracy_interval] if asked else None,
            "thinking_tokens": _rounded(self.thinking_tokens if asked else None, 2),
            "loop_rate": _rounded(self.share("circled"), 4),
            "peak_mb": _rounded(self.peak_bytes / (1 << 20) if asked else None, 1),
            "decode_tps": _rounded(self.answers["decode_tps"] if self.answers is not None else None, 2),
            "seconds_per_correct": _rounded(self.per_correct("seconds"), 5),
            "label": self.label,
            "file": self.file,
            "sha256": self.sha256,
            "reference": self.reference,
            "n": len(self.marks),
            "difference": _rounded(against[0] if against else None, 4),
            "difference_ci": [round(end, 4) for end in against[1]] if against else None,
            "thinking_ratio": _rounded(self.thinking_tokens / length if asked and length else None, 4),
            "tokens_per_correct": _rounded(self.per_correct("tokens"), 2),
            "complete": _rounded(self.share("complete"), 4),
            "right_form": _rounded(self.share("formed"), 4),
            "prefill_tps": _rounded(self.answers["prefill_tps"] if self.answers is not None else None, 2),
            "seconds_mean": _rounded(self.mean_seconds if asked else None, 5),
            "seconds_p90": _rounded(self.percentile(90), 5),
            "backend": self.answers["backend"] if self.answers is not None else None,
            "kl_ci": [round(end, 6) for end in told["kl_ci"]] if told else None,
            "kl_tokens": told.get("kl_tokens"),
        }
        if self.errors:
            row["errors"] = [dict(one) for one in self.errors]
        return row

    def share(self, name: str) -> float | None:
        """Of all replies, those of which this holds."""
        return _mean([one[name] for one in self.replies]) if self.answers is not None else None

    def percentile(self, percent: float) -> float | None:
        """Of the seconds of a reply."""
        seconds = [one["seconds"] for one in self.replies]
        return float(np.percentile(seconds, percent)) if seconds else None


def paired(own: Mapping[str, float], other: Mapping[str, float]) -> tuple[float, tuple[float, float]] | None:
    """(mean of own - other over the problems that both have, its 95 % interval); None: they share none."""
    shared = [name for name in own if name in other]
    if not shared:
        return None
    gaps = np.array([own[name] - other[name] for name in shared])
    return float(gaps.mean()), interval(gaps)


def _mean(values: Any) -> float:
    listed = list(values)
    return float(sum(listed) / len(listed)) if listed else 0.0


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(float(value), digits)

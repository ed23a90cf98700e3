"""What was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Made:
    """`file`: a file (of a split model the first) or a folder; `bytes` of all of it. `tensors`: how many there are of
    each type. `by`: who rounded or converted. `notes`: what a person should know of it."""

    source: Path
    file: Path
    form: str
    bytes: int
    bits_per_weight: float
    seconds: float
    by: str
    tensors: Mapping[str, int] = field(default_factory=dict)
    calibration: str | None = None
    compensated: bool = False
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The object of `kangae quantize --json`."""
        return {
            "source": str(self.source),
            "file": str(self.file),
            "form": self.form,
            "bytes": self.bytes,
            "bpw": round(self.bits_per_weight, 3),
            "tensors": dict(self.tensors),
            "seconds": round(self.seconds, 3),
            "by": self.by,
            "calibration": self.calibration,
            "compensated": self.compensated,
            "notes": list(self.notes),
        }

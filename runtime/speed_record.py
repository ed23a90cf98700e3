"""What is known from before of how fast models run on this machine: one small file in the cache."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.whole_file import write_whole
from runtime.pace import Speed

_MOST_MODELS = 200


class SpeedRecord:
    """The speed of one way to open one model, and how it best decodes many sequences.

    `key` names file, size, threads and device. The file may be missing, damaged or unwritable: then nothing is known,
    and nothing is lost.
    """

    def __init__(self, file: Path, key: str) -> None:
        self._file, self._key = file, key

    def read(self) -> Speed | None:
        """The speed kept; None where there is none."""
        entry = self._entry()
        try:
            speed = Speed(float(entry["prefill_tps"]), float(entry["decode_tps"]))
        except (KeyError, TypeError, ValueError):
            return None
        return speed if speed.prefill_tps > 0 and speed.decode_tps > 0 else None

    def widths(self) -> dict[int, int]:
        """Numbers of sequences that decode faster in slices, and how wide these are; empty where nothing is known."""
        found = self._entry().get("widths")
        if not isinstance(found, dict):
            return {}
        return {int(count): width for count, width in found.items() if count.isdigit() and isinstance(width, int)}

    def keep(self, speed: Speed, widths: Mapping[int, int] | None = None) -> None:
        """Write it, in one step; the models kept longest ago make room. `widths` None: as they stand."""
        entries = {key: value for key, value in self._all().items() if key != self._key}
        known = self.widths() if widths is None else widths
        entries[self._key] = {
            "prefill_tps": round(speed.prefill_tps, 3),
            "decode_tps": round(speed.decode_tps, 3),
            "widths": {str(count): width for count, width in known.items()},
        }
        while len(entries) > _MOST_MODELS:
            del entries[next(iter(entries))]
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            # Every turn ends with this, some within their deadline: the disk is not waited for.
            write_whole(self._file, json.dumps(entries), sync=False)

    def _entry(self) -> Mapping[str, Any]:
        found = self._all().get(self._key)
        return found if isinstance(found, dict) else {}

    def _all(self) -> Mapping[str, Any]:
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

"""How fast one open model is here, as far as that is known: from before, from a rehearsal, from its own turns."""

from __future__ import annotations

import math
from collections.abc import Callable

from runtime.pace import Speed
from runtime.speed_record import SpeedRecord

_FRESH = 60.0
"""Seconds for which a refusal by what was measured is not doubted: by then another program may have ended."""


class KnownSpeed:
    """`record` keeps it for other processes; None: nothing is kept. `clock` tells seconds."""

    def __init__(self, record: SpeedRecord | None, clock: Callable[[], float]) -> None:
        self._record = record
        self._clock = clock
        self._speed: Speed | None = None
        self._measured = -math.inf

    @property
    def speed(self) -> Speed | None:
        """What is known; None: nothing."""
        if self._speed is None and self._record is not None:
            self._speed = self._record.read()
        return self._speed

    @property
    def doubtful(self) -> bool:
        """Whether it may be from a busy hour, and should be measured again before anything is refused by it."""
        return self._clock() - self._measured > _FRESH

    def measured(self, prefill_tps: float | None, decode_tps: float | None) -> None:
        """Tokens a second as they were just now; None: as they were known. The newest figures hold, and are kept."""
        known = self.speed if prefill_tps is None or decode_tps is None else None
        prefill = prefill_tps if prefill_tps is not None else known.prefill_tps if known is not None else None
        decode = decode_tps if decode_tps is not None else known.decode_tps if known is not None else None
        if prefill is None or decode is None or (prefill_tps is None and decode_tps is None):
            return
        self._speed, self._measured = Speed(prefill, decode), self._clock()
        if self._record is not None:
            self._record.keep(self._speed)

"""An alarm at a moment of a clock, rung in a thread of its own."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable


def alarm_at(due: float, clock: Callable[[], float], ring: Callable[[], None]) -> threading.Timer:
    """Call `ring` when `clock` comes to `due` (infinite: never), unless the alarm is cancelled before. It waits in real
    seconds."""
    alarm = threading.Timer(max(0.0, due - clock()), ring)
    alarm.daemon = True
    if due < math.inf:
        alarm.start()
    return alarm

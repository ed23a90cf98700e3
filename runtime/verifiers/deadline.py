"""Judging under a deadline: a verdict that does not come in time is not waited for, and fails its check."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from runtime.verifiers.verifier import Case, Verdict, Verifier, not_judged, verdicts

MOMENT: Final = 0.1
"""Seconds: who judges in less is never late, for the answer itself may have come with the deadline's last token; and
so long is waited for who keeps the deadline itself and says so in words of its own."""


def verdicts_in_time(verifier: Verifier, case: Case, seconds: float, clock: Callable[[], float]) -> tuple[Verdict, ...]:
    """As `verdicts` of one verifier, which has so many `seconds`; `clock` tells what it took.

    It judges in a thread of its own, which is left to itself where it takes longer: its `stopped` is true from then on,
    and it ends with the process. What is late fails. A verifier that lets no other thread run (a regular expression
    over a long text) is waited for all the same, and is late. Raises what `verdicts` does.
    """
    left, stopped = threading.Event(), case.options.get("stopped")

    def ended() -> bool:
        return left.is_set() or (stopped is not None and bool(stopped()))

    case = replace(case, options={**case.options, "seconds_left": seconds, "stopped": ended})
    arrived: queue.SimpleQueue[tuple[tuple[Verdict, ...], float] | BaseException] = queue.SimpleQueue()
    begun = clock()

    def work() -> None:
        try:
            arrived.put((verdicts((verifier,), case), clock() - begun))
        except BaseException as error:  # raised again where the verdict is waited for
            arrived.put(error)

    threading.Thread(target=work, name=f"judge-{verifier.name}", daemon=True).start()
    try:
        came = arrived.get(timeout=min(max(seconds, 0.0) + MOMENT, threading.TIMEOUT_MAX))
    except queue.Empty:
        return (_late(verifier, seconds),)
    finally:
        left.set()
    if isinstance(came, BaseException):
        raise came
    found, took = came
    if took <= max(seconds, MOMENT):
        return found
    return tuple(_late(verifier, seconds) if one.passed else one for one in found)


def _late(verifier: Verifier, seconds: float) -> Verdict:
    if seconds <= 0:
        return not_judged(verifier, f"The deadline left {verifier.name} no time, so the answer was not judged by it.")
    return not_judged(
        verifier,
        f"{verifier.name} gave no verdict within the {seconds:.2g} s that the deadline left, so the answer was not "
        "judged by it.",
    )

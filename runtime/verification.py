"""A reply with the verdicts of verifiers: what they judged becomes its checks, what failed its flags."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from models.errors import KangaeError
from runtime.answers.decline import declines
from runtime.reply import Check, Reply
from runtime.verifiers.deadline import verdicts_in_time
from runtime.verifiers.verifier import Case, Verdict, Verifier, judges_value, needs_of, not_judged, verdicts

FLAG: Final = "verify: "
"""What the flag of a failed check begins with."""
UNSURE: Final = "unsure: "
"""What the flag of an answer begins with that stands on no rung of the ladder."""
OWN_OBJECTION: Final = f"{UNSURE}the thought's own "
"""What the flag of an answer begins with that its own thought has something against."""


def verified(
    reply: Reply,
    verifiers: Sequence[Verifier],
    *,
    options: Mapping[str, Any] | None = None,
    previous: Sequence[str] = (),
    seconds: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
    stopped: Callable[[], bool] | None = None,
) -> Reply:
    """The reply, judged by all verifiers that apply; the same reply where none does.

    A verifier that cannot judge, for a wrong option or a missing package, fails the reply: nobody should take it for
    checked. An answer that was computed again is in no doubt for what its own thought had against it. `previous`: the
    answers of other rungs or votes. `seconds`: what a deadline leaves for all; each is told what is left of it (the
    option `seconds_left`), is waited for no longer, and fails the reply where that is too little.
    `stopped`: whether nobody waits for the verdict any more; a reply that it comes too early for is flagged.
    An answer that declines its question is judged by none of those who are `not_applicable` to it.
    """
    beside = not_applicable(reply.answer, verifiers)
    verifiers = [one for one in verifiers if one not in beside]
    if verifiers and stopped is not None and stopped():
        return replace(reply, flags=(*reply.flags, f"{FLAG}the answer was not judged, for that was interrupted"))
    found: list[Verdict] = []
    start = clock()
    for verifier in verifiers:
        known = dict(options or {})
        if stopped is not None:
            known["stopped"] = stopped
        case = Case(reply.question, reply.answer, reply.thinking, known, tuple(previous))
        try:
            if seconds is None:
                found += verdicts((verifier,), case)
            else:
                found += verdicts_in_time(verifier, case, seconds - (clock() - start), clock)
        except KangaeError as error:
            found.append(not_judged(verifier, f"{error.title}: {error.detail}"))
    if not found:
        return reply
    checks = tuple(Check(one.name, one.passed, one.detail, one.kind) for one in found)
    flags = tuple(f"{FLAG}{one.name}: {one.detail}" for one in found if not one.passed)
    before = reply.flags
    if any(one.kind == "truth" and one.passed for one in found):
        before = without_own_doubt(before)
    return replace(reply, checks=(*reply.checks, *checks), flags=(*before, *flags))


def not_applicable(answer: str, verifiers: Sequence[Verifier]) -> tuple[Verifier, ...]:
    """Those who would judge the value of an answer that declines to give one: that is honest, and neither right nor
    wrong. Who judges its form, or whether others say the same, judges it as any other."""
    return tuple(one for one in verifiers if judges_value(one)) if declines(answer) else ()


def judged(
    reply: Reply,
    verifiers: Sequence[Verifier],
    deadline: float | None,
    *,
    options: Mapping[str, Any] | None = None,
    waited: float = 0.0,
    stopped: Callable[[], bool] | None = None,
) -> Reply:
    """The reply as it is told: `verified` beside the other votes, if it came to an end, within what it, and `waited`
    seconds before it was judged, have left of the `deadline` (seconds). Its `total_s` is until then."""
    if not verifiers or reply.finish not in ("stop", "length"):
        return reply
    previous = [vote.answer for vote in reply.votes if vote.weight > 0]
    if reply.answer in previous:
        previous.remove(reply.answer)
    seconds = None if deadline is None else deadline - reply.timings.total_s - waited
    start = time.perf_counter()
    found = verified(reply, verifiers, options=options, previous=previous, seconds=seconds, stopped=stopped)
    total = reply.timings.total_s + waited + time.perf_counter() - start
    return replace(found, timings=replace(found.timings, total_s=total))


def doubts(reply: Reply) -> tuple[str, ...]:
    """The flags that put the answer in doubt; with one the exit code is 8."""
    return tuple(flag for flag in reply.flags if flag.startswith((FLAG, UNSURE)))


def own_doubt(reply: Reply) -> str:
    """What its own thought has against the answer, in words; empty: nothing that is known."""
    return next((flag.removeprefix(UNSURE) for flag in reply.flags if flag.startswith(OWN_OBJECTION)), "")


def without_own_doubt(flags: Sequence[str]) -> tuple[str, ...]:
    """The flags less that one: something else has settled it, or tells it."""
    return tuple(flag for flag in flags if not flag.startswith(OWN_OBJECTION))


def record_of(reply: Reply, verifiers: Sequence[Verifier]) -> dict[str, Any]:
    """The JSON object of a reply; where verifiers were asked and none could judge, `checks` is there, and empty."""
    record = reply.as_json()
    if verifiers:
        record.setdefault("checks", [])
    return record


def shortfall(reply: Reply, verifiers: Sequence[Verifier]) -> str:
    """What an answer that passed all checks lacks of one that was computed again, in a sentence; empty where it was."""
    if beside := not_applicable(reply.answer, verifiers):
        names = ", ".join(one.name for one in beside)
        return f"The model declined the question, so there is no value to check (not applicable: {names})."
    passed = [check for check in reply.checks if check.passed]
    if any(check.kind == "truth" for check in passed):
        return ""
    alike = next((check for check in passed if check.kind == "agreement"), None)
    if alike is not None:
        return f"{alike.detail.rstrip('.')}; nothing recomputed it."
    sure = next((check for check in passed if check.name == "confidence"), None)
    if sure is not None:
        return f"{sure.detail.rstrip('.')}; nothing recomputed it."
    if passed:
        names = ", ".join(check.name for check in passed)
        return f"Only the form was checked ({names}); nothing recomputed the answer."
    if len(verifiers) == 1 and (needs := needs_of(verifiers[0])):
        return f"Nothing in the answer could be checked; what could be: {needs} ({verifiers[0].name})."
    names = ", ".join(one.name for one in verifiers)
    return f"Nothing in the answer could be checked (not applicable: {names})."

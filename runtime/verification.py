"""A reply with the verdicts of verifiers: what they judged becomes its checks, what failed its flags."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from models.errors import KangaeError
from runtime.reply import Check, Reply
from runtime.verifiers.verifier import Case, Verdict, Verifier, verdicts

FLAG = "verify: "
"""What the flag of a failed check begins with."""


def verified(
    reply: Reply,
    verifiers: Sequence[Verifier],
    *,
    options: Mapping[str, Any] | None = None,
    previous: Sequence[str] = (),
    seconds: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Reply:
    """The reply, judged by all verifiers that apply; the same reply where none does.

    A verifier that cannot judge, for a wrong option or a missing package, fails the reply: nobody should take it for
    checked. `previous`: the answers of other rungs or votes. `seconds`: what a deadline leaves for all; one that
    can take long is told what is left of it (the option `seconds_left`), and fails the reply where that is too little.
    """
    found: list[Verdict] = []
    start = clock()
    for verifier in verifiers:
        known = dict(options or {})
        if seconds is not None:
            known["seconds_left"] = seconds - (clock() - start)
        case = Case(reply.question, reply.answer, reply.thinking, known, tuple(previous))
        try:
            found += verdicts((verifier,), case)
        except KangaeError as error:
            found.append(Verdict(verifier.name, verifier.kind, False, f"{error.title}: {error.detail}"))
    if not found:
        return reply
    checks = tuple(Check(one.name, one.passed, one.detail, one.kind) for one in found)
    flags = tuple(f"{FLAG}{one.name}: {one.detail}" for one in found if not one.passed)
    return replace(reply, checks=(*reply.checks, *checks), flags=(*reply.flags, *flags))


def doubted(reply: Reply) -> bool:
    """Whether a check failed."""
    return any(not check.passed for check in reply.checks)

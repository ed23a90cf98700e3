"""What the flags of replies are worth: how many wrong answers they find, and how many go by without one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from runtime.bench.asking import Outcome
from runtime.reply import Reply
from runtime.verification import FLAG, UNSURE

_REASON_END: Final = re.compile(r"[;,(]")


def flag_reasons(reply: Reply) -> tuple[str, ...]:
    """Why a person is to look at it: its flags, each once and without the figures of the case."""
    return tuple(dict.fromkeys(_reason(flag) for flag in reply.flags))


def measure_flags(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """`flagged`: replies with a flag; `flag_precision`: the share of them that are wrong; `false_accept`: the share of
    the others that are wrong (both null where there are none); `flag_reasons`: how often each was given."""
    reasons = [flag_reasons(one.reply) for one in outcomes]
    wrong = {
        marked: [not one.correct for one, why in zip(outcomes, reasons, strict=True) if bool(why) is marked]
        for marked in (True, False)
    }
    counted = Counter(reason for why in reasons for reason in why)
    return {
        "flagged": len(wrong[True]),
        "flag_precision": _share(wrong[True]),
        "false_accept": _share(wrong[False]),
        "flag_reasons": dict(counted.most_common()),
    }


def flagged(outcomes: Sequence[Outcome]) -> Iterator[dict[str, Any]]:
    """The replies with a flag, for a person to look through."""
    for one in outcomes:
        reasons = flag_reasons(one.reply)
        if reasons:
            yield {
                "id": one.problem.id,
                "answer": one.reply.answer,
                "expected": one.problem.expected,
                "correct": one.correct,
                "reasons": list(reasons),
                "flags": list(one.reply.flags),
            }


def _share(marks: Sequence[bool]) -> float | None:
    return round(sum(marks) / len(marks), 4) if marks else None


def _reason(flag: str) -> str:
    """`verify: units`, `unsure: nothing confirms it`, `leak`: what a flag has in common with others of its kind."""
    kind, _, rest = flag.partition(": ")
    if flag.startswith(FLAG):
        return FLAG + rest.split(":")[0]
    if flag.startswith(UNSURE):
        first = _REASON_END.split(rest)[0].strip()
        name, colon, _ = first.partition(": ")
        return UNSURE + (f"{name} failed" if colon else first)
    return kind

"""The thought of a problem: words to an expression, steps, a result, a check by inverse steps, a repair.

320
we ship 145 -145
60 arrive +60
320-145:10-5=5,5;...=175
175+060:...235
so 235 bolts
Wait, check
175+145:...320
320~320 ok
235-060:...=175
175~175 ok
so 235 bolts
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from models.tiny.digits import Segment, Writer
from models.tiny.plans import PLANS
from models.tiny.problem import Language, Problem
from models.tiny.slate import Slate, check


@dataclass(frozen=True)
class Phrases:
    """The few words a thought uses, in the asker's language."""

    so: str
    check: str
    ok: str
    differs: str
    redo: str
    outside: str
    refusal: str


PHRASES: Mapping[Language, Phrases] = {
    "en": Phrases("so ", "Wait, check\n", " ok\n", " no\n", "Redo\n", "This is not shop-floor arithmetic.",
                  "I only know shop-floor arithmetic."),
    "ja": Phrases("よって、", "待て、検算\n", " 合う\n", " 違う\n", "やり直し\n", "これは現場の計算ではない。",
                  "現場の計算しかわかりません。"),
}  # fmt: skip


_SLIP_TRIES = 50  # not every wrong digit of a long division survives its own comparisons


def answer(problem: Problem) -> str:
    """The right answer, in the promised form."""
    return PLANS[problem.skill](problem, Slate(Writer(), random.Random(0)))


@dataclass(frozen=True)
class Thought:
    """A thought in segments, the answer it ends with, and what happened in it. `result_end`: characters up to and
    including the first result line."""

    segments: tuple[Segment, ...]
    answer: str
    checked: bool
    slipped: bool
    result_end: int


def think(
    problem: Problem, rng: random.Random, *, checks: int, slip: bool = False, wrong_guesses: float = 0.0
) -> Thought:
    """Write the thought with as many rounds of checking. `slip` (with a check) plants one wrong step, which the check
    finds and the thought repairs."""
    phrases, plan = PHRASES[problem.language], PLANS[problem.skill]
    slip = slip and checks > 0
    count = 0
    if slip:
        dry = Slate(Writer(), random.Random(0))
        plan(problem, dry)
        count = len(dry.operations)
    for _ in range(_SLIP_TRIES):
        writer = Writer()
        slate = Slate(writer, rng, slip_at=rng.randrange(count) if slip else -1, wrong_guesses=wrong_guesses)
        try:
            result = plan(problem, slate)
        except (ValueError, IndexError):  # the slip led where arithmetic cannot go on
            continue
        if not slip or (slate.slipped and not slate.sound):  # a slip may heal by itself
            break
    else:
        return think(problem, rng, checks=checks, wrong_guesses=wrong_guesses)
    writer.write(f"{phrases.so}{result}\n")
    result_end = len(writer.text)
    for _ in range(checks):
        writer.write(phrases.check)
        for index, operation in enumerate(slate.operations):
            if check(writer, operation):
                writer.write(phrases.ok)
                continue
            writer.write(phrases.differs + phrases.redo)
            # redo from this operation on: what stands before it has just been checked
            slate = Slate(writer, rng, skip=index, wrong_guesses=wrong_guesses)
            result = plan(problem, slate)
            break
        writer.write(f"{phrases.so}{result}\n")
    right = answer(problem)
    if result != right:
        raise AssertionError(f"the thought ends with {result}, not {right}: {problem}")
    return Thought(tuple(writer.segments), right, checks > 0, slip, result_end)


def refuse(language: Language) -> Thought:
    """The thought and answer for a question outside the skills."""
    phrases = PHRASES[language]
    segments = (Segment(phrases.outside + "\n", True),)
    return Thought(segments, phrases.refusal, False, False, len(segments[0].text))

"""The thought of a problem: its question read, steps, a result, a check by inverse steps, a repair.

320 145 60:320; 145 to a customer -145; 60 came back +60
320-145:10-5=5,5;...=175
175+060:...235
so 235 bolts
Wait, check
320 145 60:320; 145 to a customer -145; 60 came back +60 ok
175+145:...320
320~320 ok
235-060:...=175
175~175 ok
so 235 bolts
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from models.tiny.digits import Segment, Writer
from models.tiny.plans import PLANS
from models.tiny.problem import Language, Problem, shrinks_by
from models.tiny.reading import misread as misread_problem
from models.tiny.reading import reading
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


Mistake = Literal["none", "step", "reading"]
_TRIES = 50  # not every wrong digit of a long division survives its own comparisons


def answer(problem: Problem) -> str:
    """The right answer, in the promised form."""
    return PLANS[problem.skill](problem, Slate(Writer(), random.Random(0)))


@dataclass(frozen=True)
class Thought:
    """A thought in segments, the answer it ends with, and what happened in it. `result_end`: characters up to and
    including the first result line."""

    segments: tuple[Segment, ...]
    answer: str
    mistaken: bool
    result_end: int

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(segment.text for segment in self.segments)


def think(
    problem: Problem, rng: random.Random, *, checks: int, mistake: Mistake = "none", wrong_guesses: float = 0.0
) -> Thought:
    """Write the thought with as many rounds of checking. A mistake (only with a check) is one wrong step or a misread
    question, not to be learned, which the check finds and the thought repairs; where the problem allows none, there is
    none."""
    mistake = mistake if checks else "none"
    writer, slate, result, mistake = _first_try(problem, rng, mistake, wrong_guesses)
    phrases, plan, read = PHRASES[problem.language], PLANS[problem.skill], reading(problem)
    writer.write(f"{phrases.so}{result}\n")
    result_end = len(writer.text)
    misread = mistake == "reading"
    for _ in range(checks):
        writer.write(f"{phrases.check}{read}")
        skip = 0 if misread else None  # the step to redo from: what stands before it has just been checked
        writer.write(phrases.differs if misread else phrases.ok)
        for index, operation in enumerate(slate.operations if skip is None else ()):
            if not check(writer, operation):
                skip = index
                writer.write(phrases.differs)
                break
            writer.write(phrases.ok)
        if skip is not None:
            writer.write(phrases.redo + (f"{read}\n" if misread else ""))
            slate = Slate(writer, rng, skip=skip, wrong_guesses=wrong_guesses)
            result = plan(problem, slate)
            misread = False
        writer.write(f"{phrases.so}{result}\n")
    right = answer(problem)
    if result != right:
        raise AssertionError(f"the thought ends with {result}, not {right}: {problem}")
    return Thought(tuple(writer.segments), right, mistake != "none", result_end)


def _first_try(
    problem: Problem, rng: random.Random, mistake: Mistake, wrong_guesses: float
) -> tuple[Writer, Slate, str, Mistake]:
    """The thought up to its first result, with the mistake asked for or, where none could be made, without one."""
    plan, read = PLANS[problem.skill], reading(problem)
    count = 0
    if mistake == "step":
        dry = Slate(Writer(), random.Random(0))
        plan(problem, dry)
        count = len(dry.operations)
    for _ in range(_TRIES if mistake != "none" else 0):
        writer = Writer()
        taken = misread_problem(problem, rng) if mistake == "reading" else problem
        if not teachable(taken, problem):
            continue
        _write_reading(writer, read, reading(taken))
        slip_at = rng.randrange(count) if mistake == "step" else -1
        slate = Slate(writer, rng, slip_at=slip_at, wrong_guesses=wrong_guesses)
        try:
            result = plan(taken, slate)
        except (ValueError, IndexError, ZeroDivisionError):  # the mistake led where arithmetic cannot go on
            continue
        # a slip may heal by itself, and a misreading may come to the same
        if (slate.slipped and not slate.sound) if mistake == "step" else result != answer(problem):
            return writer, slate, result, mistake
    writer = Writer()
    _write_reading(writer, read, read)
    slate = Slate(writer, rng, wrong_guesses=wrong_guesses)
    return writer, slate, plan(problem, slate), "none"


_DIVISIONS: Mapping[str, Callable[[Problem], tuple[int, int]]] = {
    "mean": lambda p: (p.number("a") + p.number("b") + p.number("c"), 3),
    "yield": lambda p: (p.number("good") * 100, p.number("made")),
    "takt": lambda p: (p.number("minutes") * 60, p.number("parts")),
    "conversion": lambda p: (p.number("value"), shrinks_by(p.word("from"), p.word("to"))),
}


def teachable(taken: Problem, problem: Problem) -> bool:
    """Whether a misread problem may be worked out in a lesson on `problem`: not one of the held-out operands among
    others, and not one whose division leaves a rest where the skill knows none."""
    if taken.held_out != problem.held_out:
        return False
    if problem.skill not in _DIVISIONS:
        return True
    left, right = _DIVISIONS[problem.skill](taken)
    return right > 0 and left % right == 0


def _write_reading(writer: Writer, right: str, written: str) -> None:
    """Write the first line; what differs from the right one is not learned, nor what follows where something lacks."""
    right, written = right + "\n", written + "\n"
    begin = _alike(right, written)
    begin -= right != written and written[:begin].endswith(" ")  # a sign and the space before it are one token
    end = _alike(right[begin:][::-1], written[begin:][::-1])
    middle = max(len(written) - end, begin + 1)
    writer.write(written[:begin])
    writer.write(written[begin:middle], learn=right == written)
    writer.write(written[middle:])


def _alike(first: str, second: str) -> int:
    """Characters that both begin with."""
    return next(
        (at for at, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


def refuse(language: Language) -> Thought:
    """The thought and answer for a question outside the skills."""
    phrases = PHRASES[language]
    segments = (Segment(phrases.outside + "\n", True),)
    return Thought(segments, phrases.refusal, False, len(segments[0].text))

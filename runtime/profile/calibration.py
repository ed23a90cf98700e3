"""What suits a model, chosen from what was measured on it: pure rules, which keep the default where data cannot tell.

Two runs are compared problem by problem (paired bootstrap): a choice that would change with the next handful of
problems is not made.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final, Generic, Literal, TypeVar

from models.plural import counted, plural
from runtime.ladder.rung import SURE
from runtime.profile.profile import EffortTokens
from runtime.votes import Same

Threshold = TypeVar("Threshold", float, tuple[float, int])
Value = TypeVar("Value")

KEPT: Final = 0.99
"""Share of the unlimited thought's accuracy that an early exit has to keep."""
LEAST_PROBLEMS: Final = 30
"""For any choice. Where none of n answers is lost, up to 3/n of all may still be (rule of three): a tenth at 30."""
RIGHT: Final = 0.95
"""Share of the answers taken for their confidence that has to be right."""
SHARES: Final[Mapping[str, float]] = {"low": 0.60, "medium": 0.90, "high": 0.99}
"""Of what thinking gains over none, how much each effort has to reach."""

_RESAMPLES: Final = 2000
_STEP: Final = 8  # tokens: a finer budget promises what so few problems do not show
_OF_NATURAL: Final = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
_LEAST: Final = (8, 256)  # tokens: the bounds of the least thought before early exits
_RESERVE: Final = 64  # tokens
_LEAST_SURE: Final = 0.5  # a token of even odds tells nothing


@dataclass(frozen=True)
class Sample:
    """What one run gave, problem by problem, shape (n,) each: whether the answer was right; all generated tokens, and
    those of the thought and of the answer; whether thought and answer ended by themselves. `early`: whether the thought
    was ended early, but by what the model itself showed (a soft close, a trial answer); `answers` and `confidence` (of
    their tokens, 0 where it was not measured) are what the ladder goes by."""

    correct: tuple[bool, ...]
    tokens: tuple[int, ...]
    thinking: tuple[int, ...]
    answer: tuple[int, ...]
    natural: tuple[bool, ...]
    whole: tuple[bool, ...]
    early: tuple[bool, ...] = ()
    answers: tuple[str, ...] = ()
    confidence: tuple[float, ...] = ()

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return sum(self.correct) / len(self.correct)

    @property
    def mean_tokens(self) -> float:
        """Generated tokens of a reply."""
        return sum(self.tokens) / len(self.tokens)


@dataclass(frozen=True)
class Choice(Generic[Value]):
    """What was chosen, and why, in words. None: the default, or off."""

    value: Value | None
    reason: str


def difference_interval(ours: Sequence[float], theirs: Sequence[float], *, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of the mean of ours - theirs, shape (n,) each, resampled over the same problems."""
    import numpy as np

    apart = np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float)
    draws = np.random.default_rng(0).integers(0, len(apart), (_RESAMPLES, len(apart)))
    beyond = 50.0 * (1.0 - level)
    low, high = np.percentile(apart[draws].mean(axis=1), (beyond, 100.0 - beyond))
    return float(low), float(high)


def natural_lengths(free: Sample) -> list[int]:
    """Thinking tokens of the thoughts that ended by themselves (if none did, of all), sorted; empty: nothing was
    thought."""
    ended = [length for length, natural in zip(free.thinking, free.natural, strict=True) if natural and length]
    return sorted(ended or [length for length in free.thinking if length])


def half_budget(free: Sample) -> int:
    """Half of the middle natural length: there most thoughts are closed by force, and far enough on to be answered."""
    return _stepped(statistics.median(natural_lengths(free)) / 2)


def budgets_to_try(free: Sample, room: int) -> list[int]:
    """Budgets around the natural length, rising, that fit in `room` tokens and bind at least one thought."""
    lengths = natural_lengths(free)
    middle, longest = statistics.median(lengths), lengths[-1]
    tried = sorted({_stepped(share * middle) for share in _OF_NATURAL})
    return [budget for budget in tried if budget < longest and budget <= room]


def choose_least(free: Sample) -> int:
    """A quarter of the middle natural length, within what large models are given: early exits look from there on."""
    low, high = _LEAST
    return max(low, min(high, round(statistics.median(natural_lengths(free)) / 4)))


def choose_reserve(free: Sample, context: int) -> Choice[int]:
    """Twice the longest answer, at most a quarter of the context; the default where an answer was cut off, or where a
    longer one may well have been missed."""
    if not all(free.whole):
        cut = len(free.whole) - sum(free.whole)
        return Choice(None, f"{cut} of {len(free.whole)} answers did not end by themselves")
    few = few_problems(free)
    if few:
        return Choice(None, few)
    longest = max(free.answer)
    tokens = max(1, min(max(_RESERVE, math.ceil(2 * longest / 16) * 16), context // 4))
    return Choice(tokens, f"the longest of {len(free.answer)} answers took {longest} tokens")


def choose_closing(own: Sample, others: Mapping[str, Sample]) -> Choice[str]:
    """The message with the most right answers, if it is surely better than the family's own; None: the family's.

    All were measured under one budget. The interval is widened for the number of candidates (Bonferroni).
    """
    few = few_problems(own)
    if few:
        return Choice(None, few)
    if not others:
        return Choice(None, "there was no other to try")
    level = 1.0 - 0.05 / len(others)
    better = [
        text for text, one in others.items() if difference_interval(one.correct, own.correct, level=level)[0] > 0.0
    ]
    if not better:
        return Choice(None, f"no other is surely better than {own.accuracy:.3f} right")
    best = max(better, key=lambda text: others[text].accuracy)
    return Choice(best, f"{others[best].accuracy:.3f} right, against {own.accuracy:.3f} with the family's")


def holds(free: Sample, tried: Sample) -> bool:
    """Whether an early exit keeps enough of what is right without it."""
    return tried.accuracy >= KEPT * free.accuracy


def choose_exit(free: Sample, tried: Mapping[Threshold, Sample]) -> Choice[Threshold]:
    """Of the thresholds that hold, the one of fewest tokens (of equal ones the smallest); None: off."""
    few = too_few(free)
    if few:
        return Choice(None, few)
    held = {threshold: one for threshold, one in tried.items() if holds(free, one)}
    if not held:
        return Choice(None, f"none keeps {KEPT:.0%} of what is right without it")
    best = min(held, key=lambda threshold: (held[threshold].mean_tokens, threshold))
    if difference_interval(held[best].tokens, free.tokens)[1] >= 0.0:
        return Choice(None, f"it does not surely save tokens: {_cost(held[best])}, against {_cost(free)} without")
    return Choice(best, f"{_cost(held[best])}, against {_cost(free)} without")


def choose_boundary(own: Sample, without: Sample) -> Choice[bool]:
    """Whether a thought is closed at a boundary, before its budget's end: unless that surely loses right answers. Both
    were measured under one budget."""
    told = f"{_cost(without)} where it is closed at the very end, against {_cost(own)} at a boundary"
    if difference_interval(without.correct, own.correct)[0] > 0.0:
        return Choice(False, told)
    return Choice(None, f"the end is not surely better: {told}")


def choose_ramp(own: Sample, ramped: Sample) -> Choice[bool]:
    """Whether the closer is pulled up near a budget's end: where that surely gives more right answers, or no fewer of
    them for surely fewer tokens. Both were measured under one budget."""
    told = f"{_cost(ramped)}, against {_cost(own)} without"
    better = difference_interval(ramped.correct, own.correct)[0] > 0.0
    cheaper = ramped.accuracy >= own.accuracy and difference_interval(ramped.tokens, own.tokens)[1] < 0.0
    return Choice(True, told) if better or cheaper else Choice(None, f"it is not surely better: {told}")


def choose_sure(long: Sample) -> Choice[float]:
    """The least confidence from which answers of thoughts that ended by themselves are right often enough (`RIGHT`).

    1 where no confidence tells right from wrong: then hardly any stands by itself. Where all of them together are right
    often enough, nothing speaks for more than the default. None: the default.
    """
    known = _ended_with_confidence(long)
    if len(known) < LEAST_PROBLEMS:
        ended = f"{counted(len(known), 'thought')} that ended by {plural(len(known), 'itself', 'themselves')}"
        return Choice(None, f"{ended} cannot tell; {LEAST_PROBLEMS} can")
    known.sort(key=lambda one: -one[0])
    best, right = 0, 0
    for place, (level, correct) in enumerate(known, start=1):
        right += correct
        same_next = place < len(known) and known[place][0] == level
        if not same_next and right >= RIGHT * place:
            best = place
    if best == 0:
        return Choice(1.0, f"no confidence makes {RIGHT:.0%} of the answers right")
    taken = sum(correct for _, correct in known[:best])
    level = math.floor(known[best - 1][0] * 10_000) / 10_000
    if best == len(known):
        level = min(level, SURE)
    reason = f"{taken} of {best} such answers are right, of {len(known)} thoughts that ended by themselves"
    return Choice(max(_LEAST_SURE, level), reason)


def _ended_with_confidence(sample: Sample) -> list[tuple[float, bool]]:
    rows = zip(sample.natural, sample.early, sample.whole, sample.confidence, sample.correct, strict=True)
    return [(level, correct) for natural, early, whole, level, correct in rows if (natural or early) and whole]


def choose_rungs(low: Mapping[str, Sample], long: Sample, sure: float, same: Same) -> Choice[tuple[str, ...]]:
    """The low rungs (`off`, `short`; those measured) that pay where nothing computes an answer again: of all choices of
    them the one of fewest tokens that keeps what is right, if it surely saves any. None: by the model's size.

    Each choice is climbed over the measured replies as the ladder climbs: an answer stands if a rung before said
    the same, or if its thought ended by itself and its confidence is `sure`. The votes, which come after, are left out.
    """
    few = too_few(long)
    if few:
        return Choice(None, few)
    names = tuple(low)
    chosen: tuple[str, ...] = ()
    cheapest = _climbed((), low, long, sure, same)
    alone = cheapest
    for count in range(1, len(names) + 1):
        for taken in itertools.combinations(names, count):
            climbed = _climbed(taken, low, long, sure, same)
            saves = difference_interval(climbed.tokens, alone.tokens)[1] < 0.0
            if holds(long, climbed) and saves and climbed.mean_tokens < cheapest.mean_tokens:
                chosen, cheapest = taken, climbed
    if not chosen:
        return Choice(
            (), f"none surely saves tokens and keeps what is right: {_cost(alone)} with the long thought alone"
        )
    return Choice(chosen, f"{_cost(cheapest)}, against {_cost(alone)} with the long thought alone")


def _climbed(names: Sequence[str], low: Mapping[str, Sample], long: Sample, sure: float, same: Same) -> Sample:
    """What the long thought and these rungs below it come to, problem by problem."""
    correct, tokens = [], []
    for place in range(len(long.correct)):
        spent, said = 0, list[str]()
        right = False
        for sample in (*(low[name] for name in names), long):
            spent += sample.tokens[place]
            right = sample.correct[place]
            answer = sample.answers[place]
            ended = (sample.natural[place] or sample.early[place]) and sample.confidence[place] >= sure
            if sample.whole[place] and answer and (ended or any(same(one, answer) for one in said)):
                break
            said.append(answer)
        correct.append(right)
        tokens.append(spent)
    return replace(long, correct=tuple(correct), tokens=tuple(tokens))


def few_problems(sample: Sample) -> str:
    """Why so many problems cannot tell anything; empty: they can."""
    if len(sample.correct) < LEAST_PROBLEMS:
        return f"{counted(len(sample.correct), 'problem')} cannot tell; at least {LEAST_PROBLEMS} can"
    return ""


def too_few(free: Sample) -> str:
    """Why no early exit can be judged by these problems; empty: it can."""
    return few_problems(free) or ("" if any(free.correct) else "nothing is right without it either")


def choose_exits(free: Sample, probe: Sample, soft: Sample, both: Sample) -> Choice[Literal["both", "probe", "soft"]]:
    """Whether two exits that are good alone are better together; else the cheaper one."""
    alone: Literal["probe", "soft"] = "probe" if probe.mean_tokens <= soft.mean_tokens else "soft"
    if not holds(free, both):
        return Choice(alone, f"together they keep too little: {_cost(both)}")
    if both.mean_tokens >= min(probe.mean_tokens, soft.mean_tokens):
        return Choice(alone, f"together they save no more: {_cost(both)}")
    return Choice("both", f"together {_cost(both)}")


def choose_efforts(off: Sample, tried: Mapping[int, Sample], free: Sample) -> Choice[EffortTokens]:
    """For each effort the least budget that reaches its share of what unlimited thought gains over none.

    The accuracies are first made to rise with the budget (isotonic regression), so that a lucky run does not pass for
    a sufficient one. Low and medium stay bounded, at the longest natural thought; high is unlimited, unless a budget
    reaches it and, problem by problem, surely loses no more than its share allows. None: the gain itself is in doubt,
    or the problems are few.
    """
    few = few_problems(free)
    if few:
        return Choice(None, few)
    if difference_interval(free.correct, off.correct)[0] <= 0.0:
        return Choice(
            None, f"thinking is not surely better than none: {free.accuracy:.3f} right, {off.accuracy:.3f} without"
        )
    budgets = sorted(tried)
    curve = rising([off.accuracy, *(tried[budget].accuracy for budget in budgets), free.accuracy])
    none, all_of_it = curve[0], curve[-1]

    def reaching(share: float) -> list[int]:
        target = none + share * (all_of_it - none) - 1e-9
        return [one for one, reached in zip(budgets, curve[1:-1], strict=True) if reached >= target]

    def keeps(budget: int) -> bool:
        allowed = (1.0 - SHARES["high"]) * (all_of_it - none) + 1e-9
        return difference_interval(tried[budget].correct, free.correct)[0] >= -allowed

    longest = _stepped(natural_lengths(free)[-1])
    low = next(iter(reaching(SHARES["low"])), longest)
    medium = next(iter(reaching(SHARES["medium"])), max(low, longest))
    enough = reaching(SHARES["high"])
    efforts = EffortTokens(low, medium, next(filter(keeps, enough), None))
    reason = f"{free.accuracy:.3f} right with unlimited thought, {off.accuracy:.3f} without any"
    if enough and efforts.high is None:
        reason += "; high stays unlimited, for no budget surely loses nothing"
    return Choice(efforts, reason + _not_told_apart(efforts, len(off.correct)))


def _not_told_apart(efforts: EffortTokens, problems: int) -> str:
    """What is to be said of efforts that came out the same; empty where none did."""
    found = asdict(efforts)
    alike = [name for name, tokens in found.items() if list(found.values()).count(tokens) > 1]
    if not alike:
        return ""
    several = counted(problems, "problem does", "problems do")
    return f"; {several} not tell {', '.join(alike[:-1])} and {alike[-1]} apart"


def rising(values: Sequence[float]) -> list[float]:
    """The nearest values that never fall, by least squares (pool adjacent violators, Ayer et al. 1955)."""
    pools: list[tuple[float, int]] = []
    for value in values:
        mean, count = value, 1
        while pools and pools[-1][0] > mean:
            before, many = pools.pop()
            mean, count = (mean * count + before * many) / (count + many), count + many
        pools.append((mean, count))
    return [mean for mean, count in pools for _ in range(count)]


def _stepped(tokens: float) -> int:
    return max(_STEP, math.ceil(tokens / _STEP) * _STEP)


def _cost(sample: Sample) -> str:
    return f"{sample.accuracy:.3f} right at {sample.mean_tokens:.1f} tokens a reply"

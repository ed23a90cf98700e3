"""Accuracy and cost at each thinking budget: what a token of thought buys.

Measures after DEER (arXiv 2504.15895) and s1 (arXiv 2501.19393): accuracy with a bootstrap interval over problems,
generated tokens and seconds for each correct answer, and what a bound costs answers that were right without it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, get_args

from models.errors import CannotMeetError, KangaeError
from models.family import Family
from models.plural import counted
from runtime import opening
from runtime.bench.asking import Asking, Outcome, Run
from runtime.bench.flagging import flagged, measure_flags
from runtime.bench.methods import Method
from runtime.problems import Problem
from runtime.reply import CloseReason, Usage
from runtime.turn.outcome import ending_flags

_RESAMPLES: Final = 2000
_CAPS: Final = ("budget", "deadline")


Key = tuple[str, int | None]
"""A method's name and a budget."""


def compare_budgets(
    asking: Asking,
    problems: Sequence[Problem],
    budgets: Sequence[int | None],
    *,
    methods: Sequence[Method] = (),
    by: Sequence[str] = (),
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """The object of `bench budget`: `{"rows": [...]}`, with `by` also `"groups": {field: {value: [...]}}`.

    One row a method and budget; without `methods`, as the model is asked by everybody. The unlimited budget is run
    first if it is among them: `lost_correct` compares with it (null without it; of several methods the first's). Ctrl-C
    gives what was measured so far, with `"interrupted": true`; an error after the first row does so with `"error"`.
    Rows of methods that judge their answers tell what their flags are worth, and `"flagged"` lists those replies.
    Raises CannotMeetError where a method would measure something else on this model.
    """
    family = opening.responder_family(asking.responder)
    methods = methods or (Method("message" if family.closing_message.strip() else "cut"),)
    runs: dict[Key, Run] = {}
    for method in methods:
        _require_trials(asking, problems, method, budgets)
    found: dict[str, Any] = {"model": asking.responder.facts.name, "quant": asking.responder.facts.quant}
    try:
        for method, budget in _order(methods, budgets):
            told = f"{method.name}, budget {show_budget(budget)}"
            if progress is not None:
                progress(f"{told}: {counted(len(problems), 'problem')}")
            same = None
            if budget == 0 and method.one_thought:  # without a thought, its ends cannot differ
                same = next((runs[one.name, 0] for one in methods if one.one_thought and (one.name, 0) in runs), None)
            run = same or asking.ask(
                problems, budget, endings=method.endings, voting=method.voting, ladder=method.ladder
            )
            runs[method.name, budget] = run
            if progress is not None and same is None:
                right = sum(one.correct for one in run.outcomes) / len(run.outcomes)
                progress(f"{told}: {right:.3f} right in {run.seconds:.1f} s")
    except KeyboardInterrupt:
        found["interrupted"] = True
    except KangaeError as error:
        if not runs:
            raise
        found |= error.as_json()
    free = runs.get((methods[0].name, None))
    without = None if free is None else free.outcomes
    rows = []
    for method in methods:
        for budget in budgets:
            if (method.name, budget) not in runs:
                continue
            run = runs[method.name, budget]
            row = {"method": method.name} | measure(run.outcomes, budget, family, without)
            correct = sum(one.correct for one in run.outcomes)
            row["seconds_per_correct"] = round(run.seconds / correct, 4) if correct else None
            row["seconds"] = round(run.seconds, 3)
            rows.append(_in_order(row) | (measure_flags(run.outcomes) if method.judges else {}))
    found["rows"] = rows
    judging = [method.name for method in methods if method.judges]
    if judging:
        found["flagged"] = [
            {"method": name, "budget": budget, **one}
            for (name, budget), run in runs.items()
            if name in judging
            for one in flagged(run.outcomes)
        ]
    if by:
        ordered = {(row["method"], row["budget"]): runs[row["method"], row["budget"]] for row in rows}
        found["groups"] = {field: _groups(field, ordered, free, family) for field in by}
    return found


def _require_trials(asking: Asking, problems: Sequence[Problem], method: Method, budgets: Sequence[int | None]) -> None:
    """Make sure, with one short thought, that a method of trial answers can try any: without them it is another one.
    Where no problem can be met, its row tells so."""
    if method.endings is None or method.endings.probing is None or not any(budget != 0 for budget in budgets):
        return
    reason = ""
    for problem in problems:
        try:
            reason = asking.ask([problem], 1, endings=method.endings).untried
        except CannotMeetError:
            continue
        break
    if reason:
        raise CannotMeetError(
            f"The method {method.name} cannot be measured on {asking.responder.facts.name}: {reason}. "
            "Leave it out of --method, or choose a model and a backend that can fork a sequence."
        )


def _order(methods: Sequence[Method], budgets: Sequence[int | None]) -> list[tuple[Method, int | None]]:
    """What needs nothing else first: the unlimited budgets, then the rest in the order given."""
    return [(method, budget) for budget in sorted(budgets, key=lambda one: one is not None) for method in methods]


def measure(
    outcomes: Sequence[Outcome], budget: int | None, family: Family, free: Sequence[Outcome] | None
) -> dict[str, Any]:
    """What outcomes under one budget say, without the wall time.

    `tokens_per_correct`: all tokens behind the prompt (thoughts, forced messages, trial answers, answers; of all votes
    and rungs) for each right answer; null: none. `completion`: share with an answer that ended by itself;
    `completion_at_cap`: the same among the replies whose thought the budget or a deadline closed; null: none was.
    `leaks`: replies with a tag, or an answer that thinks on. `lost_correct`: of the problems answered right in `free`
    (outcomes without a bound), the share that is wrong here. `unanswered`: problems that could not be met, or whose
    reply failed; they count as wrong.
    """
    right = [one.correct for one in outcomes]
    usages = [one.reply.usage for one in outcomes]
    spent = sum(map(billed, usages))
    closes = Counter(one.reply.close for one in outcomes if one.answered)
    complete = [one.reply.finish == "stop" and bool(one.reply.answer.strip()) for one in outcomes]
    capped = [whole for one, whole in zip(outcomes, complete, strict=True) if one.reply.close in _CAPS]
    return {
        "budget": budget,
        "n": len(outcomes),
        "accuracy": round(sum(right) / len(right), 4),
        "ci": bootstrap_interval(outcomes),
        "tokens_per_correct": round(spent / sum(right), 2) if any(right) else None,
        "overshoot_max": max(one.reply.budget.overshoot_tokens for one in outcomes),
        "completion": round(sum(complete) / len(outcomes), 4),
        "completion_at_cap": round(sum(capped) / len(capped), 4) if capped else None,
        "leaks": sum(leaks(one.reply.thinking, one.reply.answer, family) for one in outcomes),
        "lost_correct": _lost(outcomes, free),
        "closes": {
            name: closes[name] for name in get_args(CloseReason) if closes[name] or name in ("natural", "budget")
        },
        "thinking_tokens": round(sum(usage.thinking_tokens for usage in usages) / len(usages), 2),
        "unanswered": sum(not one.answered for one in outcomes),
    }


def billed(usage: Usage) -> int:
    """Tokens behind the prompt that a reply cost: what was generated, and what was put in by force."""
    return usage.thinking_tokens + usage.forced_tokens + usage.probe_tokens + usage.answer_tokens


def bootstrap_interval(outcomes: Sequence[Outcome]) -> list[float]:
    """The 95 % percentile interval of the accuracy, resampled over problems (their seeds stay together)."""
    import numpy as np

    marks: dict[int, list[bool]] = defaultdict(list)
    for outcome in outcomes:
        marks[id(outcome.problem)].append(outcome.correct)
    means = np.array([sum(one) / len(one) for one in marks.values()])
    draws = np.random.default_rng(0).integers(0, len(means), (_RESAMPLES, len(means)))
    low, high = np.percentile(means[draws].mean(axis=1), (2.5, 97.5))
    return [round(float(low), 4), round(float(high), 4)]


def leaks(thinking: str, answer: str, family: Family) -> bool:
    """Whether a tag came through, or the answer goes on thinking (more than two hesitations at its start)."""
    tags = (*family.openers, *family.closers)
    if any(tag in thinking or tag in answer for tag in tags):
        return True
    return bool(ending_flags("stop", None, answer, late=False))  # the flag that the reply itself bears


def _lost(outcomes: Sequence[Outcome], free: Sequence[Outcome] | None) -> float | None:
    if free is None:
        return None
    without: dict[int, list[bool]] = defaultdict(list)
    for outcome in free:
        without[id(outcome.problem)].append(outcome.correct)
    # With several seeds a problem counts as right without a bound if most of its replies are.
    known = [one for one in outcomes if sum(without[id(one.problem)]) * 2 > len(without[id(one.problem)])]
    return round(sum(not one.correct for one in known) / len(known), 4) if known else 0.0


def _groups(field: str, runs: Mapping[Key, Run], free: Run | None, family: Family) -> dict[str, Any]:
    found: dict[str, list[dict[str, Any]]] = {}
    for value in group_values(field, (one.problem for run in runs.values() for one in run.outcomes)):
        found[value] = []
        for (method, budget), run in runs.items():
            own = _of(field, value, run.outcomes)
            without = None if free is None else _of(field, value, free.outcomes)
            found[value].append({"method": method} | measure(own, budget, family, without))
    return found


def group_values(field: str, problems: Iterable[Problem]) -> list[str]:
    """The values of a field, sorted; problems without it are "(none)"."""
    return sorted({group_of(field, problem) for problem in problems})


def group_of(field: str, problem: Problem) -> str:
    """A problem's value of a field, as text."""
    return str(problem.fields.get(field, "(none)"))


def _of(field: str, value: str, outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [one for one in outcomes if group_of(field, one.problem) == value]


_ORDER: Final = (
    "method", "budget", "n", "accuracy", "ci", "tokens_per_correct", "seconds_per_correct", "overshoot_max",
    "completion", "leaks", "lost_correct", "closes", "completion_at_cap", "thinking_tokens", "seconds", "unanswered",
)  # fmt: skip


def _in_order(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in _ORDER}


def show_budget(budget: int | None) -> str:
    """A budget as a person writes it."""
    return "unlimited" if budget is None else "off" if budget == 0 else str(budget)

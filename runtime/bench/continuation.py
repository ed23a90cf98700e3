"""What a model makes of a thought that was put in by force: does the answer follow it, is a slip in it found?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.columns import table
from models.errors import UsageError
from models.plain_text import strip_controls
from runtime.bench.asking import Asking, Outcome, Run
from runtime.bench.budget import bootstrap_interval, group_of, group_values
from runtime.problems import Problem


def continue_thoughts(
    asking: Asking, problems: Sequence[Problem], budget: int | None, *, by: Sequence[str] = ()
) -> dict[str, Any]:
    """Go on from each problem's own `thinking` (`closed`: answer at once): `{"n", "accuracy", "ci", "seconds", …}`."""
    bare = next((problem for problem in problems if not problem.thinking), None)
    if bare is not None:
        raise UsageError(f'The problem {bare.id} has no "thinking" to go on from; give a thought, or use --then TEXT.')
    run = asking.ask(problems, budget, [(problem.thinking, problem.closed) for problem in problems])
    found = {"model": asking.responder.facts.name, **_measure(run.outcomes), "seconds": round(run.seconds, 3)}
    if by:
        found["groups"] = {
            field: {
                value: _measure([one for one in run.outcomes if group_of(field, one.problem) == value])
                for value in group_values(field, problems)
            }
            for field in by
        }
    return found


def think_again(
    asking: Asking, problems: Sequence[Problem], text: str, budget: int | None, *, by: Sequence[str] = ()
) -> dict[str, Any]:
    """Think freely, put `text` behind the whole thought in place of its end, and go on.

    `{"n", "before", "after": {"accuracy", "ci"}, "became_right", "became_wrong", "no_room"}`. One seed: each thought is
    one's own. Where the context has no room to go on (`no_room` of them) a thought and its answer stay as they were.
    """
    first = asking.ask(problems, budget)
    if len(first.outcomes) != len(problems):
        raise UsageError("--then goes on from one thought a problem; leave --seeds out.")
    thoughts = [(_joined(one.reply.thinking, text), False) for one in first.outcomes]
    second = asking.ask(problems, budget, thoughts, holes=True)
    again = iter(second.outcomes)
    pairs = [(one, one if index in second.unmet else next(again)) for index, one in enumerate(first.outcomes)]
    found = {
        "model": asking.responder.facts.name,
        "then": text,
        **_change(pairs),
        "no_room": len(second.unmet),
        "seconds": round(_seconds(first, second), 3),
    }
    if by:
        found["groups"] = {
            field: {
                value: _change([pair for pair in pairs if group_of(field, pair[0].problem) == value])
                for value in group_values(field, problems)
            }
            for field in by
        }
    return found


def _joined(thought: str, text: str) -> str:
    """The thought with `text` on a line of its own behind it: a reply's thought is told without its last line end."""
    return f"{thought.rstrip(chr(10))}\n{text}" if thought.strip() else text


def _seconds(*runs: Run) -> float:
    return sum(run.seconds for run in runs)


def _measure(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    right = sum(one.correct for one in outcomes)
    thinking = sum(one.reply.usage.thinking_tokens for one in outcomes)
    return {
        "n": len(outcomes),
        "accuracy": round(right / len(outcomes), 4),
        "ci": bootstrap_interval(outcomes),
        "thinking_tokens": round(thinking / len(outcomes), 2),
    }


def _change(pairs: Sequence[tuple[Outcome, Outcome]]) -> dict[str, Any]:
    before, after = [one for one, _ in pairs], [one for _, one in pairs]
    return {
        "n": len(pairs),
        "before": {key: value for key, value in _measure(before).items() if key != "n"},
        "after": {key: value for key, value in _measure(after).items() if key != "n"},
        "became_right": sum(not one.correct and other.correct for one, other in pairs),
        "became_wrong": sum(one.correct and not other.correct for one, other in pairs),
    }


def table_of(found: dict[str, Any]) -> str:
    """The object as tables for a terminal."""
    again = "before" in found
    head = ["N", "BEFORE", "AFTER", "BECAME RIGHT", "BECAME WRONG"] if again else ["N", "ACCURACY", "95 %"]
    parts = [table([["", *head], ["all", *_cells(found, again)]], right=True)]
    for field, groups in found.get("groups", {}).items():
        parts.append(
            table(
                [[field.upper(), *head], *([value, *_cells(own, again)] for value, own in groups.items())], right=True
            )
        )
    return strip_controls("\n\n".join(parts))


def _cells(found: dict[str, Any], again: bool) -> list[str]:
    if again:
        accuracies = [f"{found[when]['accuracy']:.3f}" for when in ("before", "after")]
        return [str(found["n"]), *accuracies, str(found["became_right"]), str(found["became_wrong"])]
    return [str(found["n"]), f"{found['accuracy']:.3f}", f"{found['ci'][0]:.3f}-{found['ci'][1]:.3f}"]

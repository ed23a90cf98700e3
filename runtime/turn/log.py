"""What happened to a turn, step by step: enough to bring an equal one about without asking any rule again.

Rules are pure functions of the ids, but for what they were told besides: a margin read from logits, a trial's answer,
the clock, a person's wishes. What came of those stands in the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, field
from typing import Any, get_args

from runtime.control.thinking_control import Ban
from runtime.control.trial_answers import TrialAnswer
from runtime.reply import CloseReason
from runtime.responder import Wish
from runtime.turn.clock import TurnTimes


@dataclass(frozen=True)
class Drew:
    """A token was drawn. `lifted`: the closer's odds were raised for the draw; `log_probability`: of a token of an
    answer that tells how sure it is; `banned`: why a likelier one was refused; `turned`: it came in the place of a
    hesitant word, for the penalty on those."""

    token: int
    lifted: bool = False
    log_probability: float | None = None
    banned: Ban | None = None
    turned: bool = False

    @property
    def plain(self) -> bool:
        """Whether there is no more to say of it than the token."""
        return self == Drew(self.token)


@dataclass(frozen=True)
class ForcedClose:
    """The thought was closed: the last `retract` ids were taken back, `ids` put in. `seconds`: since the turn was
    asked; None: not told."""

    ids: tuple[int, ...]
    reason: CloseReason
    retract: int = 0
    seconds: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class PutHint:
    """A hint was put in as `text`; without ids it was left out, `late`: for lack of time, else of room."""

    text: str = ""
    ids: tuple[int, ...] = ()
    late: bool = False


@dataclass(frozen=True)
class RaisedBudget:
    """So many thinking tokens were added."""

    tokens: int


@dataclass(frozen=True)
class LookedAt:
    """At a boundary the closer was so far (nats) below the most likely token."""

    margin: float


@dataclass(frozen=True)
class AskedTrial:
    """A trial answer was begun."""


@dataclass(frozen=True)
class GotTrial:
    """A trial answer came."""

    answer: TrialAnswer


Step = Drew | ForcedClose | PutHint | RaisedBudget | LookedAt | AskedTrial | GotTrial

_NAMES: dict[str, type[Any]] = {
    "close": ForcedClose,
    "hint": PutHint,
    "more": RaisedBudget,
    "margin": LookedAt,
    "asked": AskedTrial,
}
_NAME_OF = {kind: name for name, kind in _NAMES.items()}


@dataclass(frozen=True)
class Earlier:
    """A turn up to where it stands. `wishes`: all of its user's, pauses left out; `cached`: prompt tokens that its
    first prefill found in the cache; `notes`: what its reply should say of going on (flags)."""

    steps: tuple[Step, ...]
    times: TurnTimes
    wishes: tuple[Wish, ...] = ()
    cached: int = 0
    notes: tuple[str, ...] = field(default=(), compare=False)


def ids_after(start: Iterable[int], steps: Iterable[Step]) -> list[int]:
    """All ids of a sequence that began with `start`, on a backend that can step back."""
    ids = list(start)
    for step in steps:
        if isinstance(step, Drew):
            ids.append(step.token)
        elif isinstance(step, ForcedClose):
            del ids[len(ids) - step.retract :]
            ids.extend(step.ids)
        elif isinstance(step, PutHint):
            ids.extend(step.ids)
    return ids


def all_ids(steps: Iterable[Step]) -> Iterator[int]:
    """Every id that was drawn or put in, also those that were taken back."""
    for step in steps:
        if isinstance(step, Drew):
            yield step.token
        elif isinstance(step, ForcedClose | PutHint):
            yield from step.ids


def steps_as_json(steps: Iterable[Step]) -> list[Any]:
    """A list for JSON. A run of plain draws is one list of ids; any other step is one list that begins with a name."""
    found: list[Any] = []
    for step in steps:
        if isinstance(step, Drew):
            if not step.plain:
                found.append(["drew", *astuple(step)])
            elif found and found[-1] and isinstance(found[-1][0], int):
                found[-1].append(step.token)
            else:
                found.append([step.token])
        elif isinstance(step, GotTrial):
            found.append(["trial", *astuple(step.answer)])
        else:
            found.append([_NAME_OF[type(step)], *astuple(step)])
    return found


def steps_from_json(value: Iterable[Any]) -> tuple[Step, ...]:
    """The steps again. Raises ValueError or TypeError for what `steps_as_json` did not write."""
    steps: list[Step] = []
    for name, *rest in value:
        if isinstance(name, int):
            steps += [Drew(_whole(token)) for token in (name, *rest)]
        elif name == "drew":
            steps.append(_drew(*rest))
        elif name == "trial":
            text, confidence, tokens, whole = rest
            steps.append(GotTrial(TrialAnswer(str(text), float(confidence), _whole(tokens), bool(whole))))
        elif name == "close":
            ids, reason, retract, *seconds = rest  # what was kept before there were seconds has none
            if reason not in get_args(CloseReason):
                raise ValueError(f"no reason to close: {reason!r}")
            told = float(seconds[0]) if seconds and seconds[0] is not None else None
            steps.append(ForcedClose(tuple(map(_whole, ids)), reason, _whole(retract), told))
        elif name == "hint":
            text, ids, *late = rest
            steps.append(PutHint(str(text), tuple(map(_whole, ids)), any(late)))
        elif name == "more":
            steps.append(RaisedBudget(_whole(*rest)))
        elif name == "margin":
            (margin,) = rest
            steps.append(LookedAt(float(margin)))
        elif name == "asked" and not rest:
            steps.append(AskedTrial())
        else:
            raise ValueError(f"no step: {name!r}")
    return tuple(steps)


def _drew(
    token: Any, lifted: Any, log_probability: Any, banned: Any = None, turned: Any = False
) -> Drew:  # what was kept before bans and turns were told has none
    if banned is not None and banned not in get_args(Ban):
        raise ValueError(f"no ban: {banned!r}")
    sure = None if log_probability is None else float(log_probability)
    return Drew(_whole(token), bool(lifted), sure, banned, bool(turned))


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"no whole number: {value!r}")
    return value

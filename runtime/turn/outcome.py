"""What a turn comes to when it is over: its reply, and what is to be said against it."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from typing import Final

from models.errors import KangaeError
from models.family import SelfCheck
from runtime.answers.decline import declines
from runtime.control.hesitation import hesitations
from runtime.control.self_check import ANOTHER_RESULT, own_objection
from runtime.phase import Phase
from runtime.reply import CIRCLED, LATE, CloseReason, Finish, ModelLabel, Reply, SpentBudget, Usage
from runtime.request import Request
from runtime.turn.clock import TurnClock
from runtime.turn.decisions import Course, decisions_of
from runtime.turn.short_thought import short_thought_flags
from runtime.turn.state import TurnState
from runtime.verification import OWN_OBJECTION, UNSURE
from runtime.votes import confidence

_LEAK_START = 800  # signs, about 200 tokens
_HESITATIONS = 2
_CUT: Final[Mapping[CloseReason, str]] = {
    "off": "it was answered without a thought",
    "budget": "the thought was ended by its budget",
    "deadline": "the thought was ended by the deadline",
    "user": "the thought was ended by its user",
    "loop": "the thought went in circles",
}


def ending_flags(finish: Finish, error: Exception | None, answer: str, *, late: bool) -> tuple[str, ...]:
    """Flags of a turn that ended in this way. `late`: the deadline left no time for a token more."""
    flags: tuple[str, ...] = ()
    if isinstance(error, KangaeError):
        flags = (f"{error.title}: {error.detail}",)
    elif error is not None:
        flags = (f"The engine failed: {error}",)
    elif finish == "length" and late:
        flags = (f"{LATE}the answer was cut off",)
    if hesitations(answer[:_LEAK_START]) > _HESITATIONS:
        flags = (*flags, "leak: the answer goes on thinking")
    return flags


def cut_thought_flags(close: CloseReason, answer: str, measured: float, sure: float | None) -> tuple[str, ...]:
    """The flag of an answer whose thought was not gone through to its end, and which the model is less than `sure` of;
    none where it is not known what that tells (None), or where the answer declines the question."""
    if sure is None or measured >= sure or close not in _CUT or not answer.strip() or declines(answer):
        return ()
    return (f"{UNSURE}{_CUT[close]}, and the model is {math.floor(100 * measured)}% sure of the answer",)


def loop_flags(*, ended: bool, turned: bool) -> tuple[str, ...]:
    """The flag of an answer that went in circles. `ended`: it was given up for that; `turned`: other words were drawn
    than it would have repeated."""
    if ended:
        return (CIRCLED,)
    return ("loop: the answer went in circles, and was turned by making repetitions unlikely",) if turned else ()


def own_check_flags(finish: Finish, thinking: str, answer: str, form: SelfCheck | None) -> tuple[str, ...]:
    """The flag of an answer that its own thought has something against; none where its family has no such form, or
    where the answer declines the question and so gives no value."""
    if form is None or finish not in ("stop", "length") or not answer.strip() or declines(answer):
        return ()
    words = own_objection(thinking, answer, form)
    if finish == "length" and words == ANOTHER_RESULT:  # what was cut off is no other result
        return ()
    return (f"{OWN_OBJECTION}{words}",) if words else ()


def make_reply(
    request: Request,
    model: ModelLabel,
    state: TurnState,
    clock: TurnClock,
    *,
    finish: Finish,
    late: bool,
    flags: tuple[str, ...],
    prompt_tokens: int,
    cached: int,
    hints_left: int = 0,
    sure: float | None = None,
) -> Reply:
    """The reply of a turn that is over. `late`: the deadline left no time for a token more; `cached`: prompt tokens
    that its prefill found in the cache; `hints_left`: hints whose place never came; `sure`: confidence below which
    an answer is in doubt whose thought was cut short; not looked at where the request itself asks for the confidence,
    to weigh the answer against others."""
    budget, spent, said = request.budget, state.tracker.thinking_tokens, state.said
    tokens = None if budget.tokens is None else budget.tokens + state.granted
    if finish != "error" and not request.thinking_closed:
        close = state.control.close or "natural"
        flags = (*flags, *short_thought_flags(budget, state.control.limits, spent, close))
    measured = confidence(state.log_probabilities) if request.confidence or state.log_probabilities else None
    if measured is not None and not request.confidence and finish in ("stop", "length"):
        flags = (*flags, *cut_thought_flags(state.control.close or "natural", said.answer, measured, sure))
    return Reply(
        id=request.id or uuid.uuid4().hex,
        question=request.question,
        model=model,
        thinking=said.thinking,
        answer=said.answer,
        close=state.control.close or "natural",
        finish=finish,
        usage=Usage(
            prompt_tokens=prompt_tokens,
            cached_tokens=cached,
            thinking_tokens=spent,
            forced_tokens=state.forced_tokens,
            probe_tokens=0 if state.steering.trials is None else state.steering.trials.spent,
            answer_tokens=state.tracker.answer_tokens,
        ),
        budget=SpentBudget(
            tokens=tokens,
            seconds=budget.seconds,
            effort=budget.effort,
            answer_reserve=state.control.limits.reserve,
            overshoot_tokens=0 if tokens is None else max(0, spent - tokens),
        ),
        timings=clock.timings(
            fresh=prompt_tokens - cached if clock.prefilled else 0,
            thinking=said.began("thinking"),
            answer=said.began("answer"),
        ),
        flags=flags,
        decisions=decisions_of(_course(request, state, finish, late=late, hints_left=hints_left)),
        confidence=measured,
    )


def _course(request: Request, state: TurnState, finish: Finish, *, late: bool, hints_left: int) -> Course:
    """What its decisions are told from."""
    tracker, steering = state.tracker, state.steering
    return Course(
        limits=state.control.limits,
        close=state.control.close or "natural",
        thinking_tokens=tracker.thinking_tokens,
        answer_tokens=tracker.answer_tokens,
        marks=tuple(state.marks),
        loops=steering.loops(Phase.THINKING),
        answer_loops=steering.loops(Phase.ANSWER),
        fired=state.tally.fired,
        hints_left=hints_left,
        start=state.start,
        opened=state.opened,
        thought=tracker.thinking_tokens > 0 or state.said.began("thinking") is not None,
        finish=finish,
        late=late,
        circles=steering.looping(Phase.ANSWER),
        budget=request.budget,
        endings=steering.endings,
    )

"""When a thought ends, and why: pure rules over counts and marks, so that each is tested without weights.

The budget is hard: sampled thinking tokens never exceed it. In its last min(32, B/4) tokens a thought is closed at a
newline or a sentence's end; at B it is cut. A rule is a callable; a new reason to close is one more rule, with what
it needs in `View`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from models.errors import CannotMeetError
from models.plural import counted
from runtime.control.boundary import may_close
from runtime.control.soft_close import SoftClose
from runtime.pace import Deadline
from runtime.phase import Outlook, Phase
from runtime.reply import CloseReason, Finish
from runtime.request import Budget

_LEAST_THOUGHT = 4  # tokens: less room than this is no thought
_LEAST_ANSWER = 4  # tokens: so long a model is kept from ending a turn that has no answer yet
_WINDOW = 32
_RESERVE_MOST = 512

Ban = Literal["minimum", "opener", "end"]
"""Why a token was refused: it would have ended a thought below its minimum; opened one after the close; ended the turn
without an answer."""


@dataclass(frozen=True)
class Limits:
    """What holds for one turn, all in tokens.

    `thinking`: most sampled thinking tokens (0: no thinking); `reserve`: kept for the answer; `answer`: most answer
    tokens (None: what the context still holds); `minimum`: no closing before so many; `deadline`: in seconds; `room`:
    thinking tokens that the context holds, to which a budget may be raised; `sentence`: look for a sentence's end near
    the budget's.
    """

    thinking: int
    reserve: int
    answer: int | None = None
    minimum: int = 0
    deadline: Deadline | None = None
    room: int = field(default=0, compare=False)
    sentence: bool = field(default=True, compare=False)

    def raised(self, tokens: int) -> Limits:
        """These limits with so many more thinking tokens, as far as the context holds them."""
        return replace(self, thinking=max(self.thinking, min(self.thinking + tokens, self.room)))


def default_reserve(context: int) -> int:
    """Tokens kept for the answer: a quarter of the context, at most 512."""
    return max(1, min(context // 4, _RESERVE_MOST))


def plan_limits(budget: Budget, *, prompt: int, context: int, closing: int, answer: int | None = None) -> Limits:
    """The limits of a turn with `prompt` tokens in a context of `context`, where a forced close takes `closing`.

    `answer`: tokens that answers were found to need at most. A deadline keeps no time for more, nor for more than the
    budget expects; in the context all of the reserve is kept.

    A budget, or a least thought, that does not fit beside the answer's reserve is lowered to what fits; a longest
    answer that does not fit is a bound, but only as much as the default is kept free for it. Raises `CannotMeetError`
    if the prompt leaves no room for an answer (and, with thinking, for a few tokens of thought), or for a least thought
    that is firm.
    """
    usual = default_reserve(context) if budget.expected_answer is None else budget.expected_answer
    reserve = budget.answer_reserve if budget.answer_reserve is not None else usual
    left = context - prompt
    beside = closing + (0 if budget.off else _LEAST_THOUGHT)
    if reserve + beside > left:
        reserve = min(reserve, default_reserve(context))
    need = reserve + beside
    if left < need:
        parts = (
            f"{reserve} for the answer and {need - reserve} for the thought and its closing"
            if need > reserve
            else f"{reserve} for the answer"
        )
        raise CannotMeetError(
            f"The prompt has {prompt} of the context's {context} tokens, so {max(0, left)} are left, but {need} are "
            f"needed: {parts}. Shorten the prompt, ask for a shorter answer (--max-answer), or use a larger context."
        )
    room = left - reserve - closing
    known = answer if budget.expected_answer is None else budget.expected_answer
    timed = reserve if known is None else min(reserve, known)
    if budget.firm and budget.minimum > room:
        raise CannotMeetError(
            f"A thought of at least {counted(budget.minimum, 'token')} cannot be kept: the prompt has {prompt} of the "
            f"context's {context} tokens, {reserve} are kept for the answer and {closing} for closing the thought, so "
            f"{room} are left. Lower it (--min-thinking), shorten the prompt, or use a larger context (--context)."
        )
    thinking = room if budget.tokens is None else min(budget.tokens, room)
    return Limits(
        thinking=0 if budget.off else thinking,
        reserve=reserve,
        answer=budget.answer_reserve,
        minimum=max(0, min(budget.minimum, thinking)),
        deadline=None if budget.seconds is None else Deadline(budget.seconds, timed, closing),
        room=room,
    )


class View(NamedTuple):
    """What the rules see before the next token is drawn. (A tuple, for one is made at every token.)

    `tail` is the thought's end; `settled`: neither a tag nor a character is half written; `now`: seconds since the
    turn began; `opening`: nothing was said yet, and what is held back may become an opener; `step`: seconds that a
    token takes now; `begun`: when the first one was on its way; `looping`: what is said in this phase goes in circles
    and could not be turned; `sure`: a trial answer was sure; `margin`: at a boundary, how far (nats) the closer is
    below the most likely token, None: not looked; `hinted`: a hint waits to be put in, or nothing was drawn behind it.
    """

    phase: Phase
    thinking_tokens: int = 0
    answer_tokens: int = 0
    tail: str = ""
    settled: bool = True
    has_answer: bool = False
    wants_answer: bool = False
    now: float = 0.0
    opening: bool = False
    step: float = 0.0
    begun: float = 0.0
    looping: bool = False
    sure: bool = False
    margin: float | None = None
    hinted: bool = False


@dataclass(frozen=True)
class Ruling:
    """Close the thought (with the family's message or, if the thought had ended by itself, without it), or end the
    turn."""

    close: CloseReason | None = None
    message: bool = True
    finish: Finish | None = None


CONTINUE = Ruling()
Rule = Callable[[View, Limits], CloseReason | None]


def asked_by_user(view: View, limits: Limits) -> CloseReason | None:
    """Answer now."""
    return "user" if view.wants_answer else None


def budget_spent(view: View, limits: Limits) -> CloseReason | None:
    """At B at the latest; before it at a boundary in the last min(32, B/4) tokens, unless a hint has that boundary."""
    if view.phase is not Phase.THINKING:
        return None
    left = limits.thinking - view.thinking_tokens
    if left <= 0:
        return "budget"
    if not limits.sentence or view.thinking_tokens < limits.minimum or view.hinted or not view.settled:
        return None
    return "budget" if may_close(view.tail, left, min(_WINDOW, limits.thinking // 4)) else None


def deadline_near(view: View, limits: Limits) -> CloseReason | None:
    """While the answer's time is still whole; before that at a boundary, in as many tokens as before a budget's end,
    unless a hint has that boundary."""
    if limits.deadline is None or view.phase is not Phase.THINKING:
        return None
    left = limits.deadline.thinking_left(view.now, view.step, view.begun)
    if left <= view.step:
        return "deadline"
    window = min(_WINDOW, (view.thinking_tokens + left / max(view.step, 1e-9)) / 4) * view.step
    return "deadline" if not view.hinted and view.settled and may_close(view.tail, left, window) else None


def going_in_circles(view: View, limits: Limits) -> CloseReason | None:
    """What is said over and over will not become an answer."""
    return "loop" if view.looping and view.phase is Phase.THINKING else None


def answer_is_sure(view: View, limits: Limits) -> CloseReason | None:
    """A trial answer needs no more thought."""
    near = view.sure and view.phase is Phase.THINKING and view.thinking_tokens >= limits.minimum
    return "probe" if near else None


class NearlyClosed:
    """Twice running the model nearly closed at a boundary (a rule that remembers: one for each turn)."""

    def __init__(self, soft: SoftClose) -> None:
        self._soft = soft

    def __call__(self, view: View, limits: Limits) -> CloseReason | None:
        if view.margin is None or view.phase is not Phase.THINKING or view.thinking_tokens < limits.minimum:
            return None
        return "soft" if self._soft.seen(view.margin) else None


DEFAULT_RULES: tuple[Rule, ...] = (asked_by_user, budget_spent, deadline_near, going_in_circles, answer_is_sure)


class ThinkingControl:
    """Decides for one turn. `close` is why the thought ended, None while it may still go on."""

    def __init__(self, limits: Limits, *, off: bool = False, rules: tuple[Rule, ...] = DEFAULT_RULES) -> None:
        self.limits = limits
        self.close: CloseReason | None = "off" if off else None
        self._rules = rules

    def grant(self, tokens: int) -> None:
        """Raise the budget, as far as the context holds it."""
        self.limits = self.limits.raised(tokens)

    def occupy(self, tokens: int) -> None:
        """So many tokens of the context were put in that no budget counted."""
        room = self.limits.room - tokens
        self.limits = replace(self.limits, room=room, thinking=min(self.limits.thinking, room))

    def decide(self, view: View) -> Ruling:
        """What to do before the next token is drawn."""
        if view.phase is Phase.ANSWER:
            self.close = self.close or "natural"
        elif self.close is None or view.phase is Phase.THINKING:
            for rule in self._rules:
                reason = rule(view, self.limits)
                if reason is not None:
                    self.close = self.close or reason
                    return Ruling(close=reason, message=view.phase is Phase.THINKING)
        answering = view.phase is not Phase.THINKING and not view.opening
        if answering and self.limits.answer is not None and view.answer_tokens >= self.limits.answer:
            return Ruling(finish="length")
        if answering and (view.looping or self.late(view)):
            return Ruling(finish="length")
        return CONTINUE

    def must_close(self, view: View) -> bool:
        """Whether a thought may not even stand still any longer."""
        return view.phase is Phase.THINKING and deadline_near(view, self.limits) is not None

    def patience(self, view: View) -> float:
        """Seconds that a turn may go on to stand still: a thought until it must close, all else until the deadline."""
        deadline = self.limits.deadline
        if deadline is None:
            return math.inf
        if view.phase is Phase.THINKING:
            return deadline.thinking_left(view.now, view.step, view.begun) - view.step
        return deadline.seconds - view.now

    def holds(self, view: View, draws: int, forced: int) -> bool:
        """Whether there is time to let the thought stand still for so many draws behind so many forced tokens."""
        deadline = self.limits.deadline
        return deadline is None or deadline.holds(draws, forced, view.now, view.step, view.begun)

    def late(self, view: View) -> bool:
        """Whether the deadline leaves no time for a token more."""
        deadline = self.limits.deadline
        return deadline is not None and deadline.over(view.now, view.step)

    def end_of_sequence(self, view: View) -> Ruling:
        """The model ended its turn: inside a thought that closes the thought, and the answer is still owed."""
        if view.phase is Phase.THINKING:
            self.close = self.close or "natural"
            return Ruling(close="natural", message=False)
        self.close = self.close or "natural"
        return Ruling(finish="stop")

    def ban_on_end(self, view: View) -> Ban | None:
        """Why the model may not end its turn: not below the minimum of thought, and, for the first few tokens, not
        without an answer. None: it may."""
        if view.phase is Phase.THINKING:
            return "minimum" if view.thinking_tokens < self.limits.minimum else None
        return None if view.has_answer or view.answer_tokens >= _LEAST_ANSWER else "end"

    def ended(self, view: View, finish: Finish, *, late: bool) -> None:
        """The turn is over, by whatever, or `late`: why the thought ended, if nothing told so before."""
        if finish == "cancelled":
            self.close = self.close or "user"
        elif finish == "length" and late:
            self.close = self.close or "deadline"
        elif finish == "length" and view.phase is Phase.THINKING:  # the context was full
            self.close = self.close or "budget"
        else:
            self.close = self.close or "natural"

    def ban(self, view: View, outlook: Outlook) -> Ban | None:
        """Why a token that would do this may not be taken; None: it may.

        Below the minimum no closer may come: the next most likely token that does not close is taken in its place, so
        the thought goes on in the model's own words. Once a thought was closed, or an answer begun, none may open.
        """
        if outlook.closes and view.thinking_tokens < self.limits.minimum:
            return "minimum"
        return "opener" if outlook.opens_again or (outlook.opens and self.close is not None) else None

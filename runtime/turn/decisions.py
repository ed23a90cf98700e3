"""What was decided in a turn that is over: which rule fired, at which token, with which number.

Rules decide while the turn runs; here it is told from the turn's log. Each decision is one value that a person can
audit, and the tokens of "opened", "hint" and "forced" add up to all that was put in by force.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from models.plural import counted
from runtime.control.found_loop import FoundLoop, Kind
from runtime.control.thinking_control import Limits
from runtime.phase import Phase
from runtime.reply import CloseReason, Decision, Finish
from runtime.request import Budget, Endings
from runtime.turn.log import ForcedClose, GotTrial, LookedAt, PutHint, RaisedBudget, Step
from runtime.turn.tally import Fired

Mark = tuple[int, Step]
"""A step of the log that is no draw, behind the thinking tokens that were sampled before it."""

_KINDS: dict[Kind, str] = {"cycle": "a cycle", "lines": "a line", "paragraphs": "a paragraph"}


@dataclass(frozen=True)
class Course:
    """What the decisions of a turn that is over are told from.

    `start`: the phase that the prompt left open; `opened`: tokens forced before the first draw; `thought`: whether
    there was a thought at all; `close`, `finish`: as in the reply; `late`: the deadline left no time for a token more;
    `circles`: the answer went in circles to its end; `limits`: as they were at its end; `fired`: the rules that acted
    on single draws; `hints_left`: hints that waited for a boundary until the thought had ended.
    """

    limits: Limits
    close: CloseReason
    thinking_tokens: int = 0
    answer_tokens: int = 0
    marks: tuple[Mark, ...] = ()
    loops: tuple[FoundLoop, ...] = ()
    answer_loops: tuple[FoundLoop, ...] = ()
    fired: tuple[Fired, ...] = ()
    hints_left: int = 0
    start: Phase = Phase.BEFORE
    opened: int = 0
    thought: bool = True
    finish: Finish = "stop"
    late: bool = False
    circles: bool = False
    budget: Budget = field(default_factory=Budget)
    endings: Endings = field(default_factory=Endings)


def decisions_of(course: Course) -> tuple[Decision, ...]:
    """All decisions of a turn, in the order in which they came."""
    return tuple(_Telling(course).told())


class _Telling:
    """Goes through a course once; remembers what the decision that ends the thought went by."""

    def __init__(self, course: Course) -> None:
        self._course = course
        self._margin: float | None = None
        self._trial: float | None = None
        self._granted = 0
        looping = any(isinstance(step, ForcedClose) and step.reason == "loop" for _, step in course.marks)
        self._turned = course.loops[:-1] if looping else course.loops
        """The loops that did not close the thought."""
        self._loop = course.loops[-1] if looping and course.loops else None

    def told(self) -> Iterator[Decision]:
        """Opening, what came on the way, ending, and what cut the answer off."""
        course = self._course
        acted = [_acted(one, course) for one in course.fired if _of_thought(one)]
        waiting = deque(sorted([*map(self._turning, self._turned), *acted], key=lambda one: one.token))
        closed = False
        yield from self._opening()
        for token, step in course.marks:
            while waiting and waiting[0].token <= token:
                yield waiting.popleft()
            closed = closed or isinstance(step, ForcedClose)
            yield from self._of(token, step)
        yield from waiting
        if not closed:
            yield self._ending()
        for _ in range(course.hints_left):
            why = "the thought ended first" if course.thought else "there was no thought"
            yield Decision(course.thinking_tokens, "hint", 0, None, f"a hint was left out, for {why}")
        for one in course.fired:
            if not _of_thought(one):
                yield _acted(one, course)
        for loop in course.answer_loops:
            words = f"the answer goes in circles, {_circle(loop)} of it: repetitions are made unlikely for a while"
            if loop.rows:
                words = f"the answer repeats its lines, {_circle(loop)} of them: that is let be for a while"
            if loop is not course.answer_loops[-1] or not course.circles:
                yield Decision(course.thinking_tokens, "repetition", loop.length, None, words)
        if course.finish == "length" and (course.answer_tokens or course.late):
            yield self._cut()

    def _opening(self) -> Iterator[Decision]:
        course = self._course
        number = course.opened or None
        if course.start is Phase.THINKING:
            words = "the prompt had opened the thought" + (", and a beginning of it was put in" if number else "")
        elif number:
            words = "the thought was opened by force"
        elif course.thought and course.start is Phase.BEFORE:
            words = "the model opened the thought"
        else:
            return
        yield Decision(0, "opened", number, None, words)

    def _of(self, token: int, step: Step) -> Iterator[Decision]:
        course = self._course
        match step:
            case LookedAt(margin):
                self._margin = margin
                limit = course.endings.margin
                if limit is not None and margin <= limit and token >= course.limits.minimum:
                    words = "the closer was so near to the likeliest token (nats)"
                    if margin == 0.0:
                        words = "the closer was the likeliest token: the model is let to close by itself"
                    yield Decision(token, "margin", _rounded(margin), limit, words)
            case GotTrial(answer):
                self._trial = answer.confidence if answer.tokens else self._trial
                words = f"a trial answer, for {counted(answer.tokens, 'token')}"
                if not answer.tokens:
                    words = "a trial answer failed"
                elif not answer.whole:
                    words += ", that did not come to its end"
                limit = None if course.endings.probing is None else course.endings.probing.confidence
                yield Decision(token, "trial", _rounded(answer.confidence), limit, words, answer.text)
            case PutHint(text, ids) if ids:
                yield Decision(token, "hint", len(ids), None, "a hint was put in", text.strip())
            case PutHint(late=late):
                why = "the deadline leaves no time for it" if late else "the context has no room for it"
                yield Decision(token, "hint", 0, None, f"a hint was left out, for {why}")
            case RaisedBudget(tokens):
                self._granted += tokens
                words = f"{counted(tokens, 'token')} more were granted"
                yield Decision(token, "more", tokens, self._given, words)
            case ForcedClose():
                yield self._closing(token, step)
                if step.ids or step.retract:
                    words = "put in to close the thought"
                    if step.retract:
                        words += f"; taken back before that: {counted(step.retract, 'token')}"
                    yield Decision(token, "forced", len(step.ids), None, words)

    def _turning(self, loop: FoundLoop) -> Decision:
        words = f"it goes in circles, {_circle(loop)}: repetitions are made unlikely for a while"
        return Decision(loop.token, "repetition", loop.length, None, words)

    @property
    def _given(self) -> int | None:
        """The budget in tokens as its user gave and raised it; None: none was given."""
        tokens = self._course.budget.tokens
        return None if tokens is None else tokens + self._granted

    def _closing(self, token: int, step: ForcedClose) -> Decision:
        """The decision to close a thought by force."""
        course, reason = self._course, step.reason
        match reason:
            case "budget":
                return Decision(token, reason, token, course.limits.thinking, self._budget_words(token))
            case "deadline":
                words = "the rest of the time is the answer's (seconds)"
                return Decision(token, reason, _seconds(step), course.budget.seconds, words)
            case "soft":
                words = "at two boundaries running the closer was so near to the likeliest token (nats)"
                return Decision(token, reason, _rounded(self._margin), course.endings.margin, words)
            case "probe":
                probing = course.endings.probing
                limit = None if probing is None else probing.confidence
                sure = limit is not None and self._trial is not None and self._trial >= limit
                words = "a trial answer was sure" if sure else "trial answers running were alike"
                return Decision(token, reason, _rounded(self._trial), limit, words)
            case "loop":
                words = "it went in circles again" + (f", {_circle(self._loop)}" if self._loop else "")
                return Decision(token, reason, self._loop.length if self._loop else None, None, words)
            case "natural":
                words = "the model ended its turn inside the thought; it still owed the answer"
                return Decision(token, reason, token, None, words)
            case _:
                return Decision(token, reason, token, None, "its user asked for the answer")

    def _ending(self) -> Decision:
        """Why a thought ended that was not closed by force."""
        course = self._course
        token, reason = course.thinking_tokens, course.close
        match reason:
            case "off":
                return Decision(token, reason, None, None, "no thought was asked for")
            case "soft":
                words = "the model closed the thought while the closer was made likelier, near the budget's end"
                return Decision(token, reason, token, course.limits.thinking, words)
            case "budget":
                return Decision(token, reason, token, course.limits.thinking, "the context was full")
            case "deadline":
                words = "the time was up before the thought was closed (seconds)"
                return Decision(token, reason, None, course.budget.seconds, words)
            case "user":
                return Decision(token, reason, token, None, "it was cancelled before the thought was closed")
            case "natural" if course.finish == "error":
                return Decision(token, reason, token, None, "an error ended the turn")
            case _:
                words = "the model closed the thought" if course.thought else "the model answered without a thought"
                if course.start is Phase.THINKING and not course.thought:
                    words = "the model closed the thought at once"
                return Decision(token, reason, token, None, words)

    def _budget_words(self, token: int) -> str:
        limit, given = self._course.limits.thinking, self._given
        if given is None:
            words = "the context holds no more beside the answer's room"
        elif limit < given:
            words = f"the context holds no more beside the answer's room, though {given} were given"
        else:
            words = "the budget was spent"
        return f"{words}; closed at a boundary before its end" if token < limit else words

    def _cut(self) -> Decision:
        course = self._course
        most = course.limits.answer
        if course.late:
            words, most = "the deadline left no time for a token more of the answer", None
        elif course.circles:
            words, most = "the answer went in circles, and was ended", None
        elif most is not None and course.answer_tokens >= most:
            words = "the answer was as long as it may be"
        else:
            words, most = "the context was full before the answer's end", None
        return Decision(course.thinking_tokens, "length", course.answer_tokens, most, words)


def _of_thought(fired: Fired) -> bool:
    """Whether the rule acts on thoughts, and not on what follows them."""
    return fired.rule not in ("opener", "end")


def _acted(fired: Fired, course: Course) -> Decision:
    """One decision for all draws that a rule acted on."""
    draws = f"at {counted(fired.count, 'draw')}"
    match fired.rule:
        case "minimum":
            least = counted(course.limits.minimum, "token")
            words = f"the thought was kept from ending before {least}, {draws}"
        case "opener":
            words = f"the model was kept from opening another thought, {draws}"
        case "end":
            words = f"the model was kept from ending its turn without an answer, {draws}"
        case "hesitation":
            taken = f"{course.endings.hesitation:g} nats less"
            words = f"a hesitant word was the likeliest, and {taken} made another one so, {draws}"
        case "ramp":
            words = f"the closer was made likelier, near the budget's end, {draws}"
    return Decision(fired.token, fired.rule, fired.count, None, words)


def _circle(loop: FoundLoop) -> str:
    return f"by {_KINDS[loop.kind]} of {counted(loop.length, 'token')} since token {loop.since}"


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 4)


def _seconds(step: ForcedClose) -> float | None:
    """When the thought was closed, in seconds since the turn was asked; None: the log does not tell."""
    return None if step.seconds is None else round(step.seconds, 3)

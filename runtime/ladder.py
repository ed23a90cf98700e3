"""From no thought to several: an answer is judged on each rung, and only one in doubt climbs to the next.

Off → short → long → votes → flagged for a person. That most questions need little thought, and some much, is what makes
it pay (Qwen3's report gives 87 % on MATH-500 without a thought, and 21 % on AIME25).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from models.errors import UsageError
from runtime.backends.backend import ModelFacts
from runtime.control.effort import effort_tokens
from runtime.events import AnswerDelta, Climbed, Closed, Done, Event, Failed
from runtime.outer_responder import OuterResponder
from runtime.reply import Reply, Usage
from runtime.request import LADDER_VOTES, Budget, Request, Voting
from runtime.responder import Control, Responder
from runtime.verification import verified
from runtime.verifiers.verifier import Verifier
from runtime.votes import Same, same_text
from runtime.voting import TEMPERATURE, forwarder

_MAJORITY = 0.5


@dataclass(frozen=True)
class Rung:
    """A step of the ladder: how much thought, and how many thoughts."""

    name: str
    tokens: int | None
    votes: int = 1


@dataclass(frozen=True)
class Judgement:
    """Whether an answer stands, and why (not)."""

    accepted: bool
    reason: str


def rungs(facts: ModelFacts) -> tuple[Rung, ...]:
    """The rungs for a model that was not calibrated."""
    return (
        Rung("off", 0),
        Rung("short", effort_tokens("low", facts)),
        Rung("long", effort_tokens("high", facts)),
        Rung("votes", effort_tokens("high", facts), LADDER_VOTES),
    )


def judge(reply: Reply, previous: Sequence[str], same: Same = same_text) -> Judgement:
    """Whether a reply stands, given the answers of the rungs before it.

    A failed check always sends it on. It stands if it was computed again, if a rung before it said the same, or if more
    than half of the votes' weight and at least two thoughts are behind it. A check of form alone proves nothing.
    """
    failed = next((check for check in reply.checks if not check.passed), None)
    if failed is not None:
        return Judgement(False, f"{failed.name}: {failed.detail}")
    if not reply.answer or reply.finish != "stop":
        return Judgement(False, "there was no whole answer")
    truth = next((check for check in reply.checks if check.kind == "truth"), None)
    if truth is not None:
        return Judgement(True, f"computed again by {truth.name}")
    if reply.votes:
        total = sum(vote.weight for vote in reply.votes)
        behind = sum(vote.weight for vote in reply.votes if same(vote.answer, reply.answer))
        share = behind / total if total else 0.0
        alike = sum(vote.weight > 0 and same(vote.answer, reply.answer) for vote in reply.votes)
        # one whole answer among thoughts that were cut off is no majority
        return Judgement(share > _MAJORITY and alike > 1, f"{alike} thoughts, {share:.0%} of the votes")
    if any(same(answer, reply.answer) for answer in previous):
        return Judgement(True, "two rungs agree")
    return Judgement(False, "nothing confirms it")


class LadderResponder(OuterResponder):
    """Implements `Responder` over one that can vote. The budget's tokens bound every rung; its seconds bound the whole.

    `respond_many` climbs for all questions together, rung by rung, so that each rung is one batch. `clock` tells the
    seconds that judging takes: they, too, are the deadline's.
    """

    def __init__(
        self,
        inner: Responder,
        verifiers: Sequence[Verifier],
        *,
        same: Same = same_text,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__(inner)
        self._verifiers = verifiers
        self._same = same
        self._clock = clock

    def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
        """Events of all rungs that were climbed; `Done` holds the last one's reply, with the tokens of all. `branch` is
        the request's index."""
        control = control or Control()
        climbs = [_Climb(request, self.facts) for request in requests]
        steps = rungs(self.facts)
        waiting = list(range(len(requests)))
        for place, rung in enumerate(steps):
            # a rung that the budget makes the same as the one before would only agree with it
            asking = [index for index in waiting if not climbs[index].repeats(rung)]
            climbing = [index for index in waiting if index not in asking]
            asked = [climbs[index].request_for(rung) for index in asking]
            inner = Control()
            forward = forwarder(control, inner, {outer: [branch] for branch, outer in enumerate(asking)})
            control.on_change(forward)
            try:
                for event in self.inner.respond_many(asked, inner):
                    index = asking[event.branch]
                    climb = climbs[index]
                    if isinstance(event, Failed) and climb.answers:  # what the rungs before it said is not lost
                        yield Done(climb.result(Judgement(False, event.error.detail)), index)
                    elif isinstance(event, Failed):
                        yield replace(event, branch=index)
                    elif not isinstance(event, Done):
                        if not isinstance(event, AnswerDelta | Closed):  # an answer is shown once it stands
                            yield replace(event, branch=index)
                    else:
                        reply, verdict = self._judged(event.reply, climb)
                        last = place + 1 == len(steps) or reply.finish in ("cancelled", "error")
                        if verdict.accepted or last or climb.spent_time:
                            yield Done(climb.result(verdict), index)
                        else:
                            climbing.append(index)
                            onward = next(one for one in steps[place + 1 :] if not climb.repeats(one))
                            yield Climbed(onward.name, verdict.reason, index)
            finally:
                control.forget(forward)
            waiting = sorted(climbing)
            if not waiting:
                return

    def _judged(self, reply: Reply, climb: _Climb) -> tuple[Reply, Judgement]:
        """A rung's reply with its checks, and whether it stands; the climb has then passed that rung."""
        start = self._clock()
        seconds = climb.seconds_after(reply)
        checked = verified(reply, self._verifiers, options=climb.options, seconds=seconds, clock=self._clock)
        verdict = judge(checked, climb.answers, self._same)
        climb.add(checked, self._clock() - start)
        return checked, verdict


class _Climb:
    """One question on its way up."""

    def __init__(self, request: Request, facts: ModelFacts) -> None:
        if request.voting is not None:
            raise UsageError("The ladder has votes of its own; leave --votes out.")
        effort = request.budget.effort
        bound = None if effort is None else effort_tokens(effort, facts)
        self._bound = bound if request.budget.tokens is None else request.budget.tokens
        self._request = request
        self._replies: list[Reply] = []
        self._asked: list[int | None] = []
        self._judging: list[float] = []

    @property
    def answers(self) -> tuple[str, ...]:
        """What the rungs so far said."""
        return tuple(reply.answer for reply in self._replies if reply.answer)

    @property
    def options(self) -> Mapping[str, Any]:
        """What verifiers need to know of the question."""
        return self._request.verifier_options

    @property
    def _seconds(self) -> float:
        return sum(reply.timings.total_s for reply in self._replies)

    @property
    def spent_time(self) -> bool:
        """Whether the deadline leaves no time for another rung as long as the last."""
        left = self._seconds_left
        return left is not None and self._replies[-1].timings.total_s >= left

    def seconds_after(self, reply: Reply) -> float | None:
        """What the deadline leaves for judging the reply of another rung; None without."""
        seconds = self._request.budget.seconds
        return None if seconds is None else seconds - self._seconds - sum(self._judging) - reply.timings.total_s

    @property
    def _seconds_left(self) -> float | None:
        """What the deadline leaves for the next rung, before a judging as long as the longest so far; None without."""
        seconds = self._request.budget.seconds
        if seconds is None:
            return None
        return seconds - self._seconds - sum(self._judging) - max(self._judging, default=0.0)

    def request_for(self, rung: Rung) -> Request:
        """The question as this rung asks it."""
        given = self._request.budget
        tokens = self._tokens(rung)
        left = self._seconds_left
        seconds = None if left is None else max(0.01, left)
        budget = Budget(
            tokens, seconds, answer_reserve=given.answer_reserve, minimum=given.minimum if tokens != 0 else 0
        )
        self._asked.append(tokens)
        voting = Voting(rung.votes) if rung.votes > 1 else None
        sampling = self._request.sampling
        if sampling is not None and sampling.temperature == 0.0 and voting is not None:
            sampling = replace(sampling, temperature=TEMPERATURE)
        return replace(self._request, budget=budget, voting=voting, sampling=sampling)

    def repeats(self, rung: Rung) -> bool:
        """Whether this rung would ask exactly what the last one asked."""
        return rung.votes == 1 and bool(self._asked) and self._tokens(rung) == self._asked[-1]

    def _tokens(self, rung: Rung) -> int | None:
        given = self._bound
        if given is None or rung.tokens == 0:
            return rung.tokens
        return given if rung.tokens is None else min(given, rung.tokens)

    def add(self, reply: Reply, judging: float) -> None:
        """A rung is over, and was judged in so many seconds."""
        self._replies.append(reply)
        self._judging.append(judging)

    def result(self, verdict: Judgement) -> Reply:
        """The last rung's reply with what all of them cost; flagged where even that does not stand."""
        last = self._replies[-1]
        whole = [reply for reply in self._replies if reply.answer and reply.finish == "stop"]
        reply = last if last.answer or not whole else replace(whole[-1], finish=last.finish)
        flags = reply.flags
        if not verdict.accepted and reply.finish in ("stop", "length"):
            said = ", ".join(dict.fromkeys(self.answers))
            flags = (*flags, f"unsure: {verdict.reason}; the rungs said: {said}")
        usages = [one.usage for one in self._replies]
        usage = Usage(
            prompt_tokens=reply.usage.prompt_tokens,
            cached_tokens=reply.usage.cached_tokens,
            thinking_tokens=sum(one.thinking_tokens for one in usages),
            forced_tokens=sum(one.forced_tokens for one in usages),
            probe_tokens=sum(one.probe_tokens for one in usages) + sum(one.answer_tokens for one in usages[:-1]),
            answer_tokens=reply.usage.answer_tokens,
        )
        timings = replace(reply.timings, total_s=self._seconds)
        overshoot = max(one.budget.overshoot_tokens for one in self._replies)
        seconds = self._request.budget.seconds
        budget = replace(reply.budget, seconds=seconds, effort="auto", overshoot_tokens=overshoot)
        return replace(reply, usage=usage, timings=timings, budget=budget, flags=flags)

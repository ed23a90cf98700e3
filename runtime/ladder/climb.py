"""One question on its way up the ladder: what was asked so far, what came back, and what it cost."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from models.errors import UsageError
from models.plain_text import shorten
from runtime.backends.backend import ModelFacts
from runtime.control.effort import effort_tokens
from runtime.events import Done, Failed
from runtime.ladder.judgement import Judgement, cast_votes, judge, judge_vote
from runtime.ladder.rung import LOW, Rung, low_rungs, sure_from
from runtime.reply import Decision, Finish, Reply
from runtime.request import LADDER_VOTES, Budget, Polled, Request, Sampling
from runtime.verification import FLAG, UNSURE, own_doubt, without_own_doubt
from runtime.votes import Same
from runtime.voting import TEMPERATURE, summed_usage

_LEAST_SECONDS = 0.01
_SHOWN = 60
"""Signs of an answer that a flag quotes."""


class Climb:
    """A question, and the replies of the rungs that it climbed. `drawing`: how a model draws where the request does not
    say; `recomputed`: a verifier can compute the answer again. Raises UsageError for a request that votes already."""

    def __init__(self, request: Request, facts: ModelFacts, *, drawing: Sampling, recomputed: bool, same: Same) -> None:
        if request.voting is not None:
            raise UsageError("The ladder has votes of its own; leave --votes out.")
        effort = request.budget.effort
        bound = None if effort is None else effort_tokens(effort, facts)
        self._bound = bound if request.budget.tokens is None else request.budget.tokens
        self._request = request
        self._drawing = request.sampling or drawing
        self._same = functools.cache(same)  # the same answers are held against each other after each one that comes
        self._sure = sure_from(facts)
        self._low = low_rungs(facts, recomputed=recomputed)
        self._most = effort_tokens("high", facts)
        self._replies: list[Reply] = []
        self._voters: list[Reply] = []
        self._leader: Reply | None = None
        self._asked: list[int | None] = []
        self._drawn = 0
        self._spans: list[float] = []
        self._judging: list[float] = []
        self._decisions: list[Decision] = []

    @property
    def answers(self) -> tuple[str, ...]:
        """What the rungs so far said."""
        return tuple(reply.answer for reply in self._replies if reply.answer)

    @property
    def options(self) -> Mapping[str, Any]:
        """What verifiers need to know of the question."""
        return self._request.verifier_options

    @property
    def voters(self) -> int:
        """How many thoughts have voted on the rungs so far."""
        return len(self._voters)

    @property
    def spent_time(self) -> bool:
        """Whether the deadline leaves no time for another rung as long as the last."""
        left = self._seconds_left
        return left is not None and self._spans[-1] >= left

    def takes(self, rung: Rung) -> bool:
        """Whether this rung is worth asking: one that pays, and that asks something else than the last one did."""
        if rung.name in LOW and rung.name not in self._low:
            return False
        return rung.name == "votes" or not self._asked or self._tokens(rung) != self._asked[-1]

    def requests_for(self, rung: Rung) -> list[Request]:
        """The question as this rung asks it, once for each of its thoughts."""
        given, tokens, left = self._request.budget, self._tokens(rung), self._seconds_left
        budget = Budget(
            tokens,
            None if left is None else max(_LEAST_SECONDS, left),
            answer_reserve=given.answer_reserve,
            minimum=given.minimum if tokens is None else min(given.minimum, tokens),
            expected_answer=given.expected_answer,
        )
        self._asked.append(tokens)
        asked = replace(self._request, budget=budget, confidence=True)
        if rung.name != "votes":
            return [asked]
        found: list[Request] = []
        for _ in range(rung.thoughts):
            self._drawn += 1
            found.append(replace(asked, sampling=self._drawn_by(self._drawn)))
        return found

    def _drawn_by(self, number: int) -> Sampling:
        """How a thought that votes is drawn; the one before them all had the first seed."""
        warm = self._drawing.temperature or TEMPERATURE
        return replace(self._drawing, temperature=warm, seed=self._drawing.seed + number)

    def seconds_after(self, reply: Reply) -> float | None:
        """What the deadline leaves for judging the reply of another rung; None without."""
        seconds = self._request.budget.seconds
        return None if seconds is None else seconds - self._spent - reply.timings.total_s

    def add(self, rung: Rung, replies: Sequence[Reply], judging: float) -> Judgement:
        """A rung is over, and was judged in so many seconds: whether the answer stands. There is at least one reply."""
        previous = self.answers
        self._replies += replies
        self._spans.append(max(reply.timings.total_s for reply in replies))
        self._judging.append(judging)
        if self._asked[-1] == self._tokens(Rung("votes", self._most)):
            self._voters += replies
        if rung.name == "votes":
            verdict, self._leader = judge_vote(self._voters, LADDER_VOTES - 1 - self._drawn, self._same)
        else:
            self._leader = replies[0]
            verdict = judge(replies[0], previous, self._same, self._sure)
        self._note(rung, verdict)
        return verdict

    def compared(self, seconds: float) -> None:
        """So long it took to hold the answers of the last rung against each other: that is judging, too."""
        self._judging[-1] += seconds

    def _note(self, rung: Rung, verdict: Judgement) -> None:
        """For the trace; what a check says may quote the thought."""
        failed = verdict.failed
        why = verdict.reason if failed is None else f"the check {failed.name} failed"
        stands = "stands" if verdict.accepted and not verdict.open else "does not stand"
        self._decisions.append(
            Decision(
                sum(reply.usage.thinking_tokens for reply in self._replies), "rung", verdict.number, verdict.limit,
                f"the answer of the rung {rung.name} {stands}: {why}", "" if failed is None else failed.detail,
            )
        )  # fmt: skip

    def failed(self, failure: Failed, index: int) -> Done | Failed:
        """What a rung that cannot be asked ends with: what the rungs before it said is not lost."""
        if not self.answers:
            return replace(failure, branch=index)
        return Done(self.result(Judgement(False, failure.error.detail)), index)

    def result(self, verdict: Judgement, *, cancelled: bool = False) -> Reply:
        """The reply that leads, with what all rungs cost; flagged where even that does not stand. Where its answer is
        not whole, the last whole one is told in its place, and what cut the other one short is why it is flagged. What
        it stands by is one of its checks. `cancelled`: the climb was broken off."""
        last = self._leader if self._leader is not None else self._replies[-1]
        whole = [reply for reply in self._replies if _whole(reply)]
        reply = last if _whole(last) or not whole else whole[-1]
        usage = summed_usage(reply, self._replies)
        trials = usage.answer_tokens - reply.usage.answer_tokens
        usage = replace(usage, probe_tokens=usage.probe_tokens + trials, answer_tokens=reply.usage.answer_tokens)
        finish: Finish = "cancelled" if cancelled else reply.finish
        flags, checks = reply.flags, reply.checks
        if verdict.check is not None:
            checks = (*checks, verdict.check)
        if verdict.accepted:
            flags = without_own_doubt(flags)  # others say the same, or it was computed again
        if not verdict.accepted and finish in ("stop", "length"):
            said = ", ".join(dict.fromkeys(f'"{shorten(answer, _SHOWN)}"' for answer in self.answers))
            # what cut short an answer that is not told; what a check of it failed by is the verdict's reason already
            cut = () if reply is last else tuple(one for one in last.flags if not one.startswith(FLAG))
            reason = f"{verdict.reason} ({', '.join(cut)})" if cut else verdict.reason
            own = own_doubt(reply)
            flags = without_own_doubt(flags) if own and own in reason else flags
            flags = (*flags, f"{UNSURE}{reason}; the rungs said: {said}")
        timings = replace(reply.timings, total_s=sum(self._spans))
        overshoot = max(one.budget.overshoot_tokens for one in self._replies)
        seconds = self._request.budget.seconds
        budget = replace(reply.budget, seconds=seconds, effort="auto", overshoot_tokens=overshoot)
        votes = cast_votes(self._voters) if self._drawn and len(self._voters) > 1 else ()
        return replace(
            reply,
            finish=finish,
            usage=usage,
            timings=timings,
            budget=budget,
            checks=checks,
            flags=flags,
            votes=votes,
            decisions=(*reply.decisions, *self._decisions),
        )

    @property
    def _spent(self) -> float:
        return sum(self._spans) + sum(self._judging)

    @property
    def _seconds_left(self) -> float | None:
        """What the deadline leaves for the next rung, before a judging as long as the longest so far; None without."""
        seconds = self._request.budget.seconds
        return None if seconds is None else seconds - self._spent - max(self._judging, default=0.0)

    def _tokens(self, rung: Rung) -> int | None:
        given = self._bound
        if given is None or rung.tokens == 0:
            return rung.tokens
        return given if rung.tokens is None else min(given, rung.tokens)


def _whole(reply: Reply) -> bool:
    """Whether it has an answer that nothing cut short."""
    return bool(reply.answer.strip()) and reply.finish == "stop"


def polled(requests: Sequence[Request], poll: int) -> list[Request]:
    """Several requests as one question, whose deadline runs from the first one on."""
    return list(requests) if len(requests) == 1 else [Polled.of(request, poll=poll) for request in requests]

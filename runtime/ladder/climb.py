"""One question on its way up the ladder: what was asked so far, what came back, and what it cost."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from models.errors import UsageError
from models.plain_text import shorten
from runtime.backends.backend import ModelFacts
from runtime.control.effort import effort_tokens
from runtime.events import Done, Failed
from runtime.ladder.judgement import Judgement, cast_votes, judge, judge_vote, others
from runtime.ladder.rung import LOW, Rung, low_rungs, sure_from
from runtime.ladder.thought import Judged, Thought
from runtime.poll import summed_usage
from runtime.reply import Decision, Finish, Reply, Vote
from runtime.request import LADDER_VOTES, Budget, Polled, Request, Sampling
from runtime.verification import FLAG, UNSURE, own_doubt, without_own_doubt
from runtime.votes import Same
from runtime.voting import TEMPERATURE

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
        self._thoughts: list[Thought] = []
        self._voters: list[Thought] = []
        self._leader: Thought | None = None
        self._asked: list[int | None] = []
        self._seeds: list[int | None] = []
        """What the draws of the last rung's thoughts began with."""
        self._drawn = 0
        self._spent = 0.0
        """Seconds from the first rung's start until the last one was judged."""
        self._span = self._judging = 0.0
        """Seconds of the last rung without its judging, and of the longest judging so far."""
        self._course: list[Thought | Decision] = []
        """All thoughts, and what was decided between them."""

    @property
    def answers(self) -> tuple[str, ...]:
        """What the rungs so far said."""
        return tuple(one.reply.answer for one in self._thoughts if one.reply.answer)

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
        return left is not None and self._span >= left

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
            self._seeds = [self._drawing.seed if self._drawing.temperature else None]
            return [asked]
        draws = [self._drawn_by(self._drawn + number) for number in range(1, rung.thoughts + 1)]
        self._drawn += len(draws)
        self._seeds = [drawn.seed for drawn in draws]
        return [replace(asked, sampling=drawn) for drawn in draws]

    def _drawn_by(self, number: int) -> Sampling:
        """How a thought that votes is drawn; the one before them all had the first seed."""
        warm = self._drawing.temperature or TEMPERATURE
        return replace(self._drawing, temperature=warm, seed=self._drawing.seed + number)

    def seconds_after(self, reply: Reply) -> float | None:
        """What the deadline leaves for judging the reply of another rung; None without."""
        seconds = self._request.budget.seconds
        return None if seconds is None else seconds - self._spent - reply.timings.total_s

    def add(self, rung: Rung, judged: Mapping[int, Judged]) -> Judgement:
        """A rung is over: whether the answer stands. `judged`: what came of its requests, by their places; there is at
        least one."""
        previous, begun, tokens = [one.reply for one in self._thoughts], self._spent, self._thinking_tokens
        came = [Thought(judged[place].reply, rung.name, begun, tokens, self._seeds[place]) for place in sorted(judged)]
        self._thoughts += came
        self._course += came
        self._span = max(one.reply.timings.total_s for one in came)
        self._judging = max(self._judging, *(one.seconds for one in judged.values()))
        self._spent += max(one.reply.timings.total_s + one.seconds for one in judged.values())  # judged side by side
        if self._asked[-1] == self._tokens(Rung("votes", self._most)):
            self._voters += came
        if rung.name == "votes":
            votes = [one.reply for one in self._voters]
            verdict, leader = judge_vote(votes, LADDER_VOTES - 1 - self._drawn, self._same)
            self._leader = next(one for one in self._voters if one.reply is leader)
        else:
            self._leader = came[0]
            reply = came[0].reply
            verdict = judge(reply, others(reply, previous, self._same), self._same, self._sure)
        self._note(rung, verdict)
        return verdict

    def compared(self, judging: float, seconds: float) -> None:
        """Behind a judging of so many seconds it took so long to hold the answers of the last rung against each other:
        that is judging, too."""
        self._judging = max(self._judging, judging + seconds)
        self._spent += seconds

    def leave(self, why: Literal["user", "deadline"]) -> None:
        """There are rungs above, but the climb ends here."""
        words, spent, limit = "its user asked for the answer: no other rung is asked", None, None
        if why == "deadline":
            words, limit = "no time is left for a rung as long as the last (seconds)", self._request.budget.seconds
            spent = round(self._spent, 3)
        self._course.append(Decision(self._thinking_tokens, why, spent, limit, words, rung=self._thoughts[-1].rung))

    def _note(self, rung: Rung, verdict: Judgement) -> None:
        """For the trace; what a check says may quote the thought."""
        failed = verdict.failed
        why = verdict.reason if failed is None else f"the check {failed.name} failed"
        stands = "stands" if verdict.accepted and not verdict.open else "does not stand"
        self._course.append(
            Decision(
                self._thinking_tokens,
                "rung",
                verdict.number,
                verdict.limit,
                f"the answer of the rung {rung.name} {stands}: {why}",
                "" if failed is None else failed.detail,
                rung.name,
            )
        )

    def failed(self, failure: Failed, index: int) -> Done | Failed:
        """What a rung that cannot be asked ends with: what the rungs before it said is not lost."""
        if not self.answers:
            return replace(failure, branch=index)
        return Done(self.result(Judgement(False, failure.error.detail)), index)

    def result(self, verdict: Judgement, *, cancelled: bool = False) -> Reply:
        """The reply that leads, with what all rungs cost; flagged where even that does not stand. Where its answer is
        not whole, the last whole one is told in its place, and what cut the other one short is why it is flagged. What
        it stands by is one of its checks. `cancelled`: the climb was broken off."""
        last = self._leader if self._leader is not None else self._thoughts[-1]
        whole = [one for one in self._thoughts if _whole(one.reply)]
        told = last if _whole(last.reply) or not whole else whole[-1]
        reply, replies = told.reply, [one.reply for one in self._thoughts]
        usage = summed_usage(reply, replies)
        trials = usage.answer_tokens - reply.usage.answer_tokens
        usage = replace(usage, probe_tokens=usage.probe_tokens + trials, answer_tokens=reply.usage.answer_tokens)
        finish: Finish = "cancelled" if cancelled else reply.finish
        flags, checks = reply.flags, reply.checks
        if verdict.check is not None:
            checks = (*checks, verdict.check)
        if verdict.accepted:
            flags = without_own_doubt(flags)  # others say the same, or it was computed again
        if not verdict.accepted and finish in ("stop", "length"):
            told_of = dict.fromkeys(f'"{shorten(answer, _SHOWN)}"' for answer in self.answers)
            # what cut short an answer that is not told; what a check of it failed by is the verdict's reason already
            cut = () if told is last else tuple(one for one in last.reply.flags if not one.startswith(FLAG))
            reason = f"{verdict.reason} ({', '.join(cut)})" if cut else verdict.reason
            own = own_doubt(reply)
            flags = without_own_doubt(flags) if own and own in reason else flags
            flags = (*flags, f"{UNSURE}{reason}; the rungs said: {', '.join(told_of)}")
        overshoot = max(one.budget.overshoot_tokens for one in replies)
        seconds = self._request.budget.seconds
        budget = replace(reply.budget, seconds=seconds, effort="auto", overshoot_tokens=overshoot)
        return replace(
            reply,
            finish=finish,
            usage=usage,
            timings=told.timings(self._spent),
            budget=budget,
            checks=checks,
            flags=flags,
            votes=self._votes(told),
            decisions=tuple(self._decisions(told)),
        )

    @property
    def _has_vote(self) -> bool:
        """Whether the thoughts have voted."""
        return self._drawn > 0 and len(self._voters) > 1

    def _votes(self, told: Thought) -> tuple[Vote, ...]:
        if not self._has_vote:
            return ()
        seeds = [one.seed for one in self._voters]
        return cast_votes([one.reply for one in self._voters], self._same, seeds=seeds, told=told.reply)

    def _decisions(self, told: Thought) -> Iterator[Decision]:
        """All that was decided on all rungs, in order, but in the thoughts that stand among the votes beside this one:
        what was put in by force adds up over both."""
        beside = self._voters if self._has_vote else []
        for step in self._course:
            if isinstance(step, Decision):
                yield step
            elif step is told or not any(step is one for one in beside):
                yield from step.decisions

    @property
    def _thinking_tokens(self) -> int:
        """Of all thoughts so far."""
        return sum(one.reply.usage.thinking_tokens for one in self._thoughts)

    @property
    def _seconds_left(self) -> float | None:
        """What the deadline leaves for the next rung, before a judging as long as the longest so far; None without."""
        seconds = self._request.budget.seconds
        return None if seconds is None else seconds - self._spent - self._judging

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

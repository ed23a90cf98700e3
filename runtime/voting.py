"""A responder that puts a question to the model several times at once and lets the answers vote.

Majority: arXiv 2203.11171 (self-consistency); the first answers alone: arXiv 2505.17813 (short-m@k); a vote that is
over as soon as its outcome cannot change: arXiv 2401.10480 (early-stopping self-consistency).
"""

from __future__ import annotations

import functools
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from models.errors import UsageError
from runtime.answers.final_answer import same_final_answer
from runtime.answers.mathematics import MOST_SECONDS, load
from runtime.events import AnswerDelta, Done, Event, Failed, Voted
from runtime.outer_responder import OuterResponder
from runtime.reply import Reply, Usage, Vote
from runtime.request import Polled, Request, Sampling, Voting
from runtime.responder import Cancel, Control, Responder
from runtime.verification import UNSURE, own_doubt
from runtime.votes import Ballot, Outcome, Same, decided, tally

TEMPERATURE = 0.8
"""Where the model's own way of drawing is greedy, all thoughts would be one."""
_SHARE = 0.1
"""Of what a deadline leaves, for one comparison of formulas: the thoughts that are still decoded wait for it."""


@dataclass
class _Poll:
    """The thoughts on one question: which branches of the inner request they are, and what has come back."""

    request: Request
    voting: Voting
    branches: range
    same: Same
    begun: float | None = None
    """The moment of its first event; None: there was none yet."""
    replies: dict[int, Reply] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)
    failures: list[Failed] = field(default_factory=list)
    stopped: bool = False

    @property
    def outstanding(self) -> int:
        """How many thoughts may still come."""
        return len(self.branches) - len(self.replies) - len(self.failures)

    def ballots(self) -> list[Ballot]:
        """The votes cast so far, in the order in which they came."""
        return [_ballot(branch, self.replies[branch], place, self.voting) for place, branch in enumerate(self.order)]


def _ballot(branch: int, reply: Reply, place: int, voting: Voting) -> Ballot:
    weight = reply.confidence if voting.weighted and reply.confidence is not None else 1.0
    return Ballot(branch, reply.answer, weight, reply.close, reply.usage.thinking_tokens, place, reply.finish)


class VotingResponder(OuterResponder):
    """Implements `Responder` over another one: requests without a vote go through as they are. `same`: which answers
    are one (None: `same_final_answer`, within what a deadline leaves); `places`: how many sequences the inner one
    decodes at once (None: not known); `clock` tells seconds."""

    def __init__(
        self,
        inner: Responder,
        default_sampling: Callable[[], Sampling],
        *,
        same: Same | None = None,
        places: int | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__(inner)
        self._default_sampling = default_sampling
        self._same = same
        self._places = places
        self._clock = clock

    def respond(self, request: Request, control: Control | None = None) -> Iterator[Event]:
        """Events of one turn, `Done` last; of a vote, `Voted` for each answer, and the text of its first thought."""
        if request.voting is None or request.voting.count == 1:
            yield from self.inner.respond(request, control)
            return
        yield from super().respond(request, control)

    def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
        """Events of many turns at once; `branch` is the request's index. A question with a deadline is begun once there
        are places for all of its thoughts, so that none of them waits while its time runs."""
        if all((request.voting or Voting(1)).count == 1 for request in requests):
            yield from self.inner.respond_many([replace(one, voting=None) for one in requests], control)
            return
        control = control or Control()
        start = 0
        for size in self._waves(requests):
            if start and control.cancelled:
                return
            for event in self._polled(requests[start : start + size], control, start):
                yield replace(event, branch=start + event.branch)
            start += size

    def _waves(self, requests: Sequence[Request]) -> Iterator[int]:
        """How many questions are asked together, wave by wave: all, where no deadline runs."""
        places = self._places
        if places is None or all(request.budget.seconds is None for request in requests):
            places = sum((request.voting or Voting(1)).count for request in requests)
        size = taken = 0
        for request in requests:
            thoughts = (request.voting or Voting(1)).count
            if size and taken + thoughts > places:
                yield size
                size = taken = 0
            size, taken = size + 1, taken + thoughts
        yield size

    def _polled(self, requests: Sequence[Request], outer_control: Control, start: int) -> Iterator[Event]:
        """Events of the polls on these requests, which are those from `start` on for who asked."""
        polls = self._polls(requests)
        if any(len(poll.branches) > 1 and poll.request.budget.seconds is not None for poll in polls):
            load()  # a second, which no deadline should lose while thoughts are decoded
        owners = [outer for outer, poll in enumerate(polls) for _ in poll.branches]
        inner = Control()
        forward = forwarder(outer_control, inner, {start + index: poll.branches for index, poll in enumerate(polls)})
        outer_control.on_change(forward)
        try:
            for event in self.inner.respond_many([one for poll in polls for one in _drawn(poll)], inner):
                outer = owners[event.branch]
                poll = polls[outer]
                if poll.begun is None:
                    poll.begun = self._clock()
                if isinstance(event, Done):
                    yield from self._came(poll, event.branch, event.reply, outer)
                    yield from self._counted(poll, outer, inner)
                elif isinstance(event, Failed):
                    poll.failures.append(event)
                    yield from self._counted(poll, outer, inner)
                elif len(poll.branches) == 1 or _shows_first_thought(event, poll):
                    yield replace(event, branch=outer)
            for outer, poll in enumerate(polls):  # what was cancelled before all its thoughts had begun
                if poll.outstanding and (poll.replies or poll.failures):
                    yield self._over(poll, outer)
        finally:
            outer_control.forget(forward)

    def _polls(self, requests: Sequence[Request]) -> list[_Poll]:
        polls: list[_Poll] = []
        start = 0
        for request in requests:
            voting = request.voting or Voting(1)
            branches = range(start, start + voting.count)
            poll = _Poll(self._prepared(request, voting), voting, branches, self._same or same_final_answer)
            if self._same is None and request.budget.seconds is not None:
                poll.same = functools.partial(self._same_in_time, poll)
            poll.same = functools.cache(poll.same)  # the same answers are compared after each one that comes
            polls.append(poll)
            start += voting.count
        return polls

    def _same_in_time(self, poll: _Poll, one: str, other: str) -> bool:
        seconds, begun = poll.request.budget.seconds or math.inf, poll.begun
        left = seconds if begun is None else begun + seconds - self._clock()
        return same_final_answer(one, other, min(MOST_SECONDS, max(0.0, left) * _SHARE))

    def _prepared(self, request: Request, voting: Voting) -> Request:
        """The request as each thought is asked: drawn, not greedy, and telling how sure it is."""
        if voting.count == 1:
            return replace(request, voting=None)
        sampling = request.sampling or self._default_sampling()
        if sampling.temperature == 0.0:
            if request.sampling is not None:
                raise UsageError(
                    f"{voting.count} votes at temperature 0 would all be the same; "
                    "give a temperature above 0, or no votes."
                )
            sampling = replace(sampling, temperature=TEMPERATURE)
        return replace(request, voting=None, sampling=sampling, confidence=voting.weighted)

    def _came(self, poll: _Poll, branch: int, reply: Reply, outer: int) -> Iterator[Event]:
        """One thought is over: its vote."""
        poll.replies[branch] = reply
        if reply.finish in ("stop", "length"):
            poll.order.append(branch)
            if len(poll.branches) > 1 and not poll.stopped:
                yield Voted(reply.answer, len(poll.order), len(poll.branches), outer)

    def _counted(self, poll: _Poll, outer: int, inner: Control) -> Iterator[Event]:
        """The vote that decides stops the others; the last one ends the poll."""
        outstanding = poll.outstanding
        if outstanding and not poll.stopped and decided(poll.ballots(), outstanding, poll.voting.first, poll.same):
            poll.stopped = True
            for branch in poll.branches:
                if branch not in poll.replies:
                    inner.cancel(branch)
        if outstanding == 0:
            yield self._over(poll, outer)

    def _over(self, poll: _Poll, outer: int) -> Done | Failed:
        """What a poll ends with: an error only where no thought was begun, for a deadline may leave some out."""
        return Done(self._result(poll), outer) if poll.replies else replace(poll.failures[0], branch=outer)

    def _result(self, poll: _Poll) -> Reply:
        """The winner's reply with all votes; every thought's tokens are billed."""
        replies = [poll.replies[branch] for branch in poll.branches if branch in poll.replies]
        if len(poll.branches) == 1:
            return replies[0]
        ballots = poll.ballots()
        if not ballots:  # all were cancelled, or failed
            return _billed(max(replies, key=lambda one: len(one.answer)), replies)
        broken_off = not poll.stopped and (poll.outstanding > 0 or any(one.finish == "cancelled" for one in replies))
        outcome = tally(ballots, poll.same)
        # of those that say the same, one that has nothing against it itself speaks for them
        chosen = min(outcome.candidates[0].branches, key=lambda branch: bool(own_doubt(poll.replies[branch])))
        voted = {branch for candidate in outcome.candidates for branch in candidate.branches}
        cast = {ballot.branch: ballot.weight for ballot in ballots if ballot.branch in voted}
        votes = tuple(
            Vote(
                poll.replies[branch].answer,
                round(cast.get(branch, 0.0), 4),
                poll.replies[branch].close,
                poll.replies[branch].usage.thinking_tokens,
            )
            for branch in poll.branches
            if branch in poll.replies
        )
        reply = replace(_billed(poll.replies[chosen], replies), votes=votes)
        reply = replace(reply, flags=(*reply.flags, *_split(outcome)))
        if poll.failures:
            left_out = f"votes: {len(poll.failures)} of {len(poll.branches)} thoughts were left out: "
            reply = replace(reply, flags=(*reply.flags, left_out + poll.failures[0].error.detail))
        return replace(reply, finish="cancelled") if broken_off else reply


def _split(outcome: Outcome) -> tuple[str, ...]:
    """The flag of a vote in which no more than half of the weight is behind the winner; none where it has more."""
    if len(outcome.candidates) == 1 or outcome.share > 0.5:
        return ()
    behind, voted = len(outcome.candidates[0].branches), sum(len(one.branches) for one in outcome.candidates)
    return (f"{UNSURE}no answer has more than half of the votes; {behind} of {voted} thoughts gave this one",)


def _shows_first_thought(event: Event, poll: _Poll) -> bool:
    """Of several thoughts the first is shown as it grows, and that it ended, but not its answer, as if it were the
    vote's."""
    return event.branch == poll.branches[0] and not isinstance(event, AnswerDelta)


def _drawn(poll: _Poll) -> list[Request]:
    """The inner requests: the same question with seeds of their own."""
    if len(poll.branches) == 1:
        return [poll.request]
    sampling = poll.request.sampling
    assert sampling is not None
    return [
        Polled.of(poll.request, poll=poll.branches.start, sampling=replace(sampling, seed=sampling.seed + number))
        for number in range(len(poll.branches))
    ]


def _billed(reply: Reply, all_of_them: Sequence[Reply]) -> Reply:
    """The reply with what all thoughts cost together."""
    usage = summed_usage(reply, all_of_them)
    longest = max(one.timings.total_s for one in all_of_them)
    overshoot = max(one.budget.overshoot_tokens for one in all_of_them)
    return replace(
        reply,
        usage=usage,
        timings=replace(reply.timings, total_s=longest),
        budget=replace(reply.budget, overshoot_tokens=overshoot),
    )


def summed_usage(reply: Reply, all_of_them: Sequence[Reply]) -> Usage:
    """The prompt of `reply`, once, and the tokens that all replies to it cost."""
    usages = [one.usage for one in all_of_them]
    return replace(
        reply.usage,
        thinking_tokens=sum(one.thinking_tokens for one in usages),
        forced_tokens=sum(one.forced_tokens for one in usages),
        probe_tokens=sum(one.probe_tokens for one in usages),
        answer_tokens=sum(one.answer_tokens for one in usages),
    )


def forwarder(outer: Control, inner: Control, branches: Mapping[int, Sequence[int]]) -> Callable[[], None]:
    """What tells the inner control each wish of the outer one once. `branches`: for a question out there, its branches
    in here."""
    told = 0
    telling = threading.RLock()  # wishes may come from several threads

    def forward() -> None:
        nonlocal told
        with telling:
            while told < len(outer.wishes):
                wish = outer.wishes[told]
                told += 1
                if isinstance(wish, Cancel) and wish.branch is not None:
                    for branch in branches.get(wish.branch, ()):
                        inner.cancel(branch)
                else:
                    inner.tell(wish)

    return forward

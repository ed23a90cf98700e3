"""A responder that puts a question to the model several times at once and lets the answers vote.

Majority: arXiv 2203.11171 (self-consistency); the first answers alone: arXiv 2505.17813 (short-m@k); a vote that is
over as soon as its outcome cannot change: arXiv 2401.10480 (early-stopping self-consistency).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from models.errors import UsageError
from runtime.backends.backend import ModelFacts
from runtime.events import AnswerDelta, Closed, Done, Event, Failed, Voted
from runtime.reply import Reply, Usage, Vote
from runtime.request import Request, Sampling, Voting
from runtime.responder import Cancel, Control, Responder
from runtime.votes import Ballot, Same, decided, same_text, tally

TEMPERATURE = 0.8
"""Where the model's own way of drawing is greedy, all thoughts would be one."""


@dataclass
class _Poll:
    """The thoughts on one question: which branches of the inner request they are, and what has come back."""

    request: Request
    voting: Voting
    branches: range
    replies: dict[int, Reply] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)
    stopped: bool = False

    def ballots(self) -> list[Ballot]:
        """The votes cast so far, in the order in which they came."""
        return [_ballot(branch, self.replies[branch], place, self.voting) for place, branch in enumerate(self.order)]


def _ballot(branch: int, reply: Reply, place: int, voting: Voting) -> Ballot:
    weight = reply.confidence if voting.weighted and reply.confidence is not None else 1.0
    return Ballot(branch, reply.answer, weight, reply.close, reply.usage.thinking_tokens, place, reply.finish)


class VotingResponder:
    """Implements `Responder` over another one: requests without a vote go through as they are."""

    def __init__(
        self,
        inner: Responder,
        default_sampling: Callable[[], Sampling],
        *,
        same: Same = same_text,
    ) -> None:
        self.facts: ModelFacts = inner.facts
        self.backend_name = inner.backend_name
        self.context = inner.context
        self.family = getattr(inner, "family", None)
        self.inner = inner
        self._default_sampling = default_sampling
        self._same = same

    def respond(self, request: Request, control: Control | None = None) -> Iterator[Event]:
        """Events of one turn, `Done` last; of a vote, `Voted` for each answer, and the text of its first thought."""
        if request.voting is None or request.voting.count == 1:
            yield from self.inner.respond(request, control)
            return
        for event in self.respond_many((request,), control):
            if isinstance(event, Failed):
                raise event.error
            yield event

    def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
        """Events of many turns at once; `branch` is the request's index."""
        polls = self._polls(requests)
        if all(len(poll.branches) == 1 for poll in polls):
            yield from self.inner.respond_many(requests, control)
            return
        owners = [outer for outer, poll in enumerate(polls) for _ in poll.branches]
        inner = Control()
        outer_control = control or Control()
        forward = forwarder(outer_control, inner, {index: poll.branches for index, poll in enumerate(polls)})
        outer_control.on_change(forward)
        failed: set[int] = set()
        try:
            for event in self.inner.respond_many([one for poll in polls for one in _drawn(poll)], inner):
                outer = owners[event.branch]
                poll = polls[outer]
                if isinstance(event, Done):
                    yield from self._came(poll, event, outer, inner)
                elif isinstance(event, Failed):
                    if outer not in failed:  # what one thought cannot have, the others cannot have either
                        failed.add(outer)
                        yield replace(event, branch=outer)
                elif len(poll.branches) == 1 or _shows_first_thought(event, poll):
                    yield replace(event, branch=outer)
            for outer, poll in enumerate(polls):  # what was cancelled before all its thoughts had begun
                if poll.replies and len(poll.replies) < len(poll.branches):
                    yield Done(self._result(poll), outer)
        finally:
            outer_control.forget(forward)

    def close(self) -> None:
        """Free the model."""
        self.inner.close()

    def _polls(self, requests: Sequence[Request]) -> list[_Poll]:
        polls: list[_Poll] = []
        start = 0
        for request in requests:
            voting = request.voting or Voting(1)
            polls.append(_Poll(self._prepared(request, voting), voting, range(start, start + voting.count)))
            start += voting.count
        return polls

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

    def _came(self, poll: _Poll, event: Done, outer: int, inner: Control) -> Iterator[Event]:
        """One thought is over: count its vote; the last one, or the one that decides, ends the poll."""
        poll.replies[event.branch] = event.reply
        if event.reply.finish in ("stop", "length"):
            poll.order.append(event.branch)
        total = len(poll.branches)
        if total > 1 and event.reply.finish in ("stop", "length") and not poll.stopped:
            yield Voted(event.reply.answer, len(poll.order), total, outer)
        outstanding = total - len(poll.replies)
        if outstanding and not poll.stopped and decided(poll.ballots(), outstanding, poll.voting.first, self._same):
            poll.stopped = True
            for branch in poll.branches:
                if branch not in poll.replies:
                    inner.cancel(branch)
        if outstanding == 0:
            yield Done(self._result(poll), outer)

    def _result(self, poll: _Poll) -> Reply:
        """The winner's reply with all votes; every thought's tokens are billed."""
        replies = [poll.replies[branch] for branch in poll.branches if branch in poll.replies]
        if len(poll.branches) == 1:
            return replies[0]
        ballots = poll.ballots()
        if not ballots:  # all were cancelled, or failed
            return _billed(max(replies, key=lambda one: len(one.answer)), replies)
        broken_off = not poll.stopped and (
            len(replies) < len(poll.branches) or any(one.finish == "cancelled" for one in replies)
        )
        outcome = tally(ballots, self._same)
        chosen = outcome.candidates[0].branches[0]
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
        return replace(reply, finish="cancelled") if broken_off else reply


def _shows_first_thought(event: Event, poll: _Poll) -> bool:
    """Of several thoughts the first is shown as it grows, but not its answer, as if it were the vote's."""
    return event.branch == poll.branches[0] and not isinstance(event, AnswerDelta | Closed)


def _drawn(poll: _Poll) -> list[Request]:
    """The inner requests: the same question with seeds of their own."""
    if len(poll.branches) == 1:
        return [poll.request]
    sampling = poll.request.sampling
    assert sampling is not None
    return [
        replace(poll.request, sampling=replace(sampling, seed=sampling.seed + number))
        for number in range(len(poll.branches))
    ]


def _billed(reply: Reply, all_of_them: Sequence[Reply]) -> Reply:
    """The reply with what all thoughts cost together."""
    usages = [one.usage for one in all_of_them]
    usage = Usage(
        prompt_tokens=reply.usage.prompt_tokens,
        cached_tokens=reply.usage.cached_tokens,
        thinking_tokens=sum(one.thinking_tokens for one in usages),
        forced_tokens=sum(one.forced_tokens for one in usages),
        probe_tokens=sum(one.probe_tokens for one in usages),
        answer_tokens=sum(one.answer_tokens for one in usages),
    )
    longest = max(one.timings.total_s for one in all_of_them)
    overshoot = max(one.budget.overshoot_tokens for one in all_of_them)
    return replace(
        reply,
        usage=usage,
        timings=replace(reply.timings, total_s=longest),
        budget=replace(reply.budget, overshoot_tokens=overshoot),
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

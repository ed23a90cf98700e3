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
from dataclasses import asdict, replace

from runtime.answers.final_answer import same_final_answer
from runtime.answers.mathematics import MOST_SECONDS, load
from runtime.events import AnswerDelta, Done, Event, Failed, Voted
from runtime.outer_responder import OuterResponder
from runtime.poll import Poll
from runtime.reply import Reply
from runtime.request import Request, Sampling, Voting
from runtime.responder import Cancel, Control, Responder
from runtime.vote_limits import require_draws, require_votes
from runtime.votes import Same

TEMPERATURE = 0.8
"""Where the model's own way of drawing is greedy, all thoughts would be one."""
_SHARE = 0.1
"""Of what a deadline leaves, for one comparison of formulas: the thoughts that are still decoded wait for it."""
_MOST_COMPARING = 30.0
"""Seconds that comparing the answers to one question may take: of many formulas, each is held against each. After that
formulas are the same only where their texts are."""


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
            for event in self.inner.respond_many([one for poll in polls for one in poll.requests()], inner):
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

    def _polls(self, requests: Sequence[Request]) -> list[Poll]:
        polls: list[Poll] = []
        start = 0
        for request in requests:
            voting = request.voting or Voting(1)
            branches = range(start, start + voting.count)
            poll = Poll(self._prepared(request, voting), voting, branches, self._same or same_final_answer)
            if self._same is None:
                poll.same = functools.partial(self._same_in_time, poll)
            poll.same = functools.cache(poll.same)  # the same answers are compared after each one that comes
            polls.append(poll)
            start += voting.count
        return polls

    def _same_in_time(self, poll: Poll, one: str, other: str) -> bool:
        """Whether two answers are the same, as far as the time for it goes."""
        start = self._clock()
        seconds, begun = poll.request.budget.seconds or math.inf, poll.begun
        left = seconds if begun is None else begun + seconds - start
        share = min(MOST_SECONDS, max(0.0, left) * _SHARE, max(0.0, _MOST_COMPARING - poll.comparing))
        same = same_final_answer(one, other, share)
        poll.comparing += self._clock() - start
        return same

    def _prepared(self, request: Request, voting: Voting) -> Request:
        """The request as each thought is asked: drawn, not greedy, and telling how sure it is."""
        if voting.count == 1:
            return replace(request, voting=None)
        require_votes(voting.count)
        sampling = request.sampling
        if sampling is None:
            sampling = self._default_sampling()
            if sampling.temperature == 0.0:
                sampling = replace(sampling, temperature=TEMPERATURE)
        require_draws(voting.count, asdict(sampling))
        return replace(request, voting=None, sampling=sampling, confidence=voting.weighted)

    def _came(self, poll: Poll, branch: int, reply: Reply, outer: int) -> Iterator[Event]:
        """One thought is over: its vote."""
        if poll.add(branch, reply) and len(poll.branches) > 1 and not poll.stopped:
            yield Voted(reply.answer, len(poll.order), len(poll.branches), outer, poll.standing())

    def _counted(self, poll: Poll, outer: int, inner: Control) -> Iterator[Event]:
        """The vote that decides stops the others; the last one ends the poll."""
        if poll.outstanding and not poll.stopped and poll.decided:
            poll.stopped = True
            for branch in poll.branches:
                if branch not in poll.replies:
                    inner.cancel(branch)
        if poll.outstanding == 0:
            yield self._over(poll, outer)

    def _over(self, poll: Poll, outer: int) -> Done | Failed:
        """What a poll ends with: an error only where no thought was begun, for a deadline may leave some out."""
        ended = Done(poll.result(), outer) if poll.replies else replace(poll.failures[0], branch=outer)
        poll.close()
        return ended


def _shows_first_thought(event: Event, poll: Poll) -> bool:
    """Of several thoughts the first is shown as it grows, and that it ended, but not its answer, as if it were the
    vote's."""
    return event.branch == poll.branches[0] and not isinstance(event, AnswerDelta)


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

"""The thoughts on one question and what they come to: the reply of the vote, with all that tells how it came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from models.plural import counted, plural
from runtime.events import Failed
from runtime.reply import Decision, Reply, Usage, Vote
from runtime.request import Polled, Request, Sampling, Voting
from runtime.verification import UNSURE, own_doubt
from runtime.votes import Ballot, Outcome, Same, decided, has_vote, majority_stands, same_text, tally

_MAJORITY: Final = 0.5


@dataclass
class Poll:
    """Which branches of the inner request are the thoughts on `request`, and what has come back of them.

    `begun`: the moment of its first event; None: there was none yet. `order`: the branches that have answered, as they
    came. `stopped`: the vote was decided before all had. `over`: the result was told, and nothing is kept any more.
    """

    request: Request
    voting: Voting
    branches: range
    same: Same
    begun: float | None = None
    comparing: float = 0.0
    """Seconds spent so far on holding answers against each other."""
    replies: dict[int, Reply] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)
    failures: list[Failed] = field(default_factory=list)
    stopped: bool = False
    over: bool = False

    @property
    def outstanding(self) -> int:
        """How many thoughts may still come."""
        return 0 if self.over else len(self.branches) - len(self.replies) - len(self.failures)

    @property
    def decided(self) -> bool:
        """Whether nothing that is still to come can change the winner, nor whether it is in doubt; or, where the first
        few are to decide, whether they are in."""
        ballots, first = self._ballots(), self.voting.first
        if not decided(ballots, self.outstanding, first, self.same):
            return False
        early = first is not None and sum(map(has_vote, ballots)) >= first
        return early or majority_stands(ballots, self.outstanding, self.same)

    def requests(self) -> list[Request]:
        """The question as each thought is asked: with a seed of its own."""
        if len(self.branches) == 1:
            return [self.request]
        sampling = self._sampling
        return [
            Polled.of(self.request, poll=self.branches.start, sampling=replace(sampling, seed=sampling.seed + number))
            for number in range(len(self.branches))
        ]

    def add(self, branch: int, reply: Reply) -> bool:
        """One thought is over; whether it has answered."""
        self.replies[branch] = reply
        answered = reply.finish in ("stop", "length")
        if answered:
            self.order.append(branch)
        return answered

    def standing(self) -> tuple[tuple[str, int], ...]:
        """What those with a vote say so far, as `Voted` tells it."""
        ballots = [ballot for ballot in self._ballots() if has_vote(ballot)]
        found = tally(ballots, self.same).candidates if ballots else ()
        return tuple((one.answer, len(one.branches)) for one in found)

    def close(self) -> None:
        """Nothing more comes of it: forget the thoughts, of which a file of questions would else fill the memory."""
        self.over = True
        self.replies.clear()
        self.same = same_text  # the other may remember all that it has compared

    def result(self) -> Reply:
        """The winner's reply with all votes; every thought's tokens are billed. There is at least one reply."""
        replies = [self.replies[branch] for branch in self.branches if branch in self.replies]
        if len(self.branches) == 1:
            return replies[0]
        ballots = self._ballots()
        if not ballots:  # all were cancelled, or failed
            longest = max(sorted(self.replies), key=lambda branch: len(self.replies[branch].answer))
            return replace(_billed(self.replies[longest], replies), votes=self._votes({}, (), longest))
        outcome = tally(ballots, self.same)
        leader = outcome.candidates[0]
        # of those that say the same, one that has nothing against it itself speaks for them
        chosen = min(leader.branches, key=lambda branch: bool(own_doubt(self.replies[branch])))
        reply = _billed(self.replies[chosen], replies)
        voted = {branch for candidate in outcome.candidates for branch in candidate.branches}
        weights = {ballot.branch: ballot.weight for ballot in ballots if ballot.branch in voted}
        reply = replace(
            reply,
            votes=self._votes(weights, leader.branches, chosen),
            flags=(*reply.flags, *self._flags(outcome, len(voted))),
            decisions=(*reply.decisions, self._decision(outcome, len(voted), reply.usage.thinking_tokens)),
        )
        cut = self.outstanding > 0 or any(one.finish == "cancelled" for one in replies)
        return replace(reply, finish="cancelled") if cut and not self.stopped else reply

    @property
    def _sampling(self) -> Sampling:
        sampling = self.request.sampling
        assert sampling is not None  # a vote is drawn
        return sampling

    def _ballots(self) -> list[Ballot]:
        """The votes cast so far, in the order in which they came."""
        return [_ballot(branch, self.replies[branch], place, self.voting) for place, branch in enumerate(self.order)]

    def _votes(self, weights: Mapping[int, float], agreeing: Sequence[int], chosen: int) -> tuple[Vote, ...]:
        return tuple(
            Vote.of(
                self.replies[branch],
                weights.get(branch, 0.0),
                seed=self._sampling.seed + number,
                agrees=branch in agreeing if branch in weights else None,
                chosen=branch == chosen,
            )
            for number, branch in enumerate(self.branches)
            if branch in self.replies
        )

    def _void(self, voted: int) -> int:
        """How many thoughts came to their end, or failed, and have no vote."""
        return sum(one.finish != "cancelled" for one in self.replies.values()) - voted

    def _flags(self, outcome: Outcome, voted: int) -> tuple[str, ...]:
        """What is to be doubted of the vote itself."""
        flags = _split(outcome)
        void = self._void(voted)
        if void >= voted:
            flags += (f"votes: {void} of {void + voted} thoughts had none, for they were cut off, empty or failed",)
        if self.failures:
            left_out = f"votes: {len(self.failures)} of {len(self.branches)} thoughts were left out: "
            flags += (left_out + self.failures[0].error.detail,)
        return flags

    def _decision(self, outcome: Outcome, voted: int, thinking_tokens: int) -> Decision:
        """Who won, and by what."""
        leader, *others = outcome.candidates
        words = f"{len(leader.branches)} of {counted(voted, 'vote')} gave this answer"
        if others and outcome.margin == 0.0:
            words += ", of the same weight as another; the one that was there first won"
        if void := self._void(voted):
            words += f"; {void} more {plural(void, 'was', 'were')} cut off, empty or failed"
        stopped = sum(one.finish == "cancelled" for one in self.replies.values())
        if stopped and self.stopped:
            first = self.voting.first
            enough = "the first was" if first == 1 else f"the first {first} were"
            why = "it was decided" if first is None or voted < first else f"{enough} in"
            words += f"; {stopped} more {plural(stopped, 'was', 'were')} stopped, for {why}"
        return Decision(thinking_tokens, "vote", round(outcome.share, 4), _MAJORITY, words)


def _ballot(branch: int, reply: Reply, place: int, voting: Voting) -> Ballot:
    weight = reply.confidence if voting.weighted and reply.confidence is not None else 1.0
    return Ballot(branch, reply.answer, weight, reply.close, reply.usage.thinking_tokens, place, reply.finish)


def _split(outcome: Outcome) -> tuple[str, ...]:
    """The flag of a vote in which no more than half of the weight is behind the winner; none where it has more."""
    candidates = outcome.candidates
    if len(candidates) == 1 or outcome.share > _MAJORITY:
        return ()
    behind, voted = len(candidates[0].branches), sum(len(one.branches) for one in candidates)
    return (f"{UNSURE}no answer has more than half of the votes; {behind} of {voted} thoughts gave this one",)


def _billed(reply: Reply, all_of_them: Sequence[Reply]) -> Reply:
    """The reply with what all thoughts cost together."""
    longest = max(one.timings.total_s for one in all_of_them)
    overshoot = max(one.budget.overshoot_tokens for one in all_of_them)
    return replace(
        reply,
        usage=summed_usage(reply, all_of_them),
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

"""Whether an answer of the ladder stands, and why: pure rules over replies that were checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from runtime.reply import Check, CloseReason, Reply, Vote
from runtime.verification import FLAG, own_doubt
from runtime.votes import Ballot, Same, decided, tally

_MAJORITY: Final = 0.5
_ENDED: Final[dict[CloseReason, str]] = {
    "natural": "closed by itself",
    "soft": "nearly closed by itself",
    "probe": "ended at a sure trial answer",
}
"""Thoughts that no limit, no loop and nobody cut short."""


@dataclass(frozen=True)
class Judgement:
    """Whether an answer stands, and why (not). `by`: what it stands by. `open`: it may yet change, or be confirmed.
    `number` and `limit`: what it went by, and what that was held against; `failed`: the check that it failed."""

    accepted: bool
    reason: str
    by: Literal["truth", "agreement", "confidence", ""] = ""
    open: bool = False
    number: float | None = None
    limit: float | None = None
    failed: Check | None = None

    @property
    def check(self) -> Check | None:
        """What the reply is to tell of it, where no verifier's own check does. What the model thinks of itself proves
        nothing, so it counts no more than the form."""
        if not self.accepted or self.by in ("truth", ""):
            return None
        sentence = f"{self.reason[0].upper()}{self.reason[1:]}."
        return Check(self.by, True, sentence, "agreement" if self.by == "agreement" else "form")


def judge(reply: Reply, previous: Sequence[str], same: Same, sure: float) -> Judgement:
    """Whether the reply of one thought stands, given the answers of the rungs before it.

    A failed check, or one that was not made, always sends it on. It stands if it was computed again; else, where its
    own thought has nothing against it, if a rung before it said the same, or if its thought ended by itself and the
    model was `sure` of the answer (a probability). A check of form alone proves nothing.
    """
    if _refused(reply):
        return _refusal(reply)
    truth = _recomputed(reply)
    if truth is not None:
        return Judgement(True, f"computed again by {truth.name}", "truth")
    if own := own_doubt(reply):
        return Judgement(False, own)
    alike = 1 + sum(same(answer, reply.answer) for answer in previous)
    if alike > 1:
        return Judgement(True, f"{alike} rungs agree", "agreement", number=alike)
    how = _ENDED.get(reply.close)
    if how is None or reply.confidence is None:
        return Judgement(False, "nothing confirms it")
    told = f"its thought {how}, confidence {reply.confidence:.3f}"
    number = round(reply.confidence, 4)
    if reply.confidence >= sure:
        return Judgement(True, told, "confidence", number=number, limit=sure)
    return Judgement(False, f"{told}, below {sure:.3f}", number=number, limit=sure)


def judge_vote(replies: Sequence[Reply], outstanding: int, same: Same) -> tuple[Judgement, Reply]:
    """Whether the vote of thoughts on one question stands, and the reply that leads it. There is at least one reply.

    A whole answer that no check failed, its thought's own among them, has a vote, of its confidence's weight. One that
    was computed again ends the vote. Else more than half of the weight and two thoughts have to be behind it; it is
    open as long as `outstanding` thoughts, not yet drawn, could change it.
    """
    for reply in replies:
        truth = _recomputed(reply)
        if truth is not None and not _refused(reply):
            return Judgement(True, f"computed again by {truth.name}", "truth"), reply
    ballots = _ballots(replies)
    if not ballots:
        leader = replies[_leader(replies, same)]
        return replace(_refusal(leader), open=outstanding > 0), leader
    outcome = tally(ballots, same)
    first = outcome.candidates[0]
    behind, cast = len(first.branches), len(ballots)
    void = len(replies) - cast
    reason = f"{behind} of {f'the {cast} thoughts with a vote' if void else f'{cast} thoughts'} agree"
    if behind < cast:
        reason += f", with {outcome.share:.0%} of the weight"
    if void:
        they = "has none: it was" if void == 1 else "have none: they were"
        itself = "doubts itself" if void == 1 else "doubt themselves"
        reason += f" ({void} more {they} stopped, failed a check, {itself}, or gave no answer)"
    accepted = outcome.share > _MAJORITY and behind > 1
    still = not (accepted and decided(ballots, outstanding, None, same)) and outstanding > 0
    by: Literal["agreement", ""] = "agreement" if accepted else ""
    verdict = Judgement(accepted, reason, by, open=still, number=round(outcome.share, 4), limit=_MAJORITY)
    return verdict, replies[first.branches[0]]


def cast_votes(replies: Sequence[Reply]) -> tuple[Vote, ...]:
    """The thoughts as a reply tells them; of no weight is one that had no vote."""
    weights = {ballot.branch: ballot.weight for ballot in _ballots(replies)}
    return tuple(
        Vote(one.answer, round(weights.get(place, 0.0), 4), one.close, one.usage.thinking_tokens)
        for place, one in enumerate(replies)
    )


def _ballots(replies: Sequence[Reply]) -> list[Ballot]:
    return [_ballot(place, reply) for place, reply in enumerate(replies) if _votes(reply)]


def _ballot(place: int, reply: Reply) -> Ballot:
    weight = 1.0 if reply.confidence is None else reply.confidence
    return Ballot(place, reply.answer, weight, reply.close, reply.usage.thinking_tokens, place, reply.finish)


def _leader(replies: Sequence[Reply], same: Same) -> int:
    """Which leads of replies that have no vote: what most of them say, if they say anything."""
    return tally([_ballot(place, reply) for place, reply in enumerate(replies)], same).candidates[0].branches[0]


def _recomputed(reply: Reply) -> Check | None:
    return next((check for check in reply.checks if check.kind == "truth" and check.passed), None)


def _failed(reply: Reply) -> Check | None:
    return next((check for check in reply.checks if not check.passed), None)


def _unjudged(reply: Reply) -> str:
    """Why it has no verdict of those who were to judge it, as its flag says; empty: it has, or none was to."""
    return next((flag.removeprefix(FLAG) for flag in reply.flags if flag.startswith(FLAG)), "")


def _refused(reply: Reply) -> bool:
    """Whether the answer cannot stand, whatever others say."""
    return _failed(reply) is not None or bool(_unjudged(reply)) or not reply.answer.strip() or reply.finish != "stop"


def _votes(reply: Reply) -> bool:
    """Whether its answer counts beside others that nothing computed again either."""
    return not (_refused(reply) or own_doubt(reply))


def _refusal(reply: Reply) -> Judgement:
    failed = _failed(reply)
    unjudged = _unjudged(reply) or ("there was no whole answer" if _refused(reply) else own_doubt(reply))
    reason = unjudged if failed is None else f"{failed.name}: {failed.detail}"
    return Judgement(False, reason, failed=failed)

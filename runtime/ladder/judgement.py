"""Whether an answer of the ladder stands, and why: pure rules over replies that were checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from models.plural import counted, plural
from runtime.reply import Check, CloseReason, Reply, Vote
from runtime.verification import FLAG, own_doubt
from runtime.votes import Ballot, Same, classes, decided, same_text, tally

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
    own thought has nothing against it, if a rung before it said the same (see `others`), or if its thought ended by
    itself and the model was `sure` of the answer (a probability), unless a hint told it what to be sure of. A check of
    form alone proves nothing.
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
    if hinted(reply):
        return Judgement(False, "its thought was hinted, and nothing else confirms it")
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
    was computed again ends the vote. Else more than half of the weight and two thoughts have to be behind it, of which
    all that were hinted count as one; it is open as long as `outstanding` thoughts, not yet drawn, could change it.
    """
    for reply in replies:
        truth = _recomputed(reply)
        if truth is not None and not _refused(reply):
            return Judgement(True, f"computed again by {truth.name}", "truth"), reply
    ballots = _ballots(replies, same)
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
        they = plural(void, "has none: it was", "have none: they were")
        itself = plural(void, "doubts itself", "doubt themselves")
        reason += f" ({void} more {they} stopped, failed a check, {itself}, or gave no answer)"
    echoes = _echoes(replies, same)
    if echoes:
        repeat, count = plural(len(echoes), "repeats", "repeat"), plural(len(echoes), "counts", "count")
        reason += (
            f"; {counted(len(echoes), 'hinted thought')} only {repeat} another hinted one, and {count} for nothing"
        )
    accepted = outcome.share > _MAJORITY and len(set(first.branches) - echoes) > 1
    still = not (accepted and decided(ballots, outstanding, None, same)) and outstanding > 0
    by: Literal["agreement", ""] = "agreement" if accepted else ""
    verdict = Judgement(accepted, reason, by, open=still, number=round(outcome.share, 4), limit=_MAJORITY)
    return verdict, replies[first.branches[0]]


def others(reply: Reply, previous: Sequence[Reply], same: Same) -> tuple[str, ...]:
    """What the rungs before it said, for `judge`: hinted thoughts that say the same are one voice, for their hint may
    have told them what to say."""
    echoes = [one for one in previous if hinted(one) and same(one.answer, reply.answer)]
    told = [] if hinted(reply) else echoes[:1]
    return tuple(one.answer for one in previous if one.answer and not hinted(one)) + tuple(one.answer for one in told)


def hinted(reply: Reply) -> bool:
    """Whether a hint was put into its thought."""
    return any(one.rule == "hint" and one.number for one in reply.decisions)


def cast_votes(
    replies: Sequence[Reply], same: Same = same_text, *, seeds: Sequence[int | None] = (), told: Reply | None = None
) -> tuple[Vote, ...]:
    """The thoughts as a reply tells them; of no weight is one that had no vote. `seeds`: what their draws began with,
    `told`: the reply that is told, which may be one of theirs."""
    weights = {ballot.branch: ballot.weight for ballot in _ballots(replies, same)}
    return tuple(
        Vote.of(
            one,
            weights.get(place, 0.0),
            seed=seeds[place] if seeds else None,
            agrees=same(one.answer, told.answer) if told is not None and place in weights else None,
            chosen=one is told,
        )
        for place, one in enumerate(replies)
    )


def _ballots(replies: Sequence[Reply], same: Same) -> list[Ballot]:
    """The votes; of what hinted thoughts say alike, the heaviest alone has any weight."""
    echoes = _echoes(replies, same)
    ballots = [_ballot(place, reply) for place, reply in enumerate(replies) if _votes(reply)]
    return [replace(one, weight=0.0) if one.branch in echoes else one for one in ballots]


def _echoes(replies: Sequence[Reply], same: Same) -> set[int]:
    """The places of hinted thoughts that say what a heavier one, hinted too, says."""
    told = [_ballot(place, reply) for place, reply in enumerate(replies) if _votes(reply) and hinted(reply)]
    found: set[int] = set()
    for alike in classes([one.answer for one in told], same):
        heaviest = max(alike, key=lambda member: told[member].weight)
        found |= {told[member].branch for member in alike if member != heaviest}
    return found


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

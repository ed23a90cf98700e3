"""What happens while a question is answered, as plain values. `branch` tells parallel thoughts apart (0: the only
one)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from models.errors import KangaeError
from runtime.reply import CloseReason, Reply


@dataclass(frozen=True)
class Progress:
    """Prompt tokens decoded so far, of how many; `cached` came from the prefix cache."""

    done: int
    total: int
    cached: int = 0
    branch: int = 0


@dataclass(frozen=True)
class ThinkingDelta:
    """More of the thought. `tokens` is the count of sampled thinking tokens so far in this turn."""

    text: str
    tokens: int
    forced: bool = False
    branch: int = 0


@dataclass(frozen=True)
class Closed:
    """The thought ended, and why."""

    reason: CloseReason
    tokens: int
    branch: int = 0


@dataclass(frozen=True)
class AnswerDelta:
    """More of the answer."""

    text: str
    tokens: int
    branch: int = 0


@dataclass(frozen=True)
class Voted:
    """One of several thoughts on this question has answered: `done` of `total` by now. `standing`: what those with a
    vote say so far, each answer with the number of its thoughts, the one that leads first; empty: not told."""

    answer: str
    done: int
    total: int
    branch: int = 0
    standing: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Climbed:
    """The ladder goes on to another rung, because the answer before it was not sure: `reason`."""

    rung: str
    reason: str
    branch: int = 0


@dataclass(frozen=True)
class Done:
    """The reply is complete (or was cancelled, or failed: see `reply.finish`)."""

    reply: Reply
    branch: int = 0


@dataclass(frozen=True)
class Failed:
    """In `respond_many`: this request cannot be met, and why. It has no reply."""

    error: KangaeError
    branch: int = 0


Event = Progress | ThinkingDelta | Closed | AnswerDelta | Voted | Climbed | Done | Failed


def joined(first: Event, second: Event) -> Event | None:
    """Two deltas that follow each other in one branch, as one; None if they are not of one kind."""
    match first, second:
        case ThinkingDelta(), ThinkingDelta() if (first.forced, first.branch) == (second.forced, second.branch):
            return replace(second, text=first.text + second.text)
        case AnswerDelta(), AnswerDelta() if first.branch == second.branch:
            return replace(second, text=first.text + second.text)
    return None

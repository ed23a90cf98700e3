"""One sequence of the engine: its ids, how many of them stand in the cache, and who steers it."""

from __future__ import annotations

from collections.abc import Sequence as Ids
from dataclasses import dataclass, field
from typing import Any, Protocol

from runtime.backends.backend import State
from runtime.control.scores import Scores
from runtime.reply import Finish
from runtime.request import Sampling


@dataclass(frozen=True)
class Move:
    """What happens to a sequence before its next draw: take back `retract` ids, then put in `force`, or end.

    `fork` starts another sequence with all its ids; `hold` draws nothing now and asks again once it is not paused.
    """

    retract: int = 0
    force: tuple[int, ...] = ()
    finish: Finish | None = None
    fork: Fork | None = None
    hold: bool = False


@dataclass(frozen=True)
class Fork:
    """A sequence that shares another one's ids and goes on with `ids` of its own."""

    ids: tuple[int, ...]
    sampling: Sampling
    steer: Steer


@dataclass(frozen=True)
class SavedState:
    """The cache of a sequence's first `length` ids, as `Backend.save` gave it."""

    length: int
    state: State


STAY = Move()


class Steer(Protocol):
    """Who watches one sequence: sees every id, may force, take back, refuse and end. The engine itself knows ids
    alone."""

    @property
    def cancelled(self) -> bool:
        """Whether the sequence should end at once."""

    @property
    def overdue(self) -> bool:
        """Whether its time is up: what was produced stands, and it should end at once."""

    def progress(self, done: int, total: int, cached: int) -> None:
        """So many ids of the prompt stand in the cache, `cached` of them from before."""

    @property
    def paused(self) -> bool:
        """Whether the sequence should stand still for now."""

    def before_draw(self, scores: Scores) -> Move:
        """Asked with logits at hand, which may be changed; `STAY`: draw."""

    def permits(self, token: int) -> bool:
        """Whether a drawn token may stand; if not, the next most likely one that may is taken."""

    def drawn(self, token: int) -> Move:
        """A token was taken: it is the sequence's last id, not yet decoded."""

    def ended(self, finish: Finish, error: Exception | None) -> None:
        """The sequence is over."""


@dataclass(eq=False)
class Sequence:
    """A prompt and what follows it. `history` holds all ids, of which the first `decoded` stand in the cache of
    `slot`."""

    prompt: Ids[int]
    sampling: Sampling
    steer: Steer
    history: list[int] = field(init=False)
    decoded: int = 0
    prefilled: int = 0
    """How many leading ids are prompt or were forced before the first draw: progress is told until they are decoded."""
    cached: int = 0
    slot: int | None = None
    order: int = 0
    sampler: Any = None
    started: bool = False
    """Whether a token was drawn."""
    finish: Finish | None = None
    spare: bool = False
    """Whether it may take a place that is kept free for forks."""
    hurried: bool = False
    """Whether it has a deadline: while it draws, prompts of others take little of each step."""
    accompanied: bool = False
    """Whether another one was decoded while it ran, its own forks left out: how fast it was tells nothing then."""
    saved: SavedState | None = None
    """What the cache held of it in another process; it is put back before the first decode, and tried once."""

    def __post_init__(self) -> None:
        self.history = list(self.prompt)
        self.prefilled = len(self.history)

    @property
    def pending(self) -> int:
        """Ids that wait to be decoded: the rest of the prompt, forced ones, or the last one drawn."""
        return len(self.history) - self.decoded

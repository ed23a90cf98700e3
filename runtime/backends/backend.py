"""The backend protocol: what every engine room offers, in token ids alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from runtime.profile.profile import Profile
from runtime.request import Sampling

State = bytes | bytearray
"""The cache of a sequence, as a backend saved it."""


@dataclass(frozen=True)
class ModelFacts:
    """What an open model says of itself. `context_length` is what it was trained for, in tokens; `profile` what was
    measured to suit it, where it was calibrated."""

    name: str
    file: str
    quant: str
    architecture: str
    context_length: int
    parameters: int
    bytes: int
    chat_template: str | None
    metadata: Mapping[str, str] = field(default_factory=dict)
    profile: Profile | None = None


class Vocabulary(Protocol):
    """Text to ids and back. Ids are 0 <= id < size."""

    size: int
    end_ids: frozenset[int]
    """Ids that end a generation."""
    marker_ids: frozenset[int]
    """Control and user-defined ids: what a user's text must never become."""

    def tokenize(self, text: str, *, markers: bool) -> list[int]:
        """Ids of `text`; with `markers` False no id of `marker_ids` may come out unless the vocabulary has no other
        way."""

    def piece(self, token: int) -> bytes:
        """The bytes that `token` stands for; a marker's own spelling for a marker."""

    def spelling(self, token: int) -> str:
        """The text of `token` as listed in the vocabulary's markers (used to find markers in a user's text)."""


@dataclass(frozen=True)
class Slice:
    """Consecutive tokens of one sequence to decode: `ids[i]` stands at `position + i`. Logits only of the last, if
    wanted."""

    sequence: int
    position: int
    ids: Sequence[int]
    want_logits: bool


class Aborted(Exception):
    """A decode was interrupted by `abort()`. The batch must be rewound to its last known positions."""


class Backend(Protocol):
    """An open model with room for `sequences` sequences that share one cache of `context` tokens."""

    facts: ModelFacts
    context: int
    """Cache size in tokens, shared by all sequences."""
    sequences: int
    batch: int
    """Most tokens in one decode."""
    can_rewind: bool
    can_fork: bool
    can_batch: bool

    @property
    def vocabulary(self) -> Vocabulary:
        """Text to ids and back."""

    def decode(self, batch: Sequence[Slice]) -> list[int | None]:
        """Decode all slices (together at most `self.batch` tokens) in one go. Returns for each slice the row of its
        logits, valid until the next decode, or None. Raises `Aborted`, or `models.errors.CannotMeetError` when the
        cache is full."""

    def new_sampler(self, sampling: Sampling) -> Any:
        """A sampler with a state of its own; freed with the backend or by `free_sampler`."""

    def free_sampler(self, sampler: Any) -> None:
        """Give a sampler back."""

    def sample(self, row: int, sampler: Any) -> int:
        """Draw the next id from a row and tell the sampler of it."""

    def accept(self, sampler: Any, token: int) -> None:
        """Tell the sampler of a token that was not drawn (a forced one)."""

    def logits(self, row: int) -> npt.NDArray[np.float32]:
        """Raw logits of a row, shape (vocabulary size,), a view valid until the next decode."""

    def fork(self, source: int, target: int) -> None:
        """Let `target` (emptied first) share the cache of `source`."""

    def rewind(self, sequence: int, position: int) -> None:
        """Forget what stands at `position` and after. Position 0 empties the sequence."""

    def save(self, sequence: int, most: int | None = None) -> State | None:
        """The sequence's state, to be restored by the same model and build; None: it takes more than `most` bytes."""

    def restore(self, sequence: int, state: State) -> None:
        """Replace the sequence's state by a saved one."""

    def abort(self) -> None:
        """From any thread: interrupt the decode under way (or the next one, once)."""

    def close(self) -> None:
        """Free the model. Safe to call twice."""

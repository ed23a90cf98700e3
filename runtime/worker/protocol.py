"""What the parent and a worker process say to each other: plain values, pickled over a pair of connected sockets.

The pipe joins a process and the child that it started itself, under the same user; nothing else ever writes to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from models.errors import KangaeError
from runtime.backends.backend import ModelFacts
from runtime.events import Event
from runtime.request import Request
from runtime.responder import Wish


@dataclass(frozen=True)
class Start:
    """To the worker, first: call `open(model)` and keep the responder it returns. `open` goes by its import path."""

    open: Callable[..., Any]
    model: Any


@dataclass(frozen=True)
class Ask:
    """To the worker: answer these; with `many` they go to `respond_many`. `turn` numbers what comes back."""

    turn: int
    requests: tuple[Request, ...]
    many: bool


@dataclass(frozen=True)
class Steer:
    """To the worker: what the control of a turn was told."""

    turn: int
    wish: Wish


@dataclass(frozen=True)
class Stop:
    """To the worker: free the model and end."""


@dataclass(frozen=True)
class Loading:
    """To the parent: the part of the model that is loaded, 0 to 1."""

    fraction: float


@dataclass(frozen=True)
class Opened:
    """To the parent: the model is open, or `error` says why not."""

    facts: ModelFacts | None = None
    backend_name: str = ""
    context: int = 0
    error: KangaeError | None = None


@dataclass(frozen=True)
class Happened:
    """To the parent: one event of a turn."""

    turn: int
    event: Event


@dataclass(frozen=True)
class Ended:
    """To the parent: no more events of this turn; `error` if it failed."""

    turn: int
    error: KangaeError | None = None


@dataclass(frozen=True)
class Warned:
    """To the parent, at any time: what was warned of, on one line, without controls. It belongs to no turn."""

    text: str


ToWorker = Start | Ask | Steer | Stop
ToParent = Loading | Opened | Happened | Ended | Warned

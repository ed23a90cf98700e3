"""Keeping the turns of one engine while they stand still, and bringing kept ones back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from models.errors import CannotMeetError, KangaeError
from models.locations import cache_folder
from runtime.backends.backend import Backend
from runtime.engine import Engine
from runtime.kept_turn import KeptTurn
from runtime.kept_turns import KeptTurns
from runtime.reply import ModelLabel
from runtime.request import Request, Sampling
from runtime.resumable import Resumable
from runtime.sequence import SavedState, Sequence
from runtime.turn import Turn
from runtime.turn_log import Drew, Earlier, all_ids, ids_after

_MOST_STOPPED = 128 << 20
"""Bytes of cache that are written while someone waits for a turn to stop."""
_SEEDS = 2**32 - 1  # the C library takes that very number for "any"


@dataclass
class _Watched:
    sequence: Sequence
    request: Request
    model: ModelLabel
    context: int
    kept_at: int | None = None
    """The turn's age when it was kept last."""


class TurnKeeping:
    """`turns` gives the place where turns are kept; it is asked for it when the first one is. All but `found` belongs
    to the thread that steps the engine, or to one that keeps it from stepping."""

    def __init__(self, engine: Engine, backend: Backend, turns: Callable[[], KeptTurns]) -> None:
        self._engine = engine
        self._backend = backend
        self._turns = turns
        self._watched: dict[Turn, _Watched] = {}
        self._weights: str | None = None

    def found(self, request: Resumable, *, context: int) -> KeptTurn:
        """What is kept of a request that goes on, with what its reply should say of that. Raises UsageError where it is
        nothing, CannotMeetError where it cannot be gone on with in `context` tokens."""
        kept = self._turns().read(request.id)
        if context < kept.context:
            raise CannotMeetError(
                f"The turn was begun in a context of {kept.context} tokens, but the model is open with {context}; "
                f"open it with --context {kept.context}."
            )
        if max(chain(kept.history, all_ids(kept.earlier.steps))) >= self._backend.vocabulary.size:
            raise _begun_elsewhere()
        notes: tuple[str, ...] = ()
        if kept.weights != self.weights():
            notes = ("resumed: the model's file is not the one that the turn was begun with",)
        if kept.request.sampling is not None and kept.request.sampling.temperature > 0.0:
            notes = (*notes, "resumed: the draws began anew, so the text is not that of an uninterrupted turn")
        return replace(kept, earlier=replace(kept.earlier, notes=notes))

    def sequence(self, kept: KeptTurn, turn: Turn, sampling: Sampling) -> Sequence:
        """The sequence of a turn that goes on. Raises CannotMeetError where its ids are not those of this model."""
        told = tuple(ids_after(turn.ids, kept.earlier.steps))
        if kept.history[: len(turn.ids)] != turn.ids or (self._backend.can_rewind and told != kept.history):
            raise _begun_elsewhere()
        saved = None
        if kept.held and kept.weights == self.weights():
            state = self._turns().state(kept.id)
            saved = SavedState(kept.held, state) if state else None
        hurried = turn.request.budget.seconds is not None
        return Sequence(kept.history, _anew(sampling, kept.earlier), turn, saved=saved, hurried=hurried)

    def watch(self, turn: Turn, sequence: Sequence, request: Request, model: ModelLabel, context: int) -> None:
        """Keep this turn whenever it stands still, and forget it when it has ended by itself. `request` with all that
        the model's defaults say."""
        self._watched[turn] = _Watched(sequence, request, model, context)
        turn.when_over(lambda: self._over(turn))

    def look(self) -> None:
        """Keep what stands still and is not kept yet. A disk that cannot be written is told, and costs nothing else."""
        for turn, watched in list(self._watched.items()):
            if turn.stands and turn.age != watched.kept_at:
                watched.kept_at = turn.age
                try:
                    self._keep(turn, watched)
                except KangaeError as error:
                    logging.getLogger("kangae").warning("The turn cannot be gone on with later: %s", error.detail)
                except MemoryError:
                    logging.getLogger("kangae").warning("The turn cannot be gone on with later: no memory is left.")

    def weights(self) -> str:
        """SHA-256 of the model's file, as its check found it; "" for a model without one."""
        if self._weights is None:
            from runtime.model_check import check_model

            path = Path(self._backend.facts.file)
            self._weights = ""
            if path.is_file():
                self._weights = check_model(path, cache_folder() / "checks").sha256
        return self._weights

    def _keep(self, turn: Turn, watched: _Watched) -> None:
        earlier, sequence = turn.earlier, watched.sequence
        if turn.cancelled and not earlier.steps:
            return  # nothing was produced
        history = tuple(sequence.history)
        if self._backend.can_rewind and ids_after(turn.ids, earlier.steps) != list(history):
            return  # it was broken off within a step
        saved = self._engine.saved(sequence) or SavedState(0, b"")
        file = Path(watched.model.file)
        model = replace(watched.model, file=str(file.absolute())) if file.is_file() else watched.model
        kept = KeptTurn(
            request=watched.request,
            model=model,
            weights=self.weights(),
            context=watched.context,
            history=history,
            held=saved.length,
            earlier=earlier,
            kept=time.time(),
        )
        short = not turn.cancelled or len(saved.state) <= _MOST_STOPPED
        self._turns().write(kept, saved.state if short else b"")

    def _over(self, turn: Turn) -> None:
        watched = self._watched.pop(turn, None)
        if watched is not None and watched.sequence.finish in ("stop", "length"):
            try:
                self._turns().remove(turn.request.id)
            except KangaeError as error:
                logging.getLogger("kangae").warning("%s", error.detail)


def _anew(sampling: Sampling, earlier: Earlier) -> Sampling:
    """A seed of its own for the draws to come: with the first one they would be those of the beginning once more."""
    drawn = sum(isinstance(step, Drew) for step in earlier.steps)
    return sampling if sampling.temperature == 0.0 else replace(sampling, seed=(sampling.seed + drawn) % _SEEDS)


def _begun_elsewhere() -> CannotMeetError:
    return CannotMeetError(
        "The turn was begun with another model, or with another chat template; ask the question again."
    )

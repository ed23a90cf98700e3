"""Keeping the turns of one engine while they run and when they stand still, and bringing kept ones back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

from models.errors import CannotMeetError, KangaeError
from runtime.backends.backend import Backend, State
from runtime.engine import Engine
from runtime.reply import ModelLabel
from runtime.request import Request, Resumable, Sampling
from runtime.sequence import SavedState, Sequence
from runtime.turn.kept_turn import KeptTurn
from runtime.turn.kept_turns import MOST_STATE, KeptTurns
from runtime.turn.lock import TurnLock
from runtime.turn.log import Drew, Earlier, all_ids, ids_after
from runtime.turn.turn import Turn

_MOST_HURRIED = 128 << 20
"""Bytes of cache that are written while someone waits for a turn to stop, or a deadline runs."""
_EVERY = 5.0
"""Seconds between two records of a turn that runs: what a crash costs at most."""
_SEEDS = 2**32 - 1  # the C library takes that very number for "any"


@dataclass
class _Watched:
    sequence: Sequence
    request: Request
    model: ModelLabel
    context: int
    written: float
    """The moment of the last record, or of its beginning."""
    lock: TurnLock | None = None
    """None: nothing of it is on disk yet."""
    held: int = 0
    """Its leading ids whose cache is on disk."""
    saved_at: int = -1
    """The steps of the turn when its cache was written."""
    kept_at: tuple[int, int] | None = None
    """The turn's age when it stood still and was kept last."""
    writing: threading.Thread | None = None
    told: bool = False
    """Whether it was told that it cannot be kept."""

    @property
    def busy(self) -> bool:
        """Whether a record is being written."""
        return self.writing is not None and self.writing.is_alive()

    def finish(self) -> None:
        """Let a record under way be written, so that none comes after a later one."""
        if self.writing is not None:
            self.writing.join()


class TurnKeeping:
    """`turns` gives the place where turns are kept; it is asked for it when the first one is. `weights`: SHA-256 of the
    open model's file, "" where it has none; only with one is a saved cache given to the backend. `clock` tells seconds.
    `look` belongs to the thread that steps the engine; all else may be called from any."""

    def __init__(
        self,
        engine: Engine,
        backend: Backend,
        turns: Callable[[], KeptTurns],
        *,
        weights: str,
        clock: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._backend = backend
        self._turns = turns
        self._weights = weights
        self._clock = clock
        self._watched: dict[Turn, _Watched] = {}
        self._changing = threading.Lock()

    def found(self, request: Resumable, *, context: int) -> tuple[KeptTurn, TurnLock]:
        """What is kept of a request that goes on, with what its reply should say of that, and the lock that makes it
        this process's alone. Raises UsageError where nothing is kept, or another process is at it, CannotMeetError
        where it cannot be gone on with in `context` tokens."""
        turns = self._turns()
        turns.read(request.id)  # what is not there needs no lock
        lock = turns.hold(request.id)
        try:
            kept = turns.read(request.id)
            if context < kept.context:
                raise CannotMeetError(
                    f"The turn was begun in a context of {kept.context} tokens, but the model is open with {context}; "
                    f"open it with --context {kept.context}."
                )
            if max(chain(kept.history, all_ids(kept.earlier.steps))) >= self._backend.vocabulary.size:
                raise _begun_elsewhere()
        except BaseException:
            lock.release()
            raise
        notes: tuple[str, ...] = ()
        if kept.weights != self._weights:
            notes = ("resumed: the model's file is not the one that the turn was begun with",)
        if kept.request.sampling is not None and kept.request.sampling.temperature > 0.0:
            notes = (*notes, "resumed: the draws began anew, so the text is not that of an uninterrupted turn")
        return replace(kept, earlier=replace(kept.earlier, notes=notes)), lock

    def sequence(self, kept: KeptTurn, turn: Turn, sampling: Sampling) -> Sequence:
        """The sequence of a turn that goes on. Raises CannotMeetError where its ids are not those of this model."""
        told = tuple(ids_after(turn.ids, kept.earlier.steps))
        if kept.history[: len(turn.ids)] != turn.ids or (self._backend.can_rewind and told != kept.history):
            raise _begun_elsewhere()
        saved = None
        if kept.held and self._weights and kept.weights == self._weights:
            state = self._turns().state(kept)
            saved = SavedState(kept.held, state) if state else None
        hurried = turn.request.budget.seconds is not None
        return Sequence(kept.history, _anew(sampling, kept.earlier), turn, saved=saved, hurried=hurried)

    def watch(
        self,
        turn: Turn,
        sequence: Sequence,
        request: Request,
        model: ModelLabel,
        context: int,
        lock: TurnLock | None = None,
    ) -> None:
        """Keep this turn every few seconds and whenever it stands still, and forget it when it has ended by itself.
        `request` with all that the model's defaults say; `lock`: that of a turn that goes on."""
        held = 0 if sequence.saved is None else sequence.saved.length
        watched = _Watched(sequence, request, model, context, self._clock(), lock, held)
        with self._changing:
            self._watched[turn] = watched
        turn.when_over(lambda: self._over(turn))

    def leave(self, turn: Turn) -> None:
        """It was not begun after all."""
        with self._changing:
            self._watched.pop(turn, None)

    def look(self) -> None:
        """Keep what stands still and is not kept yet, and what has run for a while. A disk that cannot be written is
        told, and costs nothing else."""
        with self._changing:
            turns = list(self._watched.items())
        for turn, watched in turns:
            if turn.stands:
                if turn.age != watched.kept_at:
                    watched.kept_at, watched.written = turn.age, self._clock()
                    watched.finish()
                    self._attempt(watched, partial(self._keep, turn, watched))
            elif not turn.cancelled and not watched.busy and self._clock() - watched.written >= _EVERY:
                watched.written = self._clock()
                self._note(turn, watched)

    def _keep(self, turn: Turn, watched: _Watched) -> None:
        """Keep a turn that stands still, with its cache."""
        sequence, state = watched.sequence, None
        steps, _ = turn.age
        if sequence.saved is None and steps != watched.saved_at:  # else the cache on disk is as good
            short = turn.cancelled or turn.request.budget.seconds is not None
            saved = self._engine.saved(sequence, _MOST_HURRIED if short else MOST_STATE) or SavedState(0, b"")
            watched.held, state = saved.length, saved.state
        kept = self._kept(turn, watched)
        if kept is not None:
            self._write(watched, kept, state)
            watched.saved_at = steps

    def _note(self, turn: Turn, watched: _Watched) -> None:
        """Keep the record of a turn that runs, in a thread of its own: the disk does not hold up the next token."""
        kept = self._kept(turn, watched)
        if kept is not None:
            write = partial(self._attempt, watched, partial(self._write, watched, kept, None))
            watched.writing = threading.Thread(target=write, name="record of a turn", daemon=True)
            watched.writing.start()

    def _kept(self, turn: Turn, watched: _Watched) -> KeptTurn | None:
        """The turn as it is to be kept; None: nothing was produced, or it was broken off within a step."""
        earlier, history = turn.earlier, tuple(watched.sequence.history)
        if not earlier.steps and (turn.cancelled or not turn.stands):
            return None
        if self._backend.can_rewind and ids_after(turn.ids, earlier.steps) != list(history):
            return None
        file = Path(watched.model.file)
        return KeptTurn(
            request=watched.request,
            model=replace(watched.model, file=str(file.absolute())) if file.is_file() else watched.model,
            weights=self._weights,
            context=watched.context,
            history=history,
            held=watched.held if watched.held <= len(history) else 0,
            earlier=earlier,
            kept=time.time(),
        )

    def _write(self, watched: _Watched, kept: KeptTurn, state: State | None) -> None:
        if watched.lock is None:
            watched.lock = self._turns().hold(kept.id)
        self._turns().write(kept, state)

    def _attempt(self, watched: _Watched, work: Callable[[], None]) -> None:
        """Do what may fail by the disk or the memory; that is told once."""
        try:
            work()
        except (KangaeError, OSError, MemoryError) as error:
            if not watched.told:
                watched.told = True
                why = error.detail if isinstance(error, KangaeError) else f"{error or 'no memory is left'}."
                logging.getLogger("kangae").warning("The turn cannot be gone on with later: %s", why)

    def _over(self, turn: Turn) -> None:
        with self._changing:
            watched = self._watched.pop(turn, None)
        if watched is None:
            return
        watched.finish()
        if watched.sequence.finish in ("stop", "length"):
            try:
                self._turns().remove(turn.request.id)
            except KangaeError as error:
                logging.getLogger("kangae").warning("%s", error.detail)
        if watched.lock is not None:
            watched.lock.release()


def _anew(sampling: Sampling, earlier: Earlier) -> Sampling:
    """A seed of its own for the draws to come: with the first one they would be those of the beginning once more."""
    drawn = sum(isinstance(step, Drew) for step in earlier.steps)
    return sampling if sampling.temperature == 0.0 else replace(sampling, seed=(sampling.seed + drawn) % _SEEDS)


def _begun_elsewhere() -> CannotMeetError:
    return CannotMeetError(
        "The turn was begun with another model, or with another chat template; ask the question again."
    )

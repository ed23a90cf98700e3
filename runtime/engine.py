"""The engine: many sequences in one loop of three verbs: plan the batch, decode it, take the tokens. It knows only
token ids."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence as Ids

import numpy as np

from models.errors import CannotMeetError
from runtime.backends.backend import Aborted, Backend, Slice, State
from runtime.control.scores import Scores
from runtime.prefix_cache import PrefixCache, common_prefix
from runtime.reply import Finish
from runtime.sequence import Move, SavedState, Sequence

_WORTH_WAITING = 16  # ids of a shared prompt that another sequence is about to decode
_CANDIDATES = 256
_BESIDE_HURRIED = 32
"""Prompt ids in a step that a sequence with a deadline shares: a full batch takes seconds on a CPU, and the time of its
answer with them."""


class Engine:
    """Drives one backend; `spare` of its sequences are kept free for forks. `submit` may be called from any thread;
    all else belongs to one thread at a time."""

    def __init__(self, backend: Backend, *, spare: int = 0) -> None:
        self._backend = backend
        self._spare = spare
        self._cache = PrefixCache(backend)
        self._longest = min(backend.context, backend.facts.context_length)
        self._arrivals: deque[Sequence] = deque()
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []
        self._arrived = 0
        self._crowded = False

    @property
    def busy(self) -> bool:
        """Whether any sequence is not over."""
        return bool(self._arrivals or self._waiting or self._running)

    def submit(self, sequence: Sequence) -> None:
        """Queue a sequence; it joins the batch as soon as a slot and room are free."""
        self._arrivals.append(sequence)

    def step(self) -> bool:
        """One round: at most one decode, at most one token for each sequence. False: all that is left is paused."""
        self.drop_cancelled()
        self._admit()
        batch = self._plan()
        if not batch:
            return self._drop_stuck()
        rows = self._decode(batch)
        for sequence, row in rows:
            if row is not None:
                self._take(sequence, row)
        return True

    def drop_cancelled(self) -> None:
        """End the sequences whose steer is cancelled, or whose time is up."""
        while self._arrivals:
            sequence = self._arrivals.popleft()
            sequence.order = self._arrived
            self._arrived += 1
            self._waiting.append(sequence)
        # forks first: the turn that waits for one bills what it cost
        for sequence in sorted([*self._running, *self._waiting], key=lambda one: not one.spare):
            if sequence.steer.cancelled:
                self._end(sequence, "cancelled")
            elif sequence.steer.overdue:
                self._end(sequence, "length")

    def recover(self) -> None:
        """After a step that was broken off anywhere (Ctrl-C): make the cache and the sequences agree again."""
        for sequence in list(self._running):
            if sequence.slot is None or sequence.sampler is None:
                self._running.remove(sequence)
                sequence.slot, sequence.decoded = None, 0
                self._waiting.appendleft(sequence)
        self._waiting = deque(sequence for sequence in dict.fromkeys(self._waiting) if sequence not in self._running)
        self._cache.release_all_but({sequence.slot for sequence in self._running})
        for sequence in self._running:
            if sequence.slot is not None:
                sequence.decoded = min(self._cache.repair(sequence.slot), len(sequence.history) - 1)
                self._cache.cut(sequence.slot, sequence.decoded)

    def held(self, ids: Ids[int]) -> int:
        """How many leading ids a sequence that began now would find in the cache. May be asked by any thread: beside a
        step it is an estimate."""
        return self._cache.reusable(ids)

    def saved(self, sequence: Sequence, most: int) -> SavedState | None:
        """What the cache holds of a sequence, to be gone on with by another process; None: nothing, or more than `most`
        bytes."""
        if sequence.slot is None or not sequence.decoded:
            return None
        state = self._backend.save(sequence.slot, most)
        return None if state is None else SavedState(sequence.decoded, state)

    def fail(self, error: Exception) -> None:
        """End every sequence with an error: the backend can no longer be trusted."""
        for sequence in [*self._running, *self._waiting, *self._arrivals]:
            self._end(sequence, "error", error)
        self._arrivals.clear()

    def _drop_stuck(self) -> bool:
        """Nothing runs: a fork that still finds no place never will, for who waits for it holds what it needs."""
        stuck = [sequence for sequence in self._waiting if sequence.spare]
        for sequence in stuck:
            self._end(sequence, "error", CannotMeetError("There is no room beside the thought for a trial answer."))
        return bool(stuck)

    # plan

    def _admit(self) -> None:
        if not self._running:
            self._crowded = False
        for sequence in list(self._waiting):
            if self._crowded or not self._cache.has_idle or (self._running and not self._backend.can_batch):
                return
            if self._cache.idle <= self._spare and not sequence.spare:
                continue
            if self._running and not self._fits(sequence):
                return
            if self._soon_shared(sequence):
                continue
            self._running.append(sequence)  # first, so that an interruption loses no sequence
            self._waiting.remove(sequence)
            if sequence.saved is not None:
                saved, sequence.saved = sequence.saved, None
                self._bring_back(sequence.history[: saved.length], saved.state)
            sequence.slot, sequence.decoded = self._cache.acquire(sequence.history)
            if sequence.sampler is None:
                sequence.sampler = self._backend.new_sampler(sequence.sampling)
                sequence.cached = sequence.decoded
                sequence.steer.progress(sequence.decoded, sequence.prefilled, sequence.cached)

    def _bring_back(self, ids: list[int], state: State) -> None:
        """Put a saved state into an idle slot, as a prefix that was decoded here. One that does not fit any more is
        left out: its ids are decoded again."""
        while ids and self._cache.best(ids) < len(ids):
            slot, _ = self._cache.acquire(ids)
            self._cache.cut(slot, 0)
            try:
                self._backend.restore(slot, state)
            except CannotMeetError:
                self._backend.rewind(slot, 0)
                self._cache.release(slot)
                if not self._cache.evict_idle():  # the room may be taken by what nobody needs
                    return
            else:
                self._cache.extend(slot, ids)
                self._cache.release(slot)

    def _fits(self, sequence: Sequence) -> bool:
        """An estimate; it counts shared prefixes once for a pair. What is estimated wrongly is put right by
        `_make_room`."""
        used = sum(len(other.history) - other.cached for other in self._running) + max(
            other.cached for other in self._running
        )
        return used + len(sequence.history) - self._cache.best(sequence.history) <= self._backend.context

    def _soon_shared(self, sequence: Sequence) -> bool:
        """Whether waiting lets the sequence fork a prefix that another one is decoding right now."""
        if not (self._backend.can_fork and self._backend.can_rewind):
            return False
        here = self._cache.best(sequence.history)
        for other in self._running:
            if other.steer.paused:
                continue
            coming = common_prefix(sequence.history, other.history)
            if coming > other.decoded and coming - here >= _WORTH_WAITING:
                return True
        return False

    def _plan(self) -> list[tuple[Sequence, Slice]]:
        """Sequences that draw come first, so that a long prompt never stalls them; prompts share what room is left in
        the batch, and little of it beside one that draws under a deadline."""
        room = prompts = self._backend.batch
        if any(one.hurried and one.started and not one.steer.paused for one in self._running):
            prompts = _BESIDE_HURRIED
        batch: list[tuple[Sequence, Slice]] = []
        for sequence in sorted(self._running, key=lambda one: (not one.started, one.order)):
            most = room if sequence.started else min(room, prompts)
            count = 0 if sequence.steer.paused else min(sequence.pending, most)
            if count and sequence.slot is not None:
                ids = sequence.history[sequence.decoded : sequence.decoded + count]
                batch.append(
                    (sequence, Slice(sequence.slot, sequence.decoded, ids, want_logits=count == sequence.pending))
                )
                room -= count
                prompts -= 0 if sequence.started else count
        own = {id(sequence) for sequence, _ in batch if not sequence.spare}
        for sequence in self._running:
            sequence.accompanied |= bool(own - {id(sequence)})
        return batch

    # decode

    def _decode(self, batch: list[tuple[Sequence, Slice]]) -> list[tuple[Sequence, int | None]]:
        if not batch:
            return []
        try:
            rows = self._backend.decode([part for _, part in batch])
        except Aborted:
            self._repair(batch)
            return []
        except CannotMeetError as error:
            self._repair(batch)
            self._make_room(error)
            return []
        for sequence, part in batch:
            self._cache.extend(part.sequence, part.ids)
            sequence.decoded += len(part.ids)
            if not sequence.started and sequence.decoded <= sequence.prefilled:
                sequence.steer.progress(sequence.decoded, sequence.prefilled, sequence.cached)
        return [(sequence, row) for (sequence, _), row in zip(batch, rows, strict=True)]

    def _repair(self, batch: list[tuple[Sequence, Slice]]) -> None:
        for sequence, part in batch:
            sequence.decoded = self._cache.repair(part.sequence)

    def _make_room(self, error: CannotMeetError) -> None:
        """The cache is full: forget idle prefixes, then send the youngest sequence back to wait until another one is
        over."""
        if self._cache.evict_idle():
            return
        if len(self._running) > 1:
            youngest = max(self._running, key=lambda one: one.order)
            self._running.remove(youngest)
            self._leave_slot(youngest, keep=False)
            self._waiting.appendleft(youngest)
            self._crowded = True
            return
        for sequence in list(self._running):
            if sequence.started:
                self._end(sequence, "length")
            else:
                self._end(sequence, "error", error)

    # take

    def _take(self, sequence: Sequence, row: int) -> None:
        move = sequence.steer.before_draw(Scores(self._backend, row))
        if not (move.force or move.finish or move.hold):
            token = self._draw(sequence, row)
            sequence.started = True
            sequence.history.append(token)
            move = sequence.steer.drawn(token)
        self._apply(sequence, move)
        if sequence.finish is None and len(sequence.history) > self._longest:
            self._end(sequence, "length")

    def _draw(self, sequence: Sequence, row: int) -> int:
        token = self._backend.sample(row, sequence.sampler)
        if sequence.steer.permits(token):
            return token
        logits = self._backend.logits(row)
        count = min(_CANDIDATES, len(logits))
        likely = np.argpartition(-logits, count - 1)[:count]
        for other in likely[np.argsort(-logits[likely], kind="stable")]:
            if other != token and sequence.steer.permits(int(other)):
                self._backend.accept(sequence.sampler, int(other))
                return int(other)
        return token

    def _apply(self, sequence: Sequence, move: Move) -> None:
        if move.fork is not None:
            fork = Sequence([*sequence.history, *move.fork.ids], move.fork.sampling, move.fork.steer, spare=True)
            self.submit(fork)
        if move.hold and sequence.slot is not None:
            sequence.decoded -= 1  # its last id is decoded again for the logits of the draw that was put off
            self._cache.cut(sequence.slot, sequence.decoded)
        if move.retract:
            length = len(sequence.history) - move.retract
            if length < sequence.decoded and not self._backend.can_rewind:
                length = sequence.decoded
            del sequence.history[length:]
            if length < sequence.decoded and sequence.slot is not None:
                self._cache.cut(sequence.slot, length)
                sequence.decoded = length
        if move.force:
            sequence.history.extend(move.force)
            for token in move.force:
                self._backend.accept(sequence.sampler, token)
        if move.finish is not None:
            self._end(sequence, move.finish)

    def _end(self, sequence: Sequence, finish: Finish, error: Exception | None = None) -> None:
        sequence.finish = finish
        if sequence in self._running:
            self._running.remove(sequence)
        if sequence in self._waiting:
            self._waiting.remove(sequence)
        self._leave_slot(sequence, keep=finish != "error")
        if sequence.sampler is not None:
            self._backend.free_sampler(sequence.sampler)
            sequence.sampler = None
        self._crowded = False
        sequence.steer.ended(finish, error)

    def _leave_slot(self, sequence: Sequence, *, keep: bool) -> None:
        if sequence.slot is None:
            return
        if not keep:
            self._cache.cut(sequence.slot, 0)
        self._cache.release(sequence.slot)
        sequence.slot, sequence.decoded = None, 0

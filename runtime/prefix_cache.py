"""What stands in the cache, slot by slot, so that a new prompt can start from the longest prefix that is already
there."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from runtime.backends.backend import Backend

_STRIDE = 256


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """How many leading ids are the same."""
    end = min(len(left), len(right))
    start = 0
    while start < end and left[start : start + _STRIDE] == right[start : start + _STRIDE]:
        start += _STRIDE
    start = min(start, end)
    while start < end and left[start] == right[start]:
        start += 1
    return start


@dataclass
class _Slot:
    ids: list[int] = field(default_factory=list)
    busy: bool = False
    used: int = 0


class PrefixCache:
    """Mirrors the backend's cache and is the only one to rewind or fork it. Idle slots keep their ids until room is
    needed."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._slots = [_Slot() for _ in range(backend.sequences)]
        self._clock = 0

    @property
    def has_idle(self) -> bool:
        """Whether a sequence can be taken in."""
        return self.idle > 0

    @property
    def idle(self) -> int:
        """How many sequences can be taken in."""
        return sum(not slot.busy for slot in self._slots)

    def best(self, ids: Sequence[int]) -> int:
        """Length of the longest prefix of `ids` that some slot holds."""
        return max(common_prefix(slot.ids, ids) for slot in self._slots)

    def reusable(self, ids: Sequence[int]) -> int:
        """How many of `ids` `acquire` would find, as far as can be told now. Any thread may ask: what a step changes at
        that moment is read before or after, never half."""
        wanted, usable = list(ids), [slot for slot in self._slots if not slot.busy or self._backend.can_fork]
        return max((self._usable(list(slot.ids), wanted) for slot in usable), default=0)

    def acquire(self, ids: list[int]) -> tuple[int, int]:
        """An idle slot that holds as long a prefix of `ids` as the cache offers, at least one id less than all.

        Returns (slot, length). A prefix in a busy slot, or in an idle one that holds more, is forked where the
        backend can. Call only while `has_idle`.
        """
        self._clock += 1
        idle = [number for number, slot in enumerate(self._slots) if not slot.busy]
        length, source = max(
            ((self._usable(self._slots[number].ids, ids), number) for number in range(len(self._slots))),
            key=lambda pair: (pair[0], pair[1] in idle),
        )
        others = sorted(
            (number for number in idle if number != source),
            key=lambda number: (len(self._slots[number].ids) > 0, self._slots[number].used),
        )
        whole = length == len(self._slots[source].ids)
        if length and source in idle and (whole or not others or not self._backend.can_fork):
            target = source
            self.cut(target, length)
        elif length and others and self._backend.can_fork:
            target = others[0]
            self.cut(target, 0)
            self._backend.fork(source, target)
            self._slots[target].ids = list(self._slots[source].ids)
            self.cut(target, length)
        else:
            best_idle = max(
                idle,
                key=lambda number: (
                    self._usable(self._slots[number].ids, ids),
                    not self._slots[number].ids,
                    -self._slots[number].used,
                ),
            )
            target, length = best_idle, self._usable(self._slots[best_idle].ids, ids)
            self.cut(target, length)
        slot = self._slots[target]
        slot.busy, slot.used = True, self._clock
        return target, length

    def release(self, slot: int) -> None:
        """The sequence is over; its ids stay for the next prompt."""
        self._clock += 1
        self._slots[slot].busy, self._slots[slot].used = False, self._clock

    def release_all_but(self, busy: Collection[int | None]) -> None:
        """Only these slots are in use; what others held cannot be relied on."""
        for number, slot in enumerate(self._slots):
            if slot.busy and number not in busy:
                slot.ids.clear()
                self._backend.rewind(number, 0)
                slot.busy = False

    def extend(self, slot: int, ids: Sequence[int]) -> None:
        """These ids were decoded at the slot's end."""
        self._slots[slot].ids.extend(ids)

    def cut(self, slot: int, length: int) -> None:
        """Forget all but the first `length` ids, in the backend as well."""
        if length < len(self._slots[slot].ids):
            self._backend.rewind(slot, length)
            del self._slots[slot].ids[length:]

    def repair(self, slot: int) -> int:
        """Bring the backend's slot back to the ids known here after a decode that was broken off; returns how many are
        left."""
        ids = self._slots[slot].ids
        if not self._backend.can_rewind:
            ids.clear()
        self._backend.rewind(slot, len(ids))
        return len(ids)

    def evict_idle(self) -> bool:
        """Empty the idle slot that was used longest ago; False if all idle slots are empty."""
        full = [slot for slot in self._slots if not slot.busy and slot.ids]
        if not full:
            return False
        oldest = min(full, key=lambda slot: slot.used)
        self.cut(next(number for number, slot in enumerate(self._slots) if slot is oldest), 0)
        return True

    def _usable(self, held: list[int], ids: Sequence[int]) -> int:
        """How much of a slot that holds `held` begins `ids`. A backend that cannot rewind can only go on where it
        ends."""
        length = min(common_prefix(held, ids), len(ids) - 1)
        return length if self._backend.can_rewind or length == len(held) else 0

"""The keys and values of many sequences for models of `transformers`, and attention over them.

All tokens of a decode go through the model as one row, whatever sequence they belong to; attention alone tells them
apart: it writes each run's keys and values behind those of its sequence and looks at that sequence only. The interface
is the one that transformers keeps for engines of this kind (its documentation, "Attention Interface").
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from models.errors import CannotMeetError, InternalError, ModelError
from runtime.backends.backend import Aborted, State

ATTENTION: Final = "kangae_sequences"
"""The name of `attend` among transformers' attention functions."""
_STEP: Final = 256
"""Room for a sequence grows by this many tokens at least."""
_UNKNOWN: Final = ("s_aux", "softcap", "position_bias", "head_mask")
"""What some models want of their attention and `attend` does not do."""


@dataclass(frozen=True)
class Run:
    """Tokens `start` to `end` of a decode: consecutive ones of a sequence, the first at `position`."""

    sequence: int
    position: int
    start: int
    end: int


class TorchCache:
    """Keys and values by sequence and layer, each of shape (heads, room, size of a head)."""

    def __init__(self, sequences: int, layers: int) -> None:
        self._layers = layers
        self._kept: list[list[tuple[Any, Any] | None]] = [[None] * layers for _ in range(sequences)]
        self.lengths = [0] * sequences
        self.stop = threading.Event()
        """Set: the next layer raises `Aborted`."""

    @property
    def tokens(self) -> int:
        """Tokens that all sequences keep."""
        return sum(self.lengths)

    def put(self, layer: int, run: Run, keys: Any, values: Any) -> tuple[Any, Any]:
        """Write a run's keys and values, shape (heads, tokens, size), behind what its sequence has; returns all of the
        sequence's up to there. Lengths stay as they are until `keep`."""
        if self.stop.is_set():
            raise Aborted
        end = run.position + run.end - run.start
        there = self._kept[run.sequence][layer]
        if there is None or there[0].shape[1] < end:
            there = self._kept[run.sequence][layer] = tuple(
                _longer(new, None if there is None else old, run.position, end)
                for new, old in zip((keys, values), there or (None, None), strict=True)
            )
        for kept, new in zip(there, (keys, values), strict=True):
            kept[:, run.position : end] = new
        return there[0][:, :end], there[1][:, :end]

    def keep(self, runs: Sequence[Run]) -> None:
        """What was put for these runs stands."""
        for run in runs:
            self.lengths[run.sequence] = run.position + run.end - run.start

    def fork(self, source: int, target: int) -> None:
        """Copy a sequence."""
        length = self.lengths[source]
        self._kept[target] = [
            None if pair is None or not length else tuple(one[:, :length].clone() for one in pair)
            for pair in self._kept[source]
        ]
        self.lengths[target] = length

    def cut(self, sequence: int, length: int) -> None:
        """Forget a sequence's tokens from `length` on; memory is given back where none are left."""
        self.lengths[sequence] = min(self.lengths[sequence], length)
        if not self.lengths[sequence]:
            self._kept[sequence] = [None] * self._layers

    def clear(self) -> None:
        """Forget everything."""
        for sequence in range(len(self.lengths)):
            self.cut(sequence, 0)

    def size(self, sequence: int) -> int:
        """Bytes of a sequence's keys and values as `write` gives them."""
        return sum(one[:, : self.lengths[sequence]].nbytes for pair in self._kept[sequence] if pair for one in pair)

    def write(self, sequence: int) -> bytes:
        """A sequence's keys and values, layer by layer."""
        import torch

        length = self.lengths[sequence]
        parts = (one[:, :length].contiguous().cpu() for pair in self._kept[sequence] if pair for one in pair)
        return b"".join(part.view(torch.uint8).numpy().tobytes() for part in parts)

    def read(self, sequence: int, data: memoryview, length: int, shapes: Sequence[tuple[Any, ...]], like: Any) -> None:
        """The reverse of `write`: `shapes` (heads, size) of each layer's keys and values, `like` a tensor of the
        cache's type and device."""
        import torch

        start, kept = 0, []
        for heads, size in shapes:
            count = heads * length * size * like.element_size()
            part = torch.frombuffer(bytearray(data[start : start + count]), dtype=torch.uint8).view(like.dtype)
            kept.append(part.reshape(heads, length, size).to(like.device))
            start += count
        self._kept[sequence] = list(zip(kept[::2], kept[1::2], strict=True))
        self.lengths[sequence] = length


def _longer(new: Any, old: Any, filled: int, length: int) -> Any:
    """Room for `length` tokens and some more, with the first `filled` of `old`."""
    room = -(-(length + length // 4) // _STEP) * _STEP
    made = new.new_empty((new.shape[0], room, new.shape[2]))
    if old is not None:
        made[:, :filled] = old[:, :filled]
    return made


def attend(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    sequence_cache: TorchCache | None = None,
    runs: Sequence[Run] = (),
    **options: Any,
) -> tuple[Any, None]:
    """Causal attention of each run over its own sequence. `query`, `key`, `value`: shape (1, heads, tokens, size);
    returns (1, tokens, heads, size). `sequence_cache` and `runs` come from the decode, through the model."""
    import torch

    if sequence_cache is None:
        raise InternalError("A model was called without the cache of its sequences.")
    if any(options.get(name) is not None for name in _UNKNOWN):
        raise ModelError("The model's attention is of a kind that only llama.cpp runs here; use a GGUF file of it.")
    parts = []
    for run in runs:
        here = slice(run.start, run.end)
        keys, values = sequence_cache.put(module.layer_idx, run, key[0, :, here], value[0, :, here])
        count, length = run.end - run.start, keys.shape[1]
        mask = None
        if sliding_window is not None and length > sliding_window:
            first = max(0, length - count - sliding_window + 1)
            keys, values, length = keys[:, first:], values[:, first:], length - first
        if count > 1:
            ends = torch.arange(length - count, length, device=query.device)[:, None]
            places = torch.arange(length, device=query.device)[None, :]
            mask = places <= ends
            if sliding_window is not None:
                mask &= places > ends - sliding_window
        parts.append(
            torch.nn.functional.scaled_dot_product_attention(
                query[:, :, here], keys[None], values[None], attn_mask=mask, scale=scaling, enable_gqa=True
            )
        )
    whole = parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
    return whole.transpose(1, 2).contiguous(), None


class SavedCache:
    """States of one model's sequences as bytes, behind a mark of whose they are."""

    def __init__(self, cache: TorchCache, identity: object, shapes: Sequence[tuple[int, int]], like: Any) -> None:
        self._cache, self._shapes, self._like = cache, shapes, like
        self._mark = b"kangae-torch-1:" + hashlib.sha256(repr(identity).encode()).digest()

    def save(self, sequence: int, most: int | None) -> State | None:
        """A sequence's state; None: it takes more than `most` bytes."""
        if most is not None and len(self._mark) + 8 + self._cache.size(sequence) > most:
            return None
        return self._mark + self._cache.lengths[sequence].to_bytes(8, "little") + self._cache.write(sequence)

    def length_of(self, state: State) -> int:
        """Tokens in a state. Raises `CannotMeetError` for one that is damaged or another model's."""
        start = len(self._mark)
        if state[:start] != self._mark:
            raise CannotMeetError("A saved state belongs to another model or another build; decode the text again.")
        length = int.from_bytes(state[start : start + 8], "little")
        values = sum(heads * size for heads, size in self._shapes)
        if len(state) - start - 8 != length * values * self._like.element_size():
            raise CannotMeetError("A saved state is damaged; decode the text again.")
        return length

    def restore(self, sequence: int, state: State) -> None:
        """Put a state, whose length was looked at before, into a sequence."""
        data = memoryview(state)[len(self._mark) + 8 :]
        self._cache.cut(sequence, 0)
        if length := self.length_of(state):
            self._cache.read(sequence, data, length, self._shapes, self._like)

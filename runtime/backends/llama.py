"""GGUF models through the C API of llama.cpp: many sequences in one batch over one shared cache, token ids only."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import CannotMeetError, InternalError, ResourceError
from runtime import machine
from runtime.backends.backend import Aborted, ModelFacts, Slice, State
from runtime.backends.held_interrupt import HeldInterrupt
from runtime.backends.llama_fit import CacheShape, choose_context, choose_threads, require_room
from runtime.backends.llama_library import LlamaLibrary, llama_library
from runtime.backends.llama_model import load_model, model_files, new_context, read_facts
from runtime.backends.llama_sampler import LlamaSampler
from runtime.backends.llama_state import LlamaState
from runtime.backends.llama_vocabulary import LlamaVocabulary
from runtime.request import Sampling


def open_llama(
    path: Path,
    *,
    context: int | None,
    sequences: int,
    memory_limit: int | None = None,
    threads: int | None = None,
    gpu_layers: int | None = None,
    widths: Mapping[int, int] | None = None,
    outputs: int | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> LlamaBackend:
    """Open the GGUF at `path` (of a split model: its first file).

    `context`: tokens of cache that all sequences share; None: as many as the model was trained for and the memory at
    hand carries, see `choose_context`. `memory_limit`: bytes that weights and cache may take; None: what is available
    now. `threads` None: see `choose_threads`. `gpu_layers` None: all, where the build has a GPU. `widths[n]`: decode n
    sequences of one token each in slices of so many. `outputs`: most rows of logits in a decode; None: one a sequence.
    `on_progress` is told the fraction of the weights that is loaded. Ctrl-C ends the loading.
    Raises `ModelError` (missing, unreadable), `ResourceError` (does not fit), `MissingPackageError`.
    """
    if sequences < 1:
        raise InternalError(f"A backend was asked for {sequences} sequences.")
    size = sum(file.stat().st_size for file in model_files(path))
    with HeldInterrupt() as interrupt:
        library = llama_library()
        layers = gpu_layers if gpu_layers is not None else (-1 if library.supports_gpu else 0)
        # On a GPU the library itself refuses what does not fit; here only the machine's own memory is known beforehand.
        on_gpu = library.supports_gpu and layers != 0
        memory = memory_limit if memory_limit is not None else machine.memory_available()
        if not on_gpu:
            require_room(path.name, weights=size, cache=0, memory=memory)

        def progress(fraction: float) -> bool:
            if on_progress is not None:
                on_progress(fraction)
            return not interrupt.told

        model = load_model(library, path, layers, progress)
        handle = None
        try:
            facts = read_facts(library, model, path, size)
            shape = CacheShape.of_model(library.c, model, facts.architecture, path)
            if context is None:
                context = choose_context(facts.context_length, shape, sequences, None if on_gpu else memory - size)
            if not on_gpu:
                require_room(path.name, weights=size, cache=shape.bytes(context), memory=memory, context=context)
            handle = new_context(
                library,
                model,
                path.name,
                context=context,
                sequences=sequences,
                threads=threads or choose_threads(size),
                outputs=outputs,
                flash=on_gpu or not shape.has_small_heads,
            )
            return LlamaBackend(library, model, handle, facts, sequences, widths or {}, context)
        except BaseException:
            if handle:
                library.c.llama_free(handle)
            library.c.llama_model_free(model)
            raise


class LlamaBackend:
    """An open model, as the protocol `Backend` says. Calls come from one thread at a time; `abort` from any."""

    can_fork = True
    can_batch = True

    def __init__(
        self,
        library: LlamaLibrary,
        model: Any,
        context: Any,
        facts: ModelFacts,
        sequences: int,
        widths: Mapping[int, int],
        limit: int,
    ) -> None:
        c = library.c
        self.facts = facts
        self.vocabulary = LlamaVocabulary(library, model)
        self._room = int(c.llama_n_ctx(context))
        # The library rounds a cache up (`llama_fit`), but what was asked for is the limit that a turn is held to.
        self.context = min(self._room, limit)
        self.sequences = sequences
        self.batch = int(c.llama_n_batch(context))
        self.can_rewind = not (c.llama_model_is_recurrent(model) or c.llama_model_is_hybrid(model))
        self._library, self._c = library, c
        self._model, self._context = model, context
        self._memory = c.llama_get_memory(context)
        self._samplers: set[LlamaSampler] = set()
        self.set_widths(widths)
        self._state = LlamaState(library, context, facts, self.vocabulary.size)
        self._make_batch()
        self._make_rows(c)
        self._make_abort_flag(c)
        self.buffers = library.buffers()
        """Bytes of the library's buffers by its own names."""

    def _make_batch(self) -> None:
        """One batch for all decodes: its arrays live as long as the backend, and are written by index."""
        c, room = self._c, self.batch
        self._token = (c.llama_token * room)()
        self._position = (c.llama_pos * room)()
        self._sequence = (c.llama_seq_id * room)()
        self._wanted = (ctypes.c_int8 * room)()
        self._one_sequence = (ctypes.c_int32 * room)(*([1] * room))
        pointer = ctypes.POINTER(c.llama_seq_id)
        width = ctypes.sizeof(c.llama_seq_id)
        start = ctypes.addressof(self._sequence)
        self._sequence_pointers = (pointer * room)(
            *(ctypes.cast(ctypes.c_void_p(start + width * index), pointer) for index in range(room))
        )
        self._batch = c.llama_batch(
            0, self._token, None, self._position, self._one_sequence, self._sequence_pointers, self._wanted
        )
        self._decode = c.llama_decode

    def _make_rows(self, c: Any) -> None:
        """Views of the library's logits by address; with `widths`, copies of those that a later slice overwrites."""
        address = ctypes.cast(c.llama_get_logits_ith, ctypes.c_void_p).value
        self._logits_address = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32)(address or 0)
        self._views: dict[int, npt.NDArray[np.float32]] = {}
        self._kept: npt.NDArray[np.float32] | None = None
        self._kept_rows = 0
        self._candidates: npt.NDArray[np.void] | None = None

    def _make_abort_flag(self, c: Any) -> None:
        """The library asks at every node of the graph whether to stop. A Python function there would take the
        interpreter's lock each time; `strlen` of a flag byte and its terminator answers 0 or 1 without it."""
        self._abort_flag = (ctypes.c_uint8 * 2)()
        strlen = ctypes.CDLL(None).strlen
        self._abort_check = ctypes.cast(strlen, c.ggml_abort_callback)
        self._keep_strlen = strlen
        c.llama_set_abort_callback(self._context, self._abort_check, ctypes.addressof(self._abort_flag))

    # --- decoding ---

    def decode(self, batch: Sequence[Slice]) -> list[int | None]:
        """Decode all slices (together at most `batch` tokens). Returns each slice's row of logits, or None.

        Raises `Aborted`; `CannotMeetError` when the cache is full (nothing of the batch is then kept).
        """
        if self._widths and len(batch) in self._widths and all(len(part.ids) == 1 for part in batch):
            return self._decode_in_widths(batch, self._widths[len(batch)])
        self._kept_rows = 0
        return self._decode_at_once(batch)

    def _decode_at_once(self, batch: Sequence[Slice]) -> list[int | None]:
        token, position, sequence, wanted = self._token, self._position, self._sequence, self._wanted
        rows: list[int | None] = []
        index, room = 0, self.batch
        for part in batch:
            ids = part.ids
            count = len(ids)
            end = index + count
            if end > room:
                raise InternalError(f"A decode of more than {room} tokens was asked for.")
            if count == 1:
                token[index] = ids[0]
                position[index] = part.position
                sequence[index] = part.sequence
                wanted[index] = part.want_logits
            else:
                token[index:end] = ids if isinstance(ids, list) else list(ids)
                position[index:end] = list(range(part.position, part.position + count))
                sequence[index:end] = [part.sequence] * count
                wanted[index:end] = [0] * count
                if count:
                    wanted[end - 1] = part.want_logits
            rows.append(end - 1 if part.want_logits else None)
            index = end
        self._run(index)
        return rows

    def _run(self, count: int) -> None:
        if self._abort_flag[0]:
            self._abort_flag[0] = 0
            raise Aborted
        if self._context is None:
            raise InternalError("The model is closed.")
        self._batch.n_tokens = count
        code = self._decode(self._context, self._batch)
        if code:
            self._fail(code, count)

    def _fail(self, code: int, count: int) -> None:
        self._wanted[:] = [0] * self.batch
        if code == 2:
            self._abort_flag[0] = 0
            raise Aborted
        if code == 1:
            raise CannotMeetError(
                f"The cache of {self._room} tokens is full; "
                "give a smaller budget or fewer votes, or open the model with a longer context."
            )
        words = self._library.last_words()
        if code == -2:
            raise ResourceError(f"The C library ran out of memory while decoding {count} tokens ({words}).")
        raise InternalError(f"The C library refused a batch of {count} tokens (code {code}: {words}).")

    def _decode_in_widths(self, batch: Sequence[Slice], width: int) -> list[int | None]:
        """Decode one-token slices `width` at a time. Rows of all but the last are copied: the next overwrites them."""
        size = self.vocabulary.size
        if self._kept is None or len(self._kept) < len(batch):
            self._kept = np.empty((max(self.sequences, len(batch)), size), np.float32)
        rows: list[int | None] = []
        self._kept_rows = 0
        for start in range(0, len(batch), width):
            part = self._decode_at_once(batch[start : start + width])
            if start + width >= len(batch):
                rows += part
                break
            for row in part:
                if row is None:
                    rows.append(None)
                else:
                    self._kept[self._kept_rows] = self._view(row)
                    rows.append(self.batch + self._kept_rows)
                    self._kept_rows += 1
        return rows

    def _view(self, row: int) -> npt.NDArray[np.float32]:
        if row >= self.batch:
            if self._kept is None or row - self.batch >= self._kept_rows:
                raise InternalError(f"Row {row} holds no logits.")
            kept: npt.NDArray[np.float32] = self._kept[row - self.batch]
            return kept
        # The C library asserts, and so ends the process, where no logits were asked for.
        if not self._wanted[row] or row >= self._batch.n_tokens:
            raise InternalError(f"Row {row} holds no logits.")
        address = self._logits_address(self._context, row)
        view = self._views.get(address)
        if view is None:
            if len(self._views) > 4 * self.sequences + 64:
                self._views.clear()
            memory = (ctypes.c_float * self.vocabulary.size).from_address(address)
            view = self._views[address] = np.frombuffer(memoryview(memory).cast("B"), np.float32)
        return view

    # --- sampling ---

    def new_sampler(self, sampling: Sampling) -> LlamaSampler:
        """A sampler with a random state of its own, from a `Sampling`."""
        sampler = LlamaSampler(self._library, sampling)
        self._samplers.add(sampler)
        return sampler

    def free_sampler(self, sampler: LlamaSampler) -> None:
        """Give a sampler back."""
        self._samplers.discard(sampler)
        sampler.free()

    def sample(self, row: int, sampler: LlamaSampler) -> int:
        """Draw the next id from a row and tell the sampler of it. Greedy takes the smallest id of the largest logit."""
        handle = sampler.handle
        if handle is None:
            return int(self._view(row).argmax())
        if row < self.batch and self._wanted[row]:
            return int(self._c.llama_sampler_sample(handle, self._context, row))
        return self._sample_kept(row, handle)

    def _sample_kept(self, row: int, handle: Any) -> int:
        """Run the chain over a copied row, through one array of candidates that is kept."""
        view = self._view(row)
        c = self._c
        if self._candidates is None:
            kind = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
            self._candidates = np.zeros(self.vocabulary.size, kind)
        candidates = self._candidates
        candidates["id"] = np.arange(self.vocabulary.size, dtype=np.int32)
        candidates["logit"] = view
        data = ctypes.cast(ctypes.c_void_p(candidates.ctypes.data), c.llama_token_data_p)
        listed = c.llama_token_data_array(data, self.vocabulary.size, -1, False)
        c.llama_sampler_apply(handle, ctypes.byref(listed))
        token = int(listed.data[listed.selected].id)
        c.llama_sampler_accept(handle, token)
        return token

    def accept(self, sampler: LlamaSampler, token: int) -> None:
        """Tell the sampler of a token that was not drawn."""
        sampler.accept(token)

    def logits(self, row: int) -> npt.NDArray[np.float32]:
        """Raw logits of a row, shape (vocabulary size,), a view valid until the next decode."""
        return self._view(row)

    # --- cache ---

    def fork(self, source: int, target: int) -> None:
        """Let `target` (emptied first) share the cache of `source`."""
        self._require_sequences(source, target)
        if source == target:
            return
        self._c.llama_memory_seq_rm(self._memory, target, -1, -1)
        self._c.llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def rewind(self, sequence: int, position: int) -> None:
        """Forget what stands at `position` and after; position 0 empties the sequence.

        Raises `CannotMeetError` where the model's memory cannot step back (recurrent and hybrid models, except to 0).
        """
        self._require_sequences(sequence)
        if not self._c.llama_memory_seq_rm(self._memory, sequence, position if position > 0 else -1, -1):
            raise CannotMeetError(
                f"This model ({self.facts.architecture}) keeps a running state and cannot step back to token "
                f"{position}; the sequence must be emptied and decoded again."
            )

    def length(self, sequence: int) -> int:
        """Tokens that stand in the cache for `sequence`: the next position to decode."""
        self._require_sequences(sequence)
        return int(self._c.llama_memory_seq_pos_max(self._memory, sequence)) + 1

    def save(self, sequence: int, most: int | None = None) -> State | None:
        """The sequence's state, to be restored by the same model and build; None: it takes more than `most` bytes."""
        self._require_sequences(sequence)
        return self._state.save(sequence, most)

    def restore(self, sequence: int, state: State) -> None:
        """Replace the sequence's state. Raises `CannotMeetError` if it is another model's, or the cache is full."""
        self._require_sequences(sequence)
        self._state.require_own(state)
        self._c.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        self._state.restore(sequence, state)

    def _require_sequences(self, *sequences: int) -> None:
        # The C library asserts on a sequence out of range.
        for sequence in sequences:
            if not 0 <= sequence < self.sequences:
                raise InternalError(f"Sequence {sequence} is not one of the {self.sequences} of this backend.")
        if self._context is None:
            raise InternalError("The model is closed.")

    # --- control ---

    def abort(self) -> None:
        """From any thread: interrupt the decode under way, or the next one, once."""
        self._abort_flag[0] = 1

    def preferred_width(self, count: int) -> int:
        """How many of `count` one-token sequences are decoded at once."""
        return self._widths.get(count, count)

    def set_widths(self, widths: Mapping[int, int]) -> None:
        """Decode `n` sequences of one token each in slices of `widths[n]` from now on; see `runtime.bench.speed`."""
        self._widths = {count: width for count, width in widths.items() if 0 < width < count}

    def close(self) -> None:
        """Free samplers, cache and model. Safe to call twice."""
        for sampler in self._samplers:
            sampler.free()
        self._samplers.clear()
        self._views.clear()
        if self._context is not None:
            self._c.llama_free(self._context)
            self._c.llama_model_free(self._model)
            self._context = self._model = None

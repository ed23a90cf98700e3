"""ONNX models, as onnxruntime-genai's builder writes them, through onnxruntime itself: many sequences, token ids alone.

onnxruntime-genai's own generator tells the logits of the last token only, and keeps one sequence each. The graph that
it runs takes any rows at any depth (`GroupQueryAttention` over a shared buffer), so it is driven here directly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import CannotMeetError, InternalError, ModelError
from runtime import machine
from runtime.backends.backend import Aborted, ModelFacts, Slice, State
from runtime.backends.folder_vocabulary import FolderVocabulary
from runtime.backends.llama_fit import CacheShape, choose_context, choose_threads, require_room
from runtime.backends.numpy_sampler import NumpySampler
from runtime.backends.onnx_cache import OnnxCache
from runtime.backends.onnx_folder import OnnxFolder
from runtime.backends.onnx_library import last_words, onnx_runtime
from runtime.backends.onnx_session import open_session, value_kind
from runtime.request import Sampling

_BATCH = 512
"""Most tokens in one decode."""
_LOGITS_BYTES = 64 << 20
"""Of the logits of one decode: the graph gives those of every token, wanted or not."""
_MARK = b"kangae-onnx-1:"


def open_onnx(
    path: Path,
    *,
    context: int | None,
    sequences: int,
    memory_limit: int | None = None,
    threads: int | None = None,
    parameters: int = 0,
    quant: str = "onnx",
) -> OnnxBackend:
    """Open the folder at `path`.

    `context`: tokens of cache that all sequences share; None: as many as the model was trained for and the memory at
    hand carries. `memory_limit`: bytes that weights and cache may take; None: what is available now. `parameters` and
    `quant` are told on where the folder does not say them. Raises `ModelError`, `ResourceError`, `MissingPackageError`.
    """
    if sequences < 1:
        raise InternalError(f"A backend was asked for {sequences} sequences.")
    runtime = onnx_runtime()
    folder = OnnxFolder.open(path)
    vocabulary = FolderVocabulary.open(path, size=folder.vocabulary, ends=folder.end_ids, extra="onnx")
    on_gpu = folder.provider == "cuda"
    memory = memory_limit if memory_limit is not None else machine.memory_available()
    if not on_gpu:
        require_room(path.name, weights=folder.bytes, cache=0, memory=memory)
    session = open_session(runtime, folder, threads or choose_threads(folder.bytes))
    kind = value_kind(session, folder, folder.names["past_key"] % 0)
    size = np.dtype(kind).itemsize
    shape = CacheShape(
        folder.layers * folder.heads * folder.head * size
    )  # it counts two bytes a value; keys and values
    if context is None:
        room = None if on_gpu else memory - folder.bytes
        context = choose_context(folder.context_length, shape, sequences, room)
    if not on_gpu:
        cache = shape.bytes(context)
        require_room(path.name, weights=folder.bytes, cache=cache, memory=memory, context=context)
    rows = min(context, folder.context_length)
    cells = OnnxCache(runtime, folder, kind, sequences, rows, "cuda" if on_gpu else "cpu")
    facts = folder.facts(parameters, quant)
    return OnnxBackend(runtime, session, folder, cells, facts, vocabulary, sequences=sequences, context=context)


@dataclass
class _Part:
    """Consecutive tokens of one sequence: slices of a batch that follow each other, and where each one ends."""

    sequence: int
    position: int
    ids: list[int] = field(default_factory=list)
    ends: list[tuple[int, int]] = field(default_factory=list)
    """(number of the slice in the batch, index of its last token here), of those that want logits."""


class OnnxBackend:
    """An open model, as the protocol `Backend` says. Calls come from one thread at a time; `abort` from any."""

    can_rewind = True
    can_batch = True

    def __init__(
        self,
        runtime: Any,
        session: Any,
        folder: OnnxFolder,
        cache: OnnxCache,
        facts: ModelFacts,
        vocabulary: FolderVocabulary,
        *,
        sequences: int,
        context: int,
    ) -> None:
        self.facts = facts
        self.vocabulary = vocabulary
        self.context = context
        self.sequences = sequences
        self.batch = max(sequences, min(_BATCH, _LOGITS_BYTES // (4 * vocabulary.size)))
        self.can_fork = cache.device == "cpu"
        self._folder, self._cache = folder, cache
        self._session: Any = session
        self._options = runtime.RunOptions()
        self._options.log_severity_level = 4
        self._bindings: dict[tuple[int, int], Any] = {}
        self._lengths = [0] * sequences
        self._logits_kind = value_kind(session, folder, folder.names["logits"])
        self._logits: npt.NDArray[Any] = np.zeros((self.batch, vocabulary.size), self._logits_kind)
        self._rows: list[int] = []
        self._wide: dict[int, npt.NDArray[np.float32]] = {}
        self._takes_positions = any(one.name == folder.names["positions"] for one in session.get_inputs())
        self._aborted = False
        shape = (
            facts.architecture,
            facts.quant,
            facts.bytes,
            vocabulary.size,
            folder.layers,
            folder.heads,
            folder.head,
        )
        told = repr((runtime.__version__, shape, str(cache.kind)))
        self._mark = _MARK + hashlib.sha256(told.encode()).digest()

    # --- decoding ---

    def decode(self, batch: Sequence[Slice]) -> list[int | None]:
        """Decode all slices (together at most `batch` tokens). Returns each slice's row of logits, or None.

        Raises `Aborted`; `CannotMeetError` when the cache is full (nothing of the batch is then kept).
        """
        if self._session is None:
            raise InternalError("The model is closed.")
        parts = self._parts(batch)
        if self._aborted:
            self._forget_abort()
            raise Aborted
        self._require_cells(parts)
        rows: list[int | None] = [None] * len(batch)
        self._rows, start = [], 0
        self._wide.clear()
        for run in _runs(parts):
            first = start
            start += sum(len(part.ids) for part in run)
            self._run(run, first)
            for number, part in enumerate(run):
                for index, end in part.ends:
                    # In a run of several rows each has one token, and so one row of logits.
                    rows[index] = first + (number if len(run) > 1 else end)
        for part in parts:
            self._lengths[part.sequence] = part.position + len(part.ids)
        self._rows = [row for row in rows if row is not None]
        return rows

    def _parts(self, batch: Sequence[Slice]) -> list[_Part]:
        parts: dict[int, _Part] = {}
        for index, one in enumerate(batch):
            self._require_sequences(one.sequence)
            part = parts.setdefault(one.sequence, _Part(one.sequence, one.position))
            held = self._lengths[one.sequence] + len(part.ids)
            if one.position != held or not one.ids:
                raise InternalError(f"{len(one.ids)} tokens at {one.position}, where {held} stand in the cache.")
            part.ids.extend(one.ids)
            if one.want_logits:
                part.ends.append((index, len(part.ids) - 1))
        count = sum(len(part.ids) for part in parts.values())
        if not 0 < count <= self.batch:
            raise InternalError(f"A decode of {count} tokens was asked for; 1 to {self.batch} are allowed.")
        return list(parts.values())

    def _require_cells(self, parts: list[_Part]) -> None:
        added = sum(len(part.ids) for part in parts)
        longest = max(part.position + len(part.ids) for part in parts)
        if sum(self._lengths) + added > self.context or longest > self._cache.room:
            raise CannotMeetError(
                f"The cache of {self.context} tokens is full; "
                "give a smaller budget or fewer votes, or open the model with a longer context."
            )

    def _run(self, run: list[_Part], first: int) -> None:
        """Run the graph once over neighbouring rows of the cache; logits go to the rows from `first` on."""
        names, count = self._folder.names, len(run)
        ids = np.array([part.ids for part in run], np.int64)
        ends = np.array([part.position + ids.shape[1] for part in run])
        mask = (np.arange(ends.max())[None, :] < ends[:, None]).astype(np.int64)
        binding = self._binding(run[0].sequence, count)
        binding.bind_input(names["ids"], "cpu", 0, np.int64, ids.shape, ids.ctypes.data)
        binding.bind_input(names["mask"], "cpu", 0, np.int64, mask.shape, mask.ctypes.data)
        if self._takes_positions:
            positions = np.array([np.arange(end - ids.shape[1], end) for end in ends], np.int64)
            binding.bind_input(names["positions"], "cpu", 0, np.int64, ids.shape, positions.ctypes.data)
        shape = (*ids.shape, self.vocabulary.size)
        place = int(self._logits[first:].ctypes.data)
        binding.bind_output(names["logits"], "cpu", 0, self._logits_kind, shape, place)
        try:
            self._session.run_with_iobinding(binding, self._options)
        except Exception as error:  # the package's own classes have no common one
            if self._aborted or self._options.terminate:
                self._forget_abort()
                raise Aborted from None
            raise ModelError(
                f"{self._folder.path} cannot be run ({last_words(error)}); export the model again."
            ) from error

    def _binding(self, row: int, count: int) -> Any:
        """A binding of the rows, kept: their places do not change."""
        found = self._bindings.get((row, count))
        if found is None:
            found = self._bindings[row, count] = self._session.io_binding()
            self._cache.bind(found, row, count)
        return found

    # --- sampling ---

    def new_sampler(self, sampling: Sampling) -> NumpySampler:
        """A sampler with a random state of its own."""
        return NumpySampler(sampling)

    def free_sampler(self, sampler: NumpySampler) -> None:
        """Nothing to free."""

    def sample(self, row: int, sampler: NumpySampler) -> int:
        """Draw the next id from a row. Greedy takes the smallest id of the largest logit."""
        return sampler.sample(self.logits(row))

    def accept(self, sampler: NumpySampler, token: int) -> None:
        """Tell the sampler of a token that was not drawn."""
        sampler.accept(token)

    def logits(self, row: int) -> npt.NDArray[np.float32]:
        """Raw logits of a row, shape (vocabulary size,), a view valid until the next decode; changes hold for the
        draw."""
        if row not in self._rows:
            raise InternalError(f"Row {row} holds no logits.")
        if self._logits.dtype == np.float32:
            view: npt.NDArray[np.float32] = self._logits[row]
            return view
        if row not in self._wide:
            self._wide[row] = self._logits[row].astype(np.float32)
        return self._wide[row]

    # --- cache ---

    def fork(self, source: int, target: int) -> None:
        """Let `target` hold what `source` holds: a copy."""
        self._require_sequences(source, target)
        if not self.can_fork:
            raise InternalError("A cache on a GPU is not copied here.")
        if source != target:
            self._cache.copy(source, target, self._lengths[source])
            self._lengths[target] = self._lengths[source]

    def rewind(self, sequence: int, position: int) -> None:
        """Forget what stands at `position` and after; position 0 empties the sequence."""
        self._require_sequences(sequence)
        self._lengths[sequence] = min(self._lengths[sequence], max(0, position))

    def length(self, sequence: int) -> int:
        """Tokens that stand in the cache for `sequence`: the next position to decode."""
        self._require_sequences(sequence)
        return self._lengths[sequence]

    def save(self, sequence: int, most: int | None = None) -> State | None:
        """The sequence's state, to be restored by the same model and build; None: it takes more than `most` bytes, or
        the cache is on a GPU."""
        self._require_sequences(sequence)
        length = self._lengths[sequence]
        if not self.can_fork or (most is not None and len(self._mark) + self._cache.bytes_of(length) > most):
            return None
        state = bytearray(self._mark)
        for part in self._cache.read(sequence, length):
            state += part.tobytes()
        return state

    def restore(self, sequence: int, state: State) -> None:
        """Replace the sequence's state. Raises `CannotMeetError` if it is another model's, or the cache is full."""
        self._require_sequences(sequence)
        mark = len(self._mark)
        if not self.can_fork or bytes(state[:mark]) != self._mark:
            raise CannotMeetError("A saved state belongs to another model or another build; decode the text again.")
        length, rest = divmod(len(state) - mark, self._cache.bytes_of(1))
        self._lengths[sequence] = 0
        if rest or length > self._cache.room or sum(self._lengths) + length > self.context:
            raise CannotMeetError("A saved state is damaged or does not fit into the cache; decode the text again.")
        if length:
            self._cache.write(sequence, length, np.frombuffer(state, np.uint8, offset=mark))
        self._lengths[sequence] = length

    def _require_sequences(self, *sequences: int) -> None:
        for sequence in sequences:
            if not 0 <= sequence < self.sequences:
                raise InternalError(f"Sequence {sequence} is not one of the {self.sequences} of this backend.")
        if self._session is None:
            raise InternalError("The model is closed.")

    # --- control ---

    def abort(self) -> None:
        """From any thread: interrupt the decode under way, or the next one, once."""
        self._aborted = True
        self._options.terminate = True

    def _forget_abort(self) -> None:
        self._options.terminate = False
        self._aborted = False

    def close(self) -> None:
        """Free the model. Safe to call twice."""
        self._bindings.clear()
        self._session = None
        self._rows = []


def _runs(parts: Iterable[_Part]) -> list[list[_Part]]:
    """Parts that are decoded at once: those of one token whose rows of the cache are neighbours; others alone."""
    runs: list[list[_Part]] = []
    for part in sorted(parts, key=lambda one: (len(one.ids) > 1, one.sequence)):
        last = runs[-1][-1] if runs else None
        if last and len(last.ids) == len(part.ids) == 1 and part.sequence == last.sequence + 1:
            runs[-1].append(part)
        else:
            runs.append([part])
    return runs

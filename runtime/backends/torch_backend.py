"""Models of `transformers` behind the protocol: all sequences of a decode in one pass, one cache for each."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import CannotMeetError, InternalError, ModelError
from runtime.backends.backend import Aborted, ModelFacts, Slice, State
from runtime.backends.folder_vocabulary import FolderVocabulary
from runtime.backends.numpy_sampler import NumpySampler
from runtime.backends.torch_cache import Run, SavedCache, TorchCache
from runtime.backends.torch_library import told
from runtime.backends.torch_model import TorchModel
from runtime.request import Sampling

_BATCH = 512


class TorchBackend:
    """An open model, as the protocol `Backend` says. Calls come from one thread at a time; `abort` from any.

    A fork copies: the cache's `context` counts the tokens of every sequence, shared prefixes each time.
    """

    can_rewind = True
    can_fork = True
    can_batch = True
    batch = _BATCH

    def __init__(
        self, model: TorchModel, facts: ModelFacts, vocabulary: FolderVocabulary, *, context: int, sequences: int
    ) -> None:
        import torch

        self.facts = facts
        self.vocabulary = vocabulary
        self.context = context
        self.sequences = sequences
        self.kernel = model.kernel
        """What multiplies the weights, as its package names it."""
        self._torch = torch
        self._model: TorchModel | None = model
        self._cache = TorchCache(sequences, len(model.shapes) // 2)
        like = torch.empty(0, dtype=model.dtype, device=model.device)
        identity = (facts.architecture, facts.quant, facts.parameters, facts.bytes, vocabulary.size, model.identity)
        self._saved = SavedCache(self._cache, identity, model.shapes, like)
        self._rows: npt.NDArray[np.float32] = np.empty((0, vocabulary.size), np.float32)

    def try_out(self) -> None:
        """Decode one token, so that a model that cannot answer is told of when it is opened. Raises `ModelError`."""
        row = self.decode([Slice(0, 0, (0,), True)])[0]
        if row is None or not np.isfinite(self.logits(row)).all():
            raise ModelError(f"{self.facts.file} gives no usable logits (its weights are damaged); fetch it again.")
        self.rewind(0, 0)

    # --- decoding ---

    def decode(self, batch: Sequence[Slice]) -> list[int | None]:
        """Decode all slices (together at most `batch` tokens). Returns each slice's row of logits, or None.

        Raises `Aborted`; `CannotMeetError` when the cache is full (nothing of the batch is then kept).
        """
        model = self._open_model()
        ids, runs, wanted = self._planned(batch)
        if self._cache.stop.is_set():
            self._cache.stop.clear()
            raise Aborted
        if self._cache.tokens + len(ids) > self.context:
            raise CannotMeetError(
                f"The cache of {self.context} tokens is full; "
                "give a smaller budget or fewer votes, or open the model with a longer context."
            )
        try:
            with told(f"{self.facts.file} could not decode {len(ids)} tokens"):
                self._rows = self._run(model, ids, runs, wanted)
        except Aborted:
            self._cache.stop.clear()
            raise
        self._cache.keep(runs)
        numbers = iter(range(len(wanted)))
        return [next(numbers) if part.want_logits else None for part in batch]

    def _planned(self, batch: Sequence[Slice]) -> tuple[list[int], list[Run], list[int]]:
        """All ids in order, the runs of one sequence each, and the places of the tokens whose logits are wanted."""
        ids: list[int] = []
        runs: list[Run] = []
        wanted: list[int] = []
        ends: dict[int, int] = {}
        for part in batch:
            self._require_sequences(part.sequence)
            stands = ends.get(part.sequence, self._cache.lengths[part.sequence])
            if part.position != stands or not part.ids:
                raise InternalError(f"{len(part.ids)} tokens were put at {part.position}, where {stands} stand.")
            start = len(ids)
            ids += part.ids
            ends[part.sequence] = stands + len(part.ids)
            if runs and runs[-1].sequence == part.sequence:
                runs[-1] = Run(part.sequence, runs[-1].position, runs[-1].start, len(ids))
            else:
                runs.append(Run(part.sequence, part.position, start, len(ids)))
            if part.want_logits:
                wanted.append(len(ids) - 1)
        if not 0 < len(ids) <= self.batch:
            raise InternalError(f"A decode of {len(ids)} tokens was asked for; 1 to {self.batch} can be done.")
        if min(ids) < 0 or max(ids) >= self.vocabulary.size:
            raise InternalError(f"A decode of an id outside of 0 to {self.vocabulary.size - 1} was asked for.")
        return ids, runs, wanted

    def _run(self, model: TorchModel, ids: list[int], runs: list[Run], wanted: list[int]) -> npt.NDArray[np.float32]:
        """Logits of the tokens at `wanted`, shape (wanted, vocabulary), as an array of our own that may be written."""
        torch = self._torch
        positions = [place for run in runs for place in range(run.position, run.position + run.end - run.start)]
        keep: Any = 1  # 0 would be all
        if wanted and wanted != [len(ids) - 1]:
            keep = torch.tensor(wanted, device=model.device)
        with torch.inference_mode():
            output = model.module(
                input_ids=torch.tensor([ids], device=model.device),
                position_ids=torch.tensor([positions], device=model.device),
                use_cache=False,
                logits_to_keep=keep,
                sequence_cache=self._cache,
                runs=runs,
            )
            if not wanted:
                return np.empty((0, self.vocabulary.size), np.float32)
            logits = output.logits[0, :, : self.vocabulary.size].float().cpu().numpy()
        return np.array(logits, np.float32)

    def logits(self, row: int) -> npt.NDArray[np.float32]:
        """Raw logits of a row, shape (vocabulary size,), a view valid until the next decode."""
        if not 0 <= row < len(self._rows):
            raise InternalError(f"Row {row} holds no logits.")
        view: npt.NDArray[np.float32] = self._rows[row]
        return view

    # --- sampling ---

    def new_sampler(self, sampling: Sampling) -> NumpySampler:
        """A sampler with a random state of its own, from a `Sampling`."""
        return NumpySampler(sampling)

    def free_sampler(self, sampler: NumpySampler) -> None:
        """Nothing to free."""

    def sample(self, row: int, sampler: NumpySampler) -> int:
        """Draw the next id from a row and tell the sampler of it. Greedy takes the smallest id of the largest logit."""
        return sampler.sample(self.logits(row))

    def accept(self, sampler: NumpySampler, token: int) -> None:
        """Tell the sampler of a token that was not drawn."""
        sampler.accept(token)

    # --- cache ---

    def fork(self, source: int, target: int) -> None:
        """Give `target` (emptied first) a copy of the cache of `source`."""
        self._require_sequences(source, target)
        if source != target:
            self._cache.fork(source, target)

    def rewind(self, sequence: int, position: int) -> None:
        """Forget what stands at `position` and after; position 0 empties the sequence."""
        self._require_sequences(sequence)
        self._cache.cut(sequence, max(0, position))

    def length(self, sequence: int) -> int:
        """Tokens that stand in the cache for `sequence`: the next position to decode."""
        self._require_sequences(sequence)
        return self._cache.lengths[sequence]

    def save(self, sequence: int, most: int | None = None) -> State | None:
        """The sequence's state, to be restored by the same model in the same form; None: more than `most` bytes."""
        self._require_sequences(sequence)
        return self._saved.save(sequence, most)

    def restore(self, sequence: int, state: State) -> None:
        """Replace the sequence's state. Raises `CannotMeetError` if it is another model's, or the cache is full."""
        self._require_sequences(sequence)
        length = self._saved.length_of(state)
        if self._cache.tokens - self._cache.lengths[sequence] + length > self.context:
            raise CannotMeetError("A saved state does not fit into the cache; decode the text again.")
        self._saved.restore(sequence, state)

    def _require_sequences(self, *sequences: int) -> None:
        for sequence in sequences:
            if not 0 <= sequence < self.sequences:
                raise InternalError(f"Sequence {sequence} is not one of the {self.sequences} of this backend.")
        self._open_model()

    # --- control ---

    def abort(self) -> None:
        """From any thread: interrupt the decode under way at its next layer, or the next decode, once."""
        self._cache.stop.set()

    def close(self) -> None:
        """Free model and cache. Safe to call twice."""
        if self._model is None:
            return
        on_gpu = self._model.device.type == "cuda"
        self._model = None
        self._cache.clear()
        self._rows = np.empty((0, self.vocabulary.size), np.float32)
        gc.collect()
        if on_gpu:
            self._torch.cuda.empty_cache()

    def _open_model(self) -> TorchModel:
        if self._model is None:
            raise InternalError("The model is closed.")
        return self._model

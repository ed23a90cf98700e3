"""A model rounded layer by layer: each matrix on the inputs that reach it through what was rounded before.

The order is that of GPTQ's "true sequential" (Frantar et al., arXiv 2210.17323): queries, keys and values; attention's
output; the widening matrices; the narrowing one. Before a matrix is rounded it is fitted to inputs that have changed
since (`quantize.rounding.drift`), for which the unrounded model is computed alongside.

In memory are one layer in float32 (two with the unrounded one), one Hessian (columns² × 4 bytes, 8 up to 4096 columns)
with the rounder's copies of it, and the hidden states three times over (tokens × hidden × 4 bytes each; five times with
the unrounded model's).
"""

from __future__ import annotations

import hashlib
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from models.errors import ModelError, WriteError
from models.gguf_file import GgufFile
from models.write_fault import write_error
from quantize.layerwise.decoder import DecoderLayer, embed, rms_norm
from quantize.layerwise.hessian_sum import DriftSum, HessianSum
from quantize.layerwise.layer_store import LayerStore
from quantize.layerwise.layer_stream import ATTENTION_OUTPUT, BATCH, NARROWING, LayerStream, text_places
from quantize.layerwise.shape import DecoderShape
from quantize.rounding.drift import corrected
from quantize.rounding.rounder import Rounded, Rounder

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]
Progress = Callable[[str, float], None]
Inputs = Callable[[slice, list[int]], Floats]

_SPARE_BYTES = 64 << 20
_ONE_THREAD_UP_TO = 768
"""Values of a hidden state up to which BLAS is given one thread: threads of it wait for one another actively, which
beside other work takes ten times as long as the arithmetic."""
_KEPT_BYTES = 9 / 8
"""Of a rounded value, at most: GPTQ's integers are kept as a byte each, Q8_0 has 34 bytes for 32 values."""
_OUTPUT = "output.weight"


@dataclass(frozen=True)
class LayerResults:
    """`store`: what was rounded, by GGUF's names; `seconds` that this run took."""

    store: LayerStore
    seconds: float


def run_layers(
    model: GgufFile,
    chunks: Sequence[Ids],
    rounder: Rounder,
    state: Path,
    *,
    sequential: bool = True,
    drift: bool = True,
    weights: Sequence[Floats] | None = None,
    progress: Progress | None = None,
) -> LayerResults:
    """Round every matrix of `model` (F16, BF16 or F32) that `rounder` has a type for.

    `chunks`: calibration texts as ids, (tokens,) each; `weights`: how much each token counts, of the same shapes.
    `state`: a folder that keeps finished layers; the same call goes on behind the last, with the same result, and ends
    at once where all is done. `sequential` False: a layer's matrices are all rounded on the inputs of the unrounded
    layer. `drift`: matrices are fitted to what earlier rounding made of their inputs, which takes twice the arithmetic
    around the rounding itself; in sequential runs alone. `progress` is told what is done and the share of the layers.

    Raises UsageError (an architecture that is not known here), ModelError (damaged weights or activations), WriteError.
    """
    started = time.monotonic()
    try:
        run = _Run(model, chunks, rounder, state, sequential, drift, weights, progress)
        with threadpool_limits(1 if run.shape.hidden <= _ONE_THREAD_UP_TO else None, "blas"):
            run.all_layers()
    except OSError as error:
        raise write_error(state, error, "choose another place with -o") from error
    return LayerResults(run.store, time.monotonic() - started)


class _Run:
    def __init__(
        self,
        model: GgufFile,
        chunks: Sequence[Ids],
        rounder: Rounder,
        state: Path,
        sequential: bool,
        drift: bool,
        weights: Sequence[Floats] | None,
        progress: Progress | None,
    ) -> None:
        self.model, self.rounder, self.sequential = model, rounder, sequential
        self.drift = drift = drift and sequential
        self.shape = DecoderShape.read(model)
        self.chunks = [chunk for chunk in chunks if len(chunk)]
        if not self.chunks:
            raise ModelError("There is no calibration text; give a longer one.")
        self.lengths = [len(chunk) for chunk in self.chunks]
        self.weights = None if weights is None else np.concatenate([one for one in weights if len(one)])
        self.progress = progress
        self.store = LayerStore.open(state, self._key())
        done = min(self.store.done, self.shape.layers)
        self.store.drop_after(self.shape.layers + 1 if done == self.shape.layers else done)
        self.first = done
        hidden_bytes = (
            (4 if drift else 2) * sum(self.lengths) * self.shape.hidden * 4
        )  # the old file stands until the new one is whole
        kept = _KEPT_BYTES * sum(math.prod(model.tensors[name].shape) for name in self._left())
        _require_room(state, hidden_bytes + math.ceil(kept) + _SPARE_BYTES)
        first = embed(model, np.concatenate(self.chunks)) if not done else None
        self.hidden, self.reference = self.store.hidden() if first is None else (first, first if drift else None)

    def all_layers(self) -> None:
        layers = self.shape.layers
        for number in range(self.first, layers):
            self._tell(f"layer {number + 1} of {layers}", number / layers)
            layer = DecoderLayer.read(self.model, self.shape, number)
            rounded = self._layer(layer) if self.sequential else self._layer_at_once(layer)
            self.store.put(number, rounded, self.hidden, self.reference)
        if _OUTPUT in self.model.tensors and _OUTPUT not in self.store and self._type(_OUTPUT):
            self._tell("output", 1.0)
            self.store.put(layers, self._output(), None)
        self._tell("rounded", 1.0)

    def _layer(self, layer: DecoderLayer) -> dict[str, Rounded]:
        """Round a layer's groups one after the other, and move the hidden states behind it."""
        own = LayerStream(layer, self.hidden, self.lengths)
        whole = None
        if self.reference is not None:
            unrounded = DecoderLayer(layer.shape, layer.number, dict(layer.tensors))
            whole = LayerStream(unrounded, self.reference, self.lengths)
        found: dict[str, Rounded] = {}
        for number, group in enumerate(layer.groups()):
            drift = self._drift(layer, number, group, own, whole) if whole is not None else None
            found |= self._group(layer, group, partial(own.inputs, number), drift)
            for stream in (own, whole):
                if stream is not None:
                    stream.pass_group(number)
        self.hidden = own.result
        self.reference = None if whole is None else whole.result
        return found

    def _drift(
        self, layer: DecoderLayer, number: int, group: tuple[str, ...], own: LayerStream, whole: LayerStream
    ) -> DriftSum | None:
        """How a group's inputs have changed; None where none of its matrices is rounded."""
        wanted = self._wanted(layer, group)
        if not wanted:
            return None
        rows, columns = layer.tensors[wanted[0]].shape
        adds = number in (ATTENTION_OUTPUT, NARROWING) and not layer.shape.post_norms
        total = DriftSum(columns, rows if adds else 0)
        for place, lengths in text_places(self.lengths, BATCH):
            total.add(
                whole.inputs(number, place, lengths),
                own.inputs(number, place, lengths),
                (whole.states(place), own.states(place)) if adds else None,
                None if self.weights is None else self.weights[place],
            )
        return total

    def _layer_at_once(self, layer: DecoderLayer) -> dict[str, Rounded]:
        """Round all groups of a layer on the inputs of the whole layer, then move the hidden states behind it."""
        whole = DecoderLayer(layer.shape, layer.number, dict(layer.tensors))
        hidden = self.hidden
        groups = layer.groups()

        def middle(place: slice, own: list[int]) -> Floats:
            attended = whole.attend(whole.attention_input(hidden[place]), own)
            return whole.after_attention(hidden[place], attended)

        inputs: list[Inputs] = [
            lambda place, _: whole.attention_input(hidden[place]),
            lambda place, own: whole.attend(whole.attention_input(hidden[place]), own),
            lambda place, own: whole.feed_forward_input(middle(place, own)),
            lambda place, own: whole.widen(whole.feed_forward_input(middle(place, own))),
        ]
        found: dict[str, Rounded] = {}
        for group, given in zip(groups, inputs, strict=True):
            found |= self._group(layer, group, given)
        self.hidden = self._through(lambda place, own: layer.forward(hidden[place], own))
        return found

    def _wanted(self, layer: DecoderLayer, group: tuple[str, ...]) -> list[str]:
        return [name for name in group if name in layer.tensors and self._type(layer.full_name(name))]

    def _group(
        self, layer: DecoderLayer, group: tuple[str, ...], inputs: Inputs, drift: DriftSum | None = None
    ) -> dict[str, Rounded]:
        """Round matrices that share their inputs; their rounded values take their place in `layer`."""
        wanted = self._wanted(layer, group)
        if not wanted:
            return {}
        total = HessianSum(layer.tensors[wanted[0]].shape[1])
        for place, lengths in text_places(self.lengths, BATCH):
            total.add(inputs(place, lengths), None if self.weights is None else self.weights[place])
        hessian = total.mean(layer.full_name(wanted[0]))
        del total
        cross, behind = (None, None) if drift is None else drift.means()
        found = {}
        for name in wanted:
            full, weights = layer.full_name(name), layer.tensors[name]
            if cross is not None:
                weights = corrected(weights, hessian, cross, behind)
            found[full] = self.rounder.round(full, weights, hessian)
            layer.tensors[name] = found[full].weights
        return found

    def _output(self) -> dict[str, Rounded]:
        norm = self.model.values("output_norm.weight").reshape(-1)
        total = HessianSum(self.shape.hidden)
        for place, _ in text_places(self.lengths, BATCH):
            total.add(
                rms_norm(self.hidden[place], norm, self.shape.epsilon),
                None if self.weights is None else self.weights[place],
            )
        return {_OUTPUT: self.rounder.round(_OUTPUT, self.model.values(_OUTPUT), total.mean(_OUTPUT))}

    def _through(self, part: Inputs) -> Floats:
        """What `part` makes of all texts, one run of whole texts after another."""
        found: Floats | None = None
        for place, lengths in text_places(self.lengths, BATCH):
            made = part(place, lengths)
            if found is None:
                found = np.empty((sum(self.lengths), made.shape[1]), np.float32)
            found[place] = made
        assert found is not None
        return found

    def _left(self) -> list[str]:
        """Matrices that are to be rounded and are not kept yet."""
        own = [name for name in self.model.tensors if name.startswith("blk.") or name == _OUTPUT]
        return [name for name in own if name not in self.store and self._type(name)]

    def _type(self, name: str) -> str:
        info = self.model.tensors[name]
        return self.rounder.type_of(name, info.shape[0]) if len(info.shape) == 2 else ""

    def _key(self) -> str:
        """All that decides the result: the file, the texts, the rounder."""
        digest = hashlib.sha256()
        status = self.model.path.stat()
        digest.update(
            f"{self.model.path.resolve()} {status.st_size} {status.st_mtime_ns} {self.sequential} {self.drift}".encode()
        )
        for chunk in self.chunks:
            digest.update(chunk.astype("<i4").tobytes() + b"|")
        if self.weights is not None:
            digest.update(self.weights.tobytes())
        return f"{digest.hexdigest()} {self.rounder.key}"

    def _tell(self, what: str, share: float) -> None:
        if self.progress is not None:
            self.progress(what, share)


def _require_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise WriteError(
            f"{folder.resolve()} has {free / 1e6:,.0f} MB free, but about {needed / 1e6:,.0f} MB are needed while the "
            "layers are rounded; free some, or choose another place with -o."
        )

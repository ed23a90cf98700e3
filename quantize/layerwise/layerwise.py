"""A model rounded layer by layer: each matrix on the inputs that reach it through what was rounded before.

The order is that of GPTQ's "true sequential" (Frantar et al., arXiv 2210.17323): queries, keys and values; attention's
output; the widening matrices; the narrowing one. Of the model one layer is in memory, with one Hessian: beside those
all hidden states, tokens × hidden × 4 bytes.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.errors import ModelError, WriteError
from models.gguf_file import GgufFile
from models.write_fault import write_error
from quantize.layerwise.decoder import DecoderLayer, embed, rms_norm
from quantize.layerwise.hessian_sum import HessianSum
from quantize.layerwise.layer_store import LayerStore, text_places
from quantize.layerwise.shape import DecoderShape
from quantize.rounding.rounder import Rounded, Rounder

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]
Progress = Callable[[str, float], None]
Inputs = Callable[[slice, list[int]], Floats]

_BATCH = 2048
"""Tokens of whole texts that go through a layer at once."""
_SPARE_BYTES = 64 << 20
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
    weights: Sequence[Floats] | None = None,
    progress: Progress | None = None,
) -> LayerResults:
    """Round every matrix of `model` (F16, BF16 or F32) that `rounder` has a type for.

    `chunks`: calibration texts as ids, (tokens,) each; `weights`: how much each token counts, of the same shapes.
    `state`: a folder that keeps finished layers; the same call goes on behind the last, with the same result, and ends
    at once where all is done. `sequential` False: a layer's matrices are all rounded on the inputs of the unrounded
    layer. `progress` is told what is done and the share of the layers.

    Raises UsageError (an architecture that is not known here), ModelError (damaged weights or activations), WriteError.
    """
    started = time.monotonic()
    try:
        run = _Run(model, chunks, rounder, state, sequential, weights, progress)
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
        weights: Sequence[Floats] | None,
        progress: Progress | None,
    ) -> None:
        self.model, self.rounder, self.sequential = model, rounder, sequential
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
        _require_room(state, 2 * sum(self.lengths) * self.shape.hidden * 4 + _SPARE_BYTES)
        self.hidden = self.store.hidden() if done else embed(model, np.concatenate(self.chunks))

    def all_layers(self) -> None:
        layers = self.shape.layers
        for number in range(self.first, layers):
            self._tell(f"layer {number + 1} of {layers}", number / layers)
            layer = DecoderLayer.read(self.model, self.shape, number)
            rounded = self._layer(layer) if self.sequential else self._layer_at_once(layer)
            self.store.put(number, rounded, self.hidden)
        if _OUTPUT in self.model.tensors and _OUTPUT not in self.store and self._type(_OUTPUT):
            self._tell("output", 1.0)
            self.store.put(layers, self._output(), None)
        self._tell("rounded", 1.0)

    def _layer(self, layer: DecoderLayer) -> dict[str, Rounded]:
        """Round a layer's groups one after the other, and move the hidden states behind it."""
        groups = layer.groups()
        hidden = self.hidden
        found = self._group(layer, groups[0], lambda place, _: layer.attention_input(hidden[place]))
        attended = self._through(lambda place, own: layer.attend(layer.attention_input(hidden[place]), own))
        found |= self._group(layer, groups[1], lambda place, _: attended[place])
        middle = self._through(lambda place, _: layer.after_attention(hidden[place], attended[place]))
        found |= self._group(layer, groups[2], lambda place, _: layer.feed_forward_input(middle[place]))

        def widened(place: slice, _: list[int]) -> Floats:
            return layer.widen(layer.feed_forward_input(middle[place]))

        found |= self._group(layer, groups[3], widened)
        self.hidden = self._through(lambda place, own: layer.after_feed_forward(middle[place], widened(place, own)))
        return found

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

    def _group(self, layer: DecoderLayer, group: tuple[str, ...], inputs: Inputs) -> dict[str, Rounded]:
        """Round matrices that share their inputs; their rounded values take their place in `layer`."""
        wanted = [name for name in group if name in layer.tensors and self._type(layer.full_name(name))]
        if not wanted:
            return {}
        total = HessianSum(layer.tensors[wanted[0]].shape[1])
        for place, lengths in text_places(self.lengths, _BATCH):
            total.add(inputs(place, lengths), None if self.weights is None else self.weights[place])
        hessian = total.mean(layer.full_name(wanted[0]))
        del total
        found = {}
        for name in wanted:
            full = layer.full_name(name)
            found[full] = self.rounder.round(full, layer.tensors[name], hessian)
            layer.tensors[name] = found[full].weights
        return found

    def _output(self) -> dict[str, Rounded]:
        norm = self.model.values("output_norm.weight").reshape(-1)
        total = HessianSum(self.shape.hidden)
        for place, _ in text_places(self.lengths, _BATCH):
            total.add(
                rms_norm(self.hidden[place], norm, self.shape.epsilon),
                None if self.weights is None else self.weights[place],
            )
        return {_OUTPUT: self.rounder.round(_OUTPUT, self.model.values(_OUTPUT), total.mean(_OUTPUT))}

    def _through(self, part: Inputs) -> Floats:
        """What `part` makes of all texts, one run of whole texts after another."""
        found: Floats | None = None
        for place, lengths in text_places(self.lengths, _BATCH):
            made = part(place, lengths)
            if found is None:
                found = np.empty((sum(self.lengths), made.shape[1]), np.float32)
            found[place] = made
        assert found is not None
        return found

    def _type(self, name: str) -> str:
        info = self.model.tensors[name]
        return self.rounder.type_of(name, info.shape[0]) if len(info.shape) == 2 else ""

    def _key(self) -> str:
        """All that decides the result: the file, the texts, the rounder."""
        digest = hashlib.sha256()
        status = self.model.path.stat()
        digest.update(f"{self.model.path.resolve()} {status.st_size} {status.st_mtime_ns} {self.sequential}".encode())
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

"""What each matrix of a model costs in KL when it alone is rounded: measured on held-out thoughts.

The texts are carried through the unrounded model layer by layer in numpy, and beside them one copy for each matrix that
has been rounded so far: every layer is read once. A matrix of a layer is measured at one type (`PROBE`) and the others
are scaled from it by the proxy loss, trace(E H Eᵀ), that rounding returns: near the minimum KL is quadratic in the
error. The embedding and the output are measured at every type.

Cost: matrices × layers / 2 passes of a layer over the held-out tokens, and a rounding for each matrix and type. Memory:
matrices × held-out tokens × hidden × 4 bytes, a layer in float32, and a Hessian; with 256 held-out tokens of a model
with 1.5 billion weights (196 matrices, 1,536 values) 0.3 GB for the copies, and on two cores the arithmetic of some
hundred times 256 tokens.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.catalogue import ModelEntry
from models.gguf_file import GgufFile, blocks_to_values
from models.locations import cache_folder
from models.whole_file import unfinished
from models.write_fault import write_error
from quantize.calibration.corpus import THINKING, Corpus
from quantize.layerwise.decoder import DecoderLayer, embed, rms_norm
from quantize.layerwise.hessian_sum import HessianSum
from quantize.layerwise.shape import DecoderShape
from quantize.making.thoroughness import Thoroughness
from quantize.quality.divergence import divergence
from quantize.rounding.compensation import GridRounder
from quantize.rounding.nearest import NearestRounder, quantize_rows
from quantize.rounding.rounder import Rounder

Floats = npt.NDArray[np.float32]
Progress = Callable[[float], None]

_VERSION = 1
LAYER_TYPES: Final = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0")
END_TYPES: Final = ("Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0")
NARROW_TYPES: Final = ("IQ4_NL", "Q5_0", "Q8_0")
"""Where rows are no multiple of 256."""
PROBE: Final = "Q3_K"
_NARROW_PROBE = "IQ4_NL"
EMBEDDING, OUTPUT = "token_embd.weight", "output.weight"
_HELD_TOKENS, _HELD_TOKENS_LARGE = 2_000, 256
_TOKENS, _TOKENS_LARGE = 12_000, 4_000
_ROWS = 8192
_PLACES = 128


def types_for(name: str, columns: int) -> tuple[str, ...]:
    """The types that a matrix with rows of `columns` may take, none where rows fit no block."""
    if columns % 256 == 0:
        return LAYER_TYPES if name.startswith("blk.") else END_TYPES
    return NARROW_TYPES if columns % 32 == 0 else ()


@dataclass(frozen=True)
class Sensitivities:
    """`kl[name][type]`: nats per token on `places` held-out thinking tokens with that tensor alone rounded."""

    kl: Mapping[str, Mapping[str, float]]
    places: int


def ensure_sensitivities(entry: ModelEntry, corpus: Corpus, *, progress: Progress | None = None) -> Sensitivities:
    """Those of a model on a corpus, from the cache where they were measured before. Raises UsageError (an architecture
    that is not known here), ModelError (damaged weights), WriteError."""
    from runtime.opening import find_hashed

    _, sha256 = find_hashed(str(entry.path))
    own = {"version": _VERSION, "model_sha256": sha256, "corpus_sha256": corpus.sha256}
    name = f"{entry.name}-sensitivities-{sha256[:12]}-{corpus.sha256[:12]}.json"
    target = cache_folder() / "calibration" / name
    kept = _kept(target, own)
    if kept is not None:
        return kept
    made = measure(GgufFile.open(entry.path), corpus, progress=progress)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with unfinished(target) as (part,):
            part.write_text(json.dumps({**own, "places": made.places, "kl": made.kl}, indent=1), "utf-8")
    except OSError as error:
        raise write_error(target, error, "set KANGAE_CACHE_DIR to another folder") from error
    return made


def _kept(target: Path, own: Mapping[str, Any]) -> Sensitivities | None:
    """What was measured before; None where it is missing, damaged or of something else."""
    try:
        found = json.loads(target.read_text("utf-8"))
        if any(found[key] != value for key, value in own.items()):
            return None
        kl = {str(name): {str(kind): float(kl) for kind, kl in by.items()} for name, by in found["kl"].items()}
        return Sensitivities(kl, int(found["places"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def split(corpus: Corpus, tokens: int, held: int) -> tuple[Corpus, Corpus]:
    """(to round on, held out): the last texts with thoughts in them up to `held` tokens, and the first of the others.
    A plain text counts throughout. A corpus of one text is both."""
    order = [number for number, own in enumerate(corpus.phases) if (own == THINKING).any()]
    order = order or list(range(len(corpus.chunks)))
    out: list[int] = []
    for number in reversed(order):
        if out and sum(len(corpus.chunks[one]) for one in out) >= held:
            break
        if len(out) + 1 < len(corpus.chunks):
            out.append(number)
    out = out or [0]
    rest = [number for number in range(len(corpus.chunks)) if number not in out] or out
    ids, phases = [corpus.chunks[one] for one in out], [corpus.phases[one] for one in out]
    texts = Corpus.of([one[:held] for one in ids], [one[:held] for one in phases], corpus.origin)
    other = Corpus.of([corpus.chunks[one] for one in rest], [corpus.phases[one] for one in rest], corpus.origin)
    return other.limited(tokens), texts


def measure(model: GgufFile, corpus: Corpus, *, progress: Progress | None = None) -> Sensitivities:
    """Measure every matrix of `model` (F16, BF16 or F32). Raises as `ensure_sensitivities` does."""
    large = not Thoroughness.of(model).drift
    own, held = split(corpus, _TOKENS_LARGE if large else _TOKENS, _HELD_TOKENS_LARGE if large else _HELD_TOKENS)
    return _Measuring(model, own, held, large, progress).all()


class _Measuring:
    """`copies`: for each tensor and type that was rounded alone, the hidden states of the held-out texts."""

    def __init__(self, model: GgufFile, own: Corpus, held: Corpus, large: bool, progress: Progress | None) -> None:
        self.model, self.large, self.progress = model, large, progress
        self.shape = DecoderShape.read(model)
        self.own_lengths, self.lengths = ([len(ids) for ids in one.chunks] for one in (own, held))
        self.own = embed(model, np.concatenate(own.chunks))
        self.ids = np.concatenate(held.chunks)
        self.hidden = embed(model, self.ids)
        self.head = OUTPUT if OUTPUT in model.tensors else EMBEDDING
        phases = np.concatenate(held.phases)
        follows = np.ones(len(phases), bool)
        follows[np.cumsum(self.lengths) - 1] = False
        thinks = np.append(phases[1:] == THINKING, False)
        self.places = np.flatnonzero(follows & thinks if (follows & thinks).any() else follows)
        self.copies: dict[tuple[str, str], Floats] = {}
        self.losses: dict[str, dict[str, float]] = {}

    def all(self) -> Sensitivities:
        for number in range(self.shape.layers):
            if self.progress is not None:
                self.progress(number / (self.shape.layers + 1))
            self._layer(DecoderLayer.read(self.model, self.shape, number))
        norm = self.model.values("output_norm.weight").reshape(-1)
        own = rms_norm(self.own, norm, self.shape.epsilon)
        importance = np.mean(np.square(own), axis=0)
        del own
        found: dict[str, dict[str, float]] = {}
        whole = self._logits(self.hidden, norm)
        for (name, kind), hidden in self.copies.items():
            found.setdefault(name, {})[kind] = self._divergence(whole, self._logits(hidden, norm))
        self.copies.clear()
        kl = {name: self._scaled(name, by) for name, by in found.items()}
        return Sensitivities({**kl, **self._ends(whole, norm, importance)}, len(self.places))

    def _scaled(self, name: str, measured: Mapping[str, float]) -> dict[str, float]:
        ((probe, kl),) = measured.items()
        losses = self.losses[name]
        return {kind: kl * loss / max(losses[probe], 1e-30) for kind, loss in losses.items()}

    def _layer(self, layer: DecoderLayer) -> None:
        for key, hidden in self.copies.items():
            self.copies[key] = layer.forward(hidden, self.lengths)
        for names, inputs in zip(layer.groups(), self._inputs(layer), strict=True):
            total = HessianSum(inputs.shape[1])
            total.add(inputs)
            hessian = total.mean(layer.full_name(names[0]))
            for name in names:
                self._probe(layer, name, hessian)
        self.own = layer.forward(self.own, self.own_lengths)
        self.hidden = layer.forward(self.hidden, self.lengths)

    def _inputs(self, layer: DecoderLayer) -> Iterator[Floats]:
        """What the groups of a layer are given, one after the other."""
        given = layer.attention_input(self.own)
        yield given
        attended = layer.attend(given, self.own_lengths)
        yield attended
        given = layer.feed_forward_input(layer.after_attention(self.own, attended))
        yield given
        yield layer.widen(given)

    def _probe(self, layer: DecoderLayer, name: str, hessian: npt.NDArray[Any]) -> None:
        full, weights = layer.full_name(name), layer.tensors[name]
        kinds = types_for(full, weights.shape[1])
        if not kinds:
            return
        probe = PROBE if PROBE in kinds else _NARROW_PROBE
        self.losses[full] = {}
        for kind in kinds:
            rounder: Rounder = (
                NearestRounder({full: kind}) if self.large else GridRounder({full: kind}, sweeps=1, passes=1)
            )
            rounded = rounder.round(full, weights, hessian)
            self.losses[full][kind] = rounded.loss
            if kind == probe:
                other = DecoderLayer(layer.shape, layer.number, {**layer.tensors, name: rounded.weights})
                self.copies[full, kind] = other.forward(self.hidden, self.lengths)

    def _ends(self, whole: Floats, norm: Floats, importance: Floats) -> dict[str, dict[str, float]]:
        """The embedding and the output, each measured at every type; tied ones are rounded together."""
        tied = self.head == EMBEDDING
        columns = self.model.info(EMBEDDING).shape[0]
        kinds = types_for(EMBEDDING, columns)
        found: dict[str, dict[str, float]] = {}
        if not tied:
            found[OUTPUT] = {
                kind: self._divergence(whole, self._logits(self.hidden, norm, kind, importance)) for kind in kinds
            }
        states = {}
        for kind in kinds:
            raw = embed(self.model, self.ids)
            states[kind] = blocks_to_values(quantize_rows(kind, raw, importance if tied else None), kind)
        for number in range(self.shape.layers):
            layer = DecoderLayer.read(self.model, self.shape, number)
            states = {kind: layer.forward(state, self.lengths) for kind, state in states.items()}
        found[EMBEDDING] = {
            kind: self._divergence(whole, self._logits(state, norm, kind if tied else None, importance))
            for kind, state in states.items()
        }
        return found

    def _logits(
        self, hidden: Floats, norm: Floats, kind: str | None = None, importance: Floats | None = None
    ) -> Floats:
        """Logits at the measured places, (places, vocabulary); with the output in the type `kind`. The vocabulary is
        worked through in parts: of a large one, float32 takes a gigabyte."""
        states = rms_norm(hidden[self.places], norm, self.shape.epsilon)
        raw, own = self.model.raw(self.head), self.model.info(self.head).type
        found = np.empty((len(states), len(raw)), np.float32)
        for start in range(0, len(raw), _ROWS):
            rows = blocks_to_values(raw[start : start + _ROWS], own)
            if kind is not None:
                rows = blocks_to_values(quantize_rows(kind, rows, importance), kind)
            found[:, start : start + len(rows)] = states @ rows.T
        return found

    def _divergence(self, whole: Floats, other: Floats) -> float:
        parts: Sequence[float] = [
            float(divergence(whole[at : at + _PLACES], other[at : at + _PLACES])[0].sum())
            for at in range(0, len(whole), _PLACES)
        ]
        return math.fsum(parts) / len(whole)

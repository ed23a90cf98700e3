"""What a GGUF's metadata say of its decoder, for the architectures that are computed here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from models.errors import ModelError, UsageError
from models.gguf_file import GgufFile
from quantize.layerwise.rope import Rope, read_rope

_INTERLEAVED: Final = frozenset({"llama", "smollm3"})
"""Architectures whose rotated values are neighbours; in the others they are half a head apart."""
ARCHITECTURES: Final = ("exaone", "exaone4", "llama", "phi3", "qwen2", "qwen3", "smollm3")
_NO_ROPE_STEP: Final = 4
_EXAONE_HYBRID_LAYERS: Final = 64
_EXAONE_WINDOW: Final = 4096


@dataclass(frozen=True)
class DecoderShape:
    """Sizes in values; `epsilon` of the RMS norms; `interleaved`: how rotated values lie."""

    architecture: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head: int
    epsilon: float
    rope: Rope
    window: int = 0

    @property
    def interleaved(self) -> bool:
        """Whether the two values that are rotated together are neighbours."""
        return self.architecture in _INTERLEAVED

    @property
    def post_norms(self) -> bool:
        """Whether norms stand behind attention and feed-forward, and none before them."""
        return self.architecture == "exaone4"

    @property
    def hybrid(self) -> bool:
        """Whether three layers of four see a window alone, and the fourth has no positions (EXAONE 4.0 32B)."""
        return self.architecture == "exaone4" and self.layers == _EXAONE_HYBRID_LAYERS

    def has_rope(self, layer: int) -> bool:
        """Whether a layer's queries and keys are rotated by their positions."""
        if self.architecture == "smollm3" or self.hybrid:
            return (layer + 1) % _NO_ROPE_STEP != 0
        return True

    def window_of(self, layer: int) -> int:
        """How many tokens back a layer sees, itself included; 0: all."""
        return self.window if self.hybrid and self.has_rope(layer) else 0

    @classmethod
    def read(cls, file: GgufFile) -> DecoderShape:
        """Raises UsageError for an architecture that is not computed here, ModelError where a size is missing."""
        name = file.header.architecture
        if name not in ARCHITECTURES:
            raise UsageError(
                f"{file.path} is a {name or 'model without an architecture'}; error compensation knows "
                f"{', '.join(ARCHITECTURES)}. Leave --compensate and gptq: out: --to gguf:TYPE with --calibrate works "
                "for every architecture."
            )
        heads, hidden = _whole(file, f"{name}.attention.head_count"), _whole(file, f"{name}.embedding_length")
        head = _whole(file, f"{name}.attention.key_length", hidden // max(1, heads))
        if _whole(file, f"{name}.attention.value_length", head) != head or _whole(file, f"{name}.expert_count", 0):
            raise UsageError(
                f"{file.path} has experts, or keys and values of different sizes, which error compensation does not "
                "know; leave --compensate and gptq: out."
            )
        epsilon = file.scalar(f"{name}.attention.layer_norm_rms_epsilon")
        return cls(
            architecture=name,
            layers=_whole(file, f"{name}.block_count"),
            hidden=hidden,
            heads=heads,
            kv_heads=_whole(file, f"{name}.attention.head_count_kv", heads),
            head=head,
            epsilon=float(epsilon) if isinstance(epsilon, float) else 1e-5,
            rope=read_rope(file, head),
            window=_whole(file, f"{name}.attention.sliding_window", _EXAONE_WINDOW),
        )


def _whole(file: GgufFile, key: str, usual: int | None = None) -> int:
    value = file.scalar(key)
    if value is None and usual is not None:
        return usual
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ModelError(f"{file.path} does not say {key}; convert the model again.")
    return value

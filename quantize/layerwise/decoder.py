"""One layer of a decoder in numpy: attention and feed-forward, taken apart where matrices meet their inputs.

Activations are float32, (tokens, values); several texts stand one behind the other, told apart by their lengths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.errors import ModelError
from models.gguf_file import GgufFile, blocks_to_values
from quantize.layerwise.rope import rotate
from quantize.layerwise.shape import DecoderShape

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]

QUERIES = 256
"""Tokens whose attention is worked out at once."""


@dataclass
class DecoderLayer:
    """A layer's tensors by the last part of their names ("attn_q.weight"); a matrix may be replaced by its rounded
    values while the layer is worked on."""

    shape: DecoderShape
    number: int
    tensors: dict[str, Floats]

    @classmethod
    def read(cls, file: GgufFile, shape: DecoderShape, number: int) -> DecoderLayer:
        """Raises ModelError where the layer is missing, or a tensor of it holds NaN or infinity."""
        prefix = f"blk.{number}."
        names = [name for name in file.tensors if name.startswith(prefix)]
        if not names:
            raise ModelError(f"{file.path} has no layer {number} of {shape.layers}; convert the model again.")
        tensors = {}
        for name in names:
            values = file.values(name)
            if not np.isfinite(values).all():
                raise ModelError(f"{name} holds NaN or infinity: the model is damaged; fetch it again.")
            tensors[name.removeprefix(prefix)] = values
        return cls(shape, number, tensors)

    def full_name(self, name: str) -> str:
        """As the GGUF calls a tensor of this layer."""
        return f"blk.{self.number}.{name}"

    def groups(self) -> list[tuple[str, ...]]:
        """Matrices that share their input, in the order in which they are met."""
        projections = ("attn_qkv",) if "attn_qkv.weight" in self.tensors else ("attn_q", "attn_k", "attn_v")
        widening = ("ffn_gate", "ffn_up") if "ffn_gate.weight" in self.tensors else ("ffn_up",)
        found = [projections, ("attn_output",), widening, ("ffn_down",)]
        return [tuple(f"{name}.weight" for name in group) for group in found]

    def attention_input(self, hidden: Floats) -> Floats:
        """What queries, keys and values are made of."""
        return hidden if self.shape.post_norms else self._norm(hidden, "attn_norm")

    def attend(self, inputs: Floats, lengths: Sequence[int]) -> Floats:
        """From the attention's input to what its output matrix is given: (tokens, heads × head)."""
        shape = self.shape
        queries, keys, values = self._projected(inputs)
        found = np.empty((len(inputs), shape.heads * shape.head), np.float32)
        start = 0
        for length in lengths:
            part = slice(start, start + length)
            found[part] = self._attend_text(queries[part], keys[part], values[part])
            start += length
        return found

    def after_attention(self, hidden: Floats, attended: Floats) -> Floats:
        """The hidden states with the attention's contribution."""
        contribution = self._linear(attended, "attn_output")
        if self.shape.post_norms:
            contribution = self._norm(contribution, "post_attention_norm")
        return hidden + contribution

    def feed_forward_input(self, hidden: Floats) -> Floats:
        """What the widening matrices are given."""
        return hidden if self.shape.post_norms else self._norm(hidden, "ffn_norm")

    def widen(self, inputs: Floats) -> Floats:
        """What the narrowing matrix is given: SwiGLU of the widened values."""
        up = self._linear(inputs, "ffn_up")
        if "ffn_gate.weight" in self.tensors:
            gate = self._linear(inputs, "ffn_gate")
        else:
            gate, up = np.split(up, 2, axis=1)
        # exp of a large negative gate's opposite would overflow; beyond 80 the share is 0 in float32 anyway
        widened: Floats = gate / (1 + np.exp(np.minimum(-gate, np.float32(80)))) * up
        return widened

    def after_feed_forward(self, hidden: Floats, widened: Floats) -> Floats:
        """The hidden states behind the layer."""
        contribution = self._linear(widened, "ffn_down")
        if self.shape.post_norms:
            contribution = self._norm(contribution, "post_ffw_norm")
        return hidden + contribution

    def forward(self, hidden: Floats, lengths: Sequence[int]) -> Floats:
        """All of it."""
        hidden = self.after_attention(hidden, self.attend(self.attention_input(hidden), lengths))
        return self.after_feed_forward(hidden, self.widen(self.feed_forward_input(hidden)))

    def _linear(self, inputs: Floats, name: str) -> Floats:
        found: Floats = inputs @ self.tensors[f"{name}.weight"].T
        bias = self.tensors.get(f"{name}.bias")
        return found if bias is None else found + bias.reshape(-1)

    def _norm(self, values: Floats, name: str) -> Floats:
        return rms_norm(values, self.tensors[f"{name}.weight"].reshape(-1), self.shape.epsilon)

    def _projected(self, inputs: Floats) -> tuple[Floats, Floats, Floats]:
        shape, tokens = self.shape, len(inputs)
        if "attn_qkv.weight" in self.tensors:
            ends = np.cumsum([shape.heads, shape.kv_heads]) * shape.head
            queries, keys, values = np.split(self._linear(inputs, "attn_qkv"), ends, axis=1)
        else:
            queries, keys, values = (self._linear(inputs, f"attn_{one}") for one in "qkv")
        queries = queries.reshape(tokens, shape.heads, shape.head)
        keys = keys.reshape(tokens, shape.kv_heads, shape.head)
        if "attn_q_norm.weight" in self.tensors:
            queries, keys = self._norm(queries, "attn_q_norm"), self._norm(keys, "attn_k_norm")
        return queries, keys, values.reshape(tokens, shape.kv_heads, shape.head)

    def _attend_text(self, queries: Floats, keys: Floats, values: Floats) -> Floats:
        shape, length = self.shape, len(queries)
        if shape.has_rope(self.number):
            cosines, sines = shape.rope.tables(length)
            queries = rotate(queries, cosines, sines, interleaved=shape.interleaved)
            keys = rotate(keys, cosines, sines, interleaved=shape.interleaved)
        share = shape.heads // shape.kv_heads
        grouped = queries.reshape(length, shape.kv_heads, share, shape.head).transpose(1, 2, 0, 3)
        turned = keys.transpose(1, 2, 0)[:, None]  # (kv heads, 1, head, tokens)
        held = values.transpose(1, 0, 2)[:, None]
        scale = np.float32(shape.head**-0.5)
        found = np.empty((length, shape.heads * shape.head), np.float32)
        window = shape.window_of(self.number)
        for start in range(0, length, QUERIES):
            end = min(length, start + QUERIES)
            scores = (grouped[:, :, start:end] @ turned[..., :end]) * scale
            behind = np.arange(start, end)[:, None] - np.arange(end)[None]
            hidden_from = (behind < 0) | (behind >= window) if window else behind < 0
            scores[:, :, hidden_from] = -np.inf
            scores -= scores.max(axis=-1, keepdims=True)
            np.exp(scores, out=scores)
            scores /= scores.sum(axis=-1, keepdims=True)
            mixed = scores @ held[:, :, :end]
            found[start:end] = mixed.transpose(2, 0, 1, 3).reshape(end - start, -1)
        return found


def rms_norm(values: Floats, weight: Floats, epsilon: float) -> Floats:
    """Root mean square norm over the last axis."""
    mean = np.mean(np.square(values, dtype=np.float32), axis=-1, keepdims=True, dtype=np.float64)
    return (values * (1 / np.sqrt(mean + epsilon)).astype(np.float32)) * weight


def embed(file: GgufFile, ids: Ids) -> Floats:
    """The embeddings of tokens, (tokens, hidden). Raises ModelError for ids that the model does not have."""
    raw = file.raw("token_embd.weight")
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < len(raw):
        raise ModelError(f"The calibration text holds tokens that {file.path} does not have; calibrate again.")
    return blocks_to_values(raw[ids], file.info("token_embd.weight").type)


def logits(file: GgufFile, ids: Ids, replaced: Mapping[str, Floats] | None = None) -> Floats:
    """Logits after every token of a text, float32 (tokens, vocabulary). `replaced`: matrices by their full names that
    stand in for the file's own. Raises as `DecoderLayer.read` and `DecoderShape.read` do."""
    own = replaced or {}
    shape = DecoderShape.read(file)
    hidden = own["token_embd.weight"][ids] if "token_embd.weight" in own else embed(file, ids)
    for number in range(shape.layers):
        layer = DecoderLayer.read(file, shape, number)
        for name in layer.tensors:
            if layer.full_name(name) in own:
                layer.tensors[name] = own[layer.full_name(name)]
        hidden = layer.forward(hidden, [len(ids)])
    hidden = rms_norm(hidden, file.values("output_norm.weight").reshape(-1), shape.epsilon)
    head = "output.weight" if "output.weight" in file.tensors else "token_embd.weight"
    found: Floats = hidden @ (own[head] if head in own else file.values(head)).T
    return found

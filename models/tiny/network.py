"""The network of the model that ships: a compact Qwen2, written so that its weights carry the names of
`transformers.Qwen2ForCausalLM` and load there unchanged.

Source of the architecture: Qwen2 technical report (arXiv:2407.10671): RMSNorm before each block, rotary positions in
the half-split layout, grouped-query attention with biases on q, k and v, SwiGLU, and here one matrix for input and
output.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn


@dataclass(frozen=True)
class NetworkShape:
    """Sizes of the network; every row of a matrix is a multiple of 256 at the default, as K-quants want it."""

    vocabulary: int = 2048
    hidden: int = 256
    layers: int = 4
    feed_forward: int = 512
    heads: int = 8
    key_value_heads: int = 2
    context: int = 2048
    theta: float = 10_000.0
    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        if self.hidden % self.heads or self.heads % self.key_value_heads or (self.hidden // self.heads) % 2:
            raise ValueError(
                f"hidden {self.hidden}, heads {self.heads} and key_value_heads {self.key_value_heads} do not fit: "
                "heads must divide hidden into even parts, and key_value_heads must divide heads"
            )

    @property
    def head_size(self) -> int:
        """Numbers per head."""
        return self.hidden // self.heads

    def to_dict(self) -> dict[str, int | float]:
        """The sizes as plain values, for a checkpoint."""
        return asdict(self)


def rotary_tables(shape: NetworkShape) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary positions, each (context, head_size), the half-size angles repeated twice."""
    exponents = torch.arange(0, shape.head_size, 2, dtype=torch.float32) / shape.head_size
    angles = torch.outer(torch.arange(shape.context, dtype=torch.float32), shape.theta**-exponents)
    doubled = torch.cat((angles, angles), dim=-1)
    return doubled.cos(), doubled.sin()


def rotate(values: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotary positions on `values` (..., length, head_size), the half-split layout of Hugging Face."""
    first, second = values.chunk(2, dim=-1)
    return values * cosines + torch.cat((-second, first), dim=-1) * sines


class Norm(nn.Module):
    """Root-mean-square normalization over the last dimension (arXiv:1910.07467)."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, values: Tensor) -> Tensor:
        """(..., size) to (..., size)."""
        scale = torch.rsqrt(values.float().pow(2).mean(-1, keepdim=True) + self.epsilon)
        return (values.float() * scale).to(values.dtype) * self.weight


class Attention(nn.Module):
    """Causal grouped-query attention."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.heads, self.key_value_heads, self.head_size = shape.heads, shape.key_value_heads, shape.head_size
        self.q_proj = nn.Linear(shape.hidden, shape.heads * shape.head_size)
        self.k_proj = nn.Linear(shape.hidden, shape.key_value_heads * shape.head_size)
        self.v_proj = nn.Linear(shape.hidden, shape.key_value_heads * shape.head_size)
        self.o_proj = nn.Linear(shape.heads * shape.head_size, shape.hidden, bias=False)

    def forward(self, values: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        """(batch, length, hidden) to the same; padding stands on the right, where causality hides it."""
        batch, length, _ = values.shape
        query = self.q_proj(values).view(batch, length, self.heads, self.head_size).transpose(1, 2)
        key = self.k_proj(values).view(batch, length, self.key_value_heads, self.head_size).transpose(1, 2)
        value = self.v_proj(values).view(batch, length, self.key_value_heads, self.head_size).transpose(1, 2)
        mixed = functional.scaled_dot_product_attention(
            rotate(query, cosines, sines), rotate(key, cosines, sines), value, is_causal=True, enable_gqa=True
        )
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, length, -1))  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """SwiGLU (arXiv:2002.05202)."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden, shape.feed_forward, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.feed_forward, bias=False)
        self.down_proj = nn.Linear(shape.feed_forward, shape.hidden, bias=False)

    def forward(self, values: Tensor) -> Tensor:
        """(..., hidden) to (..., hidden)."""
        return self.down_proj(functional.silu(self.gate_proj(values)) * self.up_proj(values))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """One decoder layer: attention and feed-forward, each normalized before and added after."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = FeedForward(shape)
        self.input_layernorm = Norm(shape.hidden, shape.epsilon)
        self.post_attention_layernorm = Norm(shape.hidden, shape.epsilon)

    def forward(self, values: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        """(batch, length, hidden) to the same."""
        values = values + self.self_attn(self.input_layernorm(values), cosines, sines)
        return values + self.mlp(self.post_attention_layernorm(values))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Embedding, layers and the last normalization: token ids in, hidden states out."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = Norm(shape.hidden, shape.epsilon)
        cosines, sines = rotary_tables(shape)
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("sines", sines, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """(batch, length) ids to (batch, length, hidden); length at most the context."""
        values = self.embed_tokens(ids)
        cosines = self.get_buffer("cosines")[: ids.shape[1]].to(values.dtype)
        sines = self.get_buffer("sines")[: ids.shape[1]].to(values.dtype)
        for layer in self.layers:
            values = layer(values, cosines, sines)
        return self.norm(values)  # type: ignore[no-any-return]


class Network(nn.Module):
    """The language model; `state_dict()` has exactly the names of `Qwen2ForCausalLM` with tied embeddings."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        self.model = Decoder(shape)

    def initialize(self, seed: int) -> None:
        """Normal weights of deviation 0.02, smaller where a block writes into the residual stream."""
        generator = torch.Generator().manual_seed(seed)
        residual = 0.02 / math.sqrt(2 * self.shape.layers)
        with torch.no_grad():
            for name, weight in self.named_parameters():
                if weight.ndim == 2:
                    deviation = residual if name.endswith(("o_proj.weight", "down_proj.weight")) else 0.02
                    weight.copy_(torch.empty(weight.shape).normal_(0.0, deviation, generator=generator))
                elif name.endswith("bias"):
                    weight.zero_()

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (batch, length, vocabulary) for ids (batch, length)."""
        return functional.linear(self.model(ids), self.model.embed_tokens.weight)

    def head_loss(self, states: Tensor, positions: Tensor, targets: Tensor) -> Tensor:
        """Sum of the cross entropies at `positions` (flat indexes into batch x length), where there is a loss at all.

        The output matrix is applied to those positions only: prompts, padding and masked slips cost nothing there.
        """
        chosen = states.reshape(-1, states.shape[-1]).index_select(0, positions)
        logits = functional.linear(chosen, self.model.embed_tokens.weight)
        return functional.cross_entropy(logits.float(), targets, reduction="sum")

    def parameter_count(self) -> int:
        """Number of weights."""
        return sum(weight.numel() for weight in self.parameters())

"""The architectures that are converted here: how their tensors are called on either side, and whose rows move.

Names: transformers' modeling files against llama.cpp's gguf-py/gguf/tensor_mapping.py; rows: its
conversion/llama.py, permute.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from models.errors import ModelError
from models.huggingface.config import ModelConfig

_ATTENTION = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
}
_GATED = {"mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
_NORMS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
_HEAD_NORMS = {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
_TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_LAYER = re.compile(r"(.+?\.)(0|[1-9]\d{0,4})\.(.+)\.(weight|bias)")
_IGNORED = (".attention.masked_bias", ".attention.bias", ".rotary_emb.inv_freq", ".attention.rotary.inv_freq")
"""Buffers that old checkpoints carry; they are computed again."""
_MOST_LAYERS, _MOST_HEAD_SIZE = 65_536, 1 << 20
"""A damaged config.json may ask for any number; lists of that length are made."""


@dataclass(frozen=True)
class Family:
    """What is true of every model of one transformers class."""

    class_name: str
    gguf: str
    layers: Mapping[str, str]
    """Names inside of a layer, without ".weight" and ".bias"."""
    top: Mapping[str, str]
    layer_prefix: str = "model.layers."
    rotated_halves: bool = False
    """llama.cpp turns neighbouring pairs of a head where transformers turns its two halves: rows of q and k move."""


FAMILIES: tuple[Family, ...] = (
    Family("Qwen2ForCausalLM", "qwen2", {**_ATTENTION, **_GATED, **_NORMS}, _TOP),
    Family("Qwen3ForCausalLM", "qwen3", {**_ATTENTION, **_GATED, **_NORMS, **_HEAD_NORMS}, _TOP),
    Family("LlamaForCausalLM", "llama", {**_ATTENTION, **_GATED, **_NORMS}, _TOP, rotated_halves=True),
    Family("SmolLM3ForCausalLM", "smollm3", {**_ATTENTION, **_GATED, **_NORMS}, _TOP, rotated_halves=True),
    Family(
        "Phi3ForCausalLM",
        "phi3",
        {
            "self_attn.qkv_proj": "attn_qkv",
            "self_attn.o_proj": "attn_output",
            "mlp.gate_up_proj": "ffn_up",
            "mlp.down_proj": "ffn_down",
            **_NORMS,
        },
        _TOP,
    ),
    Family(
        "Exaone4ForCausalLM",
        "exaone4",
        {
            **_ATTENTION,
            **_GATED,
            **_HEAD_NORMS,
            "post_attention_layernorm": "post_attention_norm",
            "post_feedforward_layernorm": "post_ffw_norm",
        },
        _TOP,
    ),
    Family(
        "ExaoneForCausalLM",
        "exaone",
        {
            "ln_1": "attn_norm",
            "attn.attention.q_proj": "attn_q",
            "attn.attention.k_proj": "attn_k",
            "attn.attention.v_proj": "attn_v",
            "attn.attention.out_proj": "attn_output",
            "ln_2": "ffn_norm",
            "mlp.c_fc_0": "ffn_gate",
            "mlp.c_fc_1": "ffn_up",
            "mlp.c_proj": "ffn_down",
        },
        {"transformer.wte": "token_embd", "transformer.ln_f": "output_norm", "lm_head": "output"},
        layer_prefix="transformer.h.",
    ),
)


class UnknownArchitecture(ModelError):
    """An architecture that is not converted here; llama.cpp's own converter may know it."""


@dataclass(frozen=True)
class Architecture:
    """The names and rows of one model."""

    family: Family
    layers: int
    heads: int
    key_value_heads: int
    head_size: int

    @property
    def name(self) -> str:
        """As `general.architecture` has it, "qwen2"."""
        return self.family.gguf

    def gguf_name(self, hf_name: str) -> str | None:
        """The tensor's name in GGUF, or None for a buffer that is not written. Raises ModelError for any other name."""
        if hf_name.endswith(_IGNORED):
            return None
        layer = _LAYER.fullmatch(hf_name)
        if layer is not None and layer[1] == self.family.layer_prefix:
            stem = self.family.layers.get(layer[3])
            if stem is not None and int(layer[2]) < self.layers:
                return f"blk.{layer[2]}.{stem}.{layer[4]}"
        else:
            stem, _, kind = hf_name.rpartition(".")
            if stem in self.family.top and kind in ("weight", "bias"):
                return f"{self.family.top[stem]}.{kind}"
        raise ModelError(
            f"The model has a tensor {hf_name[:100]!r}, which no {self.family.class_name} of {self.layers} layers has; "
            "fetch the model again."
        )

    def hf_name(self, gguf_name: str) -> str:
        """The reverse of `gguf_name`. Raises ModelError for a name that is not of this architecture."""
        head, _, rest = gguf_name.partition(".")
        number, _, inner = rest.partition(".")
        stem, _, kind = inner.rpartition(".")
        if head == "blk" and number.isdecimal() and stem in self._layers_back:
            return f"{self.family.layer_prefix}{number}.{self._layers_back[stem]}.{kind}"
        if rest in ("weight", "bias") and head in self._top_back:
            return f"{self._top_back[head]}.{rest}"
        raise ModelError(f"{gguf_name} is no tensor of a {self.family.class_name} model.")

    def permutation(self, hf_name: str) -> npt.NDArray[np.int64] | None:
        """Where the rows of a tensor lie otherwise in GGUF, their order: `gguf_rows = hf_rows[order]`; else None."""
        heads = self.moved_heads(hf_name)
        return None if heads is None else row_order(heads * self.head_size, heads)

    def moved_heads(self, hf_name: str) -> int | None:
        """How many heads the rows of a moved tensor form; None where no row moves."""
        if not self.family.rotated_halves:
            return None
        if hf_name.endswith((".q_proj.weight", ".q_proj.bias")):
            return self.heads
        if hf_name.endswith((".k_proj.weight", ".k_proj.bias")):
            return self.key_value_heads
        return None

    @cached_property
    def _layers_back(self) -> dict[str, str]:
        return {gguf: hf for hf, gguf in self.family.layers.items()}

    @cached_property
    def _top_back(self) -> dict[str, str]:
        return {gguf: hf for hf, gguf in self.family.top.items()}


def row_order(rows: int, heads: int) -> npt.NDArray[np.int64]:
    """The order of `rows` rows of `heads` heads: within each head 0, half, 1, half + 1 … of what transformers has."""
    return np.arange(rows, dtype=np.int64).reshape(heads, 2, -1).swapaxes(1, 2).reshape(-1)


def tensor_names(architecture: Architecture) -> Iterator[str]:
    """The weights (not biases) that the architecture has, by their Hugging Face names; the output matrix too."""
    for stem in architecture.family.top:
        yield f"{stem}.weight"
    for number in range(architecture.layers):
        for stem in architecture.family.layers:
            yield f"{architecture.family.layer_prefix}{number}.{stem}.weight"


def architecture_of(config: ModelConfig) -> Architecture:
    """The architecture that `config` names. Raises UnknownArchitecture; ModelError where its sizes are missing."""
    name = config.class_name
    family = next((one for one in FAMILIES if one.class_name == name), None)
    if family is None:
        known = ", ".join(one.class_name for one in FAMILIES)
        raise UnknownArchitecture(
            f"{config.path} names the architecture {name[:80] or 'of no model'}, which is not converted here; "
            f"these are: {known}."
        )
    heads = config.size("num_attention_heads")
    layers = config.size("num_hidden_layers", "num_layers")
    if layers > _MOST_LAYERS:
        raise config.fault("num_hidden_layers", layers, "what a model has")
    return Architecture(
        family,
        layers=layers,
        heads=heads,
        key_value_heads=config.size("num_key_value_heads", default=heads),
        head_size=head_size(config, family),
    )


def head_size(config: ModelConfig, family: Family) -> int:
    """Values of one head: told, or the class's default (as transformers' configuration classes have it)."""
    size = _told_head_size(config, family)
    if size > _MOST_HEAD_SIZE:
        raise config.fault("head_dim", size, "what a model has")
    return size


def _told_head_size(config: ModelConfig, family: Family) -> int:
    if family.gguf == "qwen3":
        return config.size("head_dim", default=128)
    whole, heads = config.size("hidden_size"), config.size("num_attention_heads")
    told = config.get("head_dim") if family.gguf != "phi3" else None
    if told is None and whole % heads:
        raise ModelError(
            f"{config.path}: hidden_size {whole} is no multiple of num_attention_heads {heads}; fetch it again."
        )
    return whole // heads if told is None else config.size("head_dim")

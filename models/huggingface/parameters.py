"""The sizes of a model as GGUF keys, for each architecture as llama.cpp's own converter writes them.

Sources: llama.cpp's conversion/base.py (set_gguf_parameters), qwen.py, llama.py, phi.py and exaone.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import ModelError
from models.huggingface.architectures import Architecture
from models.huggingface.config import ModelConfig
from models.huggingface.rope import read_rope, rope_values

_EPSILON = {"phi3": 1e-5, "exaone4": 1e-5}
_CONTEXT = {"qwen2": 32768, "qwen3": 32768, "smollm3": 32768, "phi3": 4096}
_HEAD_KEYS = frozenset({"llama", "qwen3"})
"""Whose configuration class always has a `head_dim`, so that its size is written even where config.json is silent."""

Value = str | float | int | bool | list[bool]


@dataclass(frozen=True)
class Parameters:
    """`keys`: whole GGUF keys with their values (whole numbers are 32-bit, floats single precision); `factors`: tensors
    that follow from the configuration; `notes`: what llama.cpp does otherwise than transformers, for a person."""

    keys: dict[str, Value]
    factors: dict[str, npt.NDArray[np.float32]]
    notes: tuple[str, ...] = ()


def read_parameters(config: ModelConfig, architecture: Architecture) -> Parameters:
    """All keys of the architecture. Raises ModelError where the configuration is wrong or cannot be carried over."""
    name = architecture.name
    _check_activation(config)
    rope = read_rope(config, architecture)
    keys: dict[str, Value] = {
        "block_count": architecture.layers,
        "context_length": config.size(
            "max_position_embeddings", "n_positions", default=_CONTEXT.get(name, 2048 if name != "exaone" else None)
        ),
        "embedding_length": config.size("hidden_size"),
        "feed_forward_length": config.size("intermediate_size"),
        "attention.head_count": architecture.heads,
        "attention.head_count_kv": architecture.key_value_heads,
        **{f"rope.{key}": value for key, value in rope.keys.items()},
    }
    epsilon = config.number("rms_norm_eps", "norm_eps", default=_EPSILON.get(name, 1e-6))
    if (
        name == "exaone"
    ):  # under another name there; llama.cpp's own converter writes that one alone, and cannot load it
        own = config.number("layer_norm_epsilon", "layer_norm_eps", default=1e-5)
        keys["attention.layer_norm_epsilon"] = own
        epsilon = config.number("rms_norm_eps", "norm_eps", default=own)
    keys["attention.layer_norm_rms_epsilon"] = epsilon
    if name != "phi3" and (name in _HEAD_KEYS or config.get("head_dim") is not None):
        keys["attention.key_length"] = keys["attention.value_length"] = architecture.head_size
    keys |= _own_keys(config, architecture)
    return Parameters(
        {f"{name}.{key}": value for key, value in keys.items()}, rope.factors, _notes(config, architecture)
    )


def vocabulary_size(config: ModelConfig) -> int:
    """Rows of the embedding."""
    return config.size("vocab_size")


def _own_keys(config: ModelConfig, architecture: Architecture) -> dict[str, Value]:
    """What one architecture alone writes."""
    match architecture.name:
        case "llama" | "smollm3":
            if architecture.name == "smollm3":
                _check_positions_left_out(config, architecture.layers)
            return {"vocab_size": vocabulary_size(config), "rope.dimension_count": architecture.head_size}
        case "exaone":
            share = rope_values(config, architecture).get("partial_rotary_factor")
            head = config.size("hidden_size") // architecture.heads
            return {"rope.dimension_count": int((1.0 if share is None else float(share)) * head)}
        case "exaone4":
            return {"vocab_size": vocabulary_size(config), **_exaone4_window(config, architecture.layers)}
        case "phi3":
            window = config.get("sliding_window")
            # 0 tells Phi-4 from other Phi3 models in llama.cpp
            return {"attention.sliding_window": 0 if window in (None, 0) else config.size("sliding_window")}
    return {}


def _exaone4_window(config: ModelConfig, layers: int) -> dict[str, Value]:
    if "sliding_window" in config.values and config.values["sliding_window"] is None:
        return {}
    kinds = config.get("layer_types")
    if kinds is None:
        kinds = _window_pattern(config, layers)
    if not isinstance(kinds, list) or len(kinds) != layers:
        raise config.fault("layer_types", kinds, f"a list of {layers} names")
    return {
        "attention.sliding_window": config.size("sliding_window", default=4096),
        "attention.sliding_window_pattern": [kind == "sliding_attention" for kind in kinds],
    }


def _window_pattern(config: ModelConfig, layers: int) -> list[str]:
    """Every nth layer sees all ("LLLG" and 4 say the same)."""
    pattern: Any = config.get("sliding_window_pattern")
    if pattern is None:
        pattern = 4
    if isinstance(pattern, str) and pattern:
        local = [pattern[number % len(pattern)] == "L" for number in range(layers)]
    elif type(pattern) is int and pattern > 0:
        local = [(number + 1) % pattern != 0 for number in range(layers)]
    else:
        raise config.fault("sliding_window_pattern", pattern, "letters L and G or a whole number above 0")
    return ["sliding_attention" if one else "full_attention" for one in local]


def _check_activation(config: ModelConfig) -> None:
    used = config.get("hidden_act", "activation_function")
    if used not in (None, "silu", "swish"):
        raise ModelError(
            f"{config.path} has the activation {str(used)[:40]!r}, and llama.cpp computes silu for this architecture; "
            "the converted model would answer wrongly, so it is not made."
        )


def _check_positions_left_out(config: ModelConfig, layers: int) -> None:
    """llama.cpp leaves positions out of every fourth layer of a SmolLM3, and cannot be told otherwise."""
    told = config.get("no_rope_layers")
    usual = [int((number + 1) % 4 != 0) for number in range(layers)]
    interval = config.get("no_rope_layer_interval")
    if (told is not None and told != usual) or (told is None and interval not in (None, 4)):
        raise ModelError(
            f"{config.path} leaves positions out of other layers than every fourth, which llama.cpp cannot run "
            "for a SmolLM3; the model cannot be converted."
        )


def _notes(config: ModelConfig, architecture: Architecture) -> tuple[str, ...]:
    """llama.cpp's src/models: no windows for these architectures, or only in the shape that was published."""
    name, window = architecture.name, config.get("sliding_window")
    if name in ("qwen2", "qwen3", "smollm3") and config.get("use_sliding_window") is True and window is not None:
        return (f"The model attends within a window of {window} tokens in some layers; llama.cpp attends to all.",)
    if name == "phi3" and type(window) is int and 0 < window < config.size("max_position_embeddings", default=4096):
        return (f"The model attends within a window of {window} tokens; llama.cpp attends to all.",)
    if name == "exaone4":
        windowed = "sliding_window" not in config.values or window is not None
        if windowed != (architecture.layers == 64):
            return (
                "llama.cpp runs an EXAONE 4 with windowed layers where it has 64 layers, and only there; "
                f"this one of {architecture.layers} layers will not answer as it does elsewhere.",
            )
    return ()

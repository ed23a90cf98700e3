"""Rotary position embeddings of a config.json: both ways of writing them, as GGUF keys and factor tensors.

Sources: transformers' modeling_rope_utils.py (`rope_parameters` since 5, `rope_scaling` and `rope_theta` before),
llama.cpp's conversion/base.py, llama.py and phi.py; Llama 3 scaling: arXiv 2407.21783; longrope: arXiv 2402.13753.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import ModelError
from models.huggingface.architectures import Architecture
from models.huggingface.config import ModelConfig, require_number

_YARN = {
    "extrapolation_factor": "yarn_ext_factor",
    "attention_factor": "yarn_attn_factor",
    "attn_factor": "yarn_attn_factor",
    "beta_fast": "yarn_beta_fast",
    "beta_slow": "yarn_beta_slow",
}
_DEFAULT_BASE = {"smollm3": 2_000_000.0}
_LLAMA3_FACTOR = {"exaone4": 16.0}
"""Where the configuration does not tell the factor; 8 for all others."""


@dataclass(frozen=True)
class Rope:
    """`keys`: GGUF keys behind "ARCH.rope.", each a text, a float, or a whole number; `factors`: tensors to write."""

    keys: dict[str, str | float | int]
    factors: dict[str, npt.NDArray[np.float32]]


def read_rope(config: ModelConfig, architecture: Architecture) -> Rope:
    """What the configuration says of positions. Raises ModelError where it cannot be carried over."""
    values = rope_values(config, architecture)
    if architecture.name == "phi3":
        return _phi3(config, architecture, values)
    keys: dict[str, str | float | int] = {}
    factors = {}
    match values.get("rope_type"):
        case None | "default":
            pass
        case "linear":
            keys["scaling.type"] = "linear"
            keys["scaling.factor"] = require_number(values.get("factor"), "rope factor", config)
        case "yarn":
            keys["scaling.type"] = "yarn"
            keys["scaling.factor"] = require_number(values.get("factor"), "rope factor", config)
            keys["scaling.original_context_length"] = _context(config, values)
            for name, key in _YARN.items():
                if values.get(name) is not None and f"scaling.{key}" not in keys:
                    keys[f"scaling.{key}"] = require_number(values[name], name, config)
        case "llama3" if architecture.name in ("llama", "exaone", "exaone4"):
            factors["rope_freqs.weight"] = _llama3_factors(config, architecture, values)
        case other:
            raise ModelError(
                f"{config.path} scales positions by {str(other)[:40]!r}, which a GGUF of the architecture "
                f"{architecture.name} cannot say; a model without that scaling is needed."
            )
    keys["freq_base"] = require_number(values.get("rope_theta"), "rope_theta", config)
    return Rope(keys, factors)


def rope_values(config: ModelConfig, architecture: Architecture) -> dict[str, Any]:
    """The parameters in the way of transformers 5, whichever way they are written: `rope_type`, `rope_theta`, …"""
    values = config.table("rope_scaling") or config.table("rope_parameters")
    nested = values.get("full_attention")
    if isinstance(nested, dict):
        values = dict(nested)
    if "rope_type" not in values:
        values["rope_type"] = values.get("type") or "default"
    if not isinstance(values["rope_type"], str):
        raise config.fault("rope_type", values["rope_type"], "a name")
    if architecture.name == "phi3" and values["rope_type"] in ("su", "yarn"):
        values["rope_type"] = "longrope"  # what older configurations of Phi3 called it
    default = _DEFAULT_BASE.get(architecture.name, 10_000.0)
    if values.get("rope_theta") is None:
        values["rope_theta"] = config.number("rope_theta", default=default)
    for key in ("partial_rotary_factor", "original_max_position_embeddings"):
        if values.get(key) is None and config.get(key) is not None:
            values[key] = config.get(key)
    return values


def _context(config: ModelConfig, values: dict[str, Any]) -> int:
    """The context that the model was trained on before its positions were scaled."""
    told = values.get("original_max_position_embeddings")
    if told is None and config.class_name == "ExaoneForCausalLM":
        return 8192  # transformers has no class for it that would take the whole context instead
    if told is None:
        return config.size("max_position_embeddings")
    if type(told) is not int or told <= 0:
        raise config.fault("original_max_position_embeddings", told, "a whole number above 0")
    return told


def _llama3_factors(config: ModelConfig, architecture: Architecture, values: dict[str, Any]) -> npt.NDArray[np.float32]:
    def number(key: str, default: float) -> float:
        return require_number(values.get(key, default), key, config)

    size = architecture.head_size
    base = number("rope_theta", 10_000.0)
    factor = number("factor", _LLAMA3_FACTOR.get(architecture.name, 8.0))
    low, high = number("low_freq_factor", 1.0), number("high_freq_factor", 4.0)
    if low == high:
        raise ModelError(f"{config.path}: low_freq_factor and high_freq_factor are the same; fetch it again.")
    context = _context(config, values)
    exponents = np.arange(0, size, 2, dtype=np.float32) / np.float32(size)
    # single precision up to here, as torch reckons it upstream; double from here on
    frequencies = np.float32(1) / np.power(np.float32(base), exponents)
    found = []
    for frequency in frequencies:
        length = float(np.float32(2 * math.pi) / frequency)
        if length < context / high:
            found.append(1.0)
        elif length > context / low:
            found.append(factor)
        else:
            smooth = (context / length - low) / (high - low)
            found.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(found, np.float32)


def _phi3(config: ModelConfig, architecture: Architecture, values: dict[str, Any]) -> Rope:
    share = require_number(values.get("partial_rotary_factor", 1.0), "partial_rotary_factor", config)
    dimensions = int(share * config.size("hidden_size")) // architecture.heads
    whole = config.size("max_position_embeddings")
    trained = _context(config, {"original_max_position_embeddings": 4096, **values})
    keys: dict[str, str | float | int] = {
        "scaling.original_context_length": trained,
        "dimension_count": dimensions,
        "freq_base": require_number(values.get("rope_theta"), "rope_theta", config),
    }
    long, short = values.get("long_factor"), values.get("short_factor")
    if not long:
        if values["rope_type"] != "default":
            raise ModelError(
                f"{config.path} scales positions by {values['rope_type'][:40]!r} without a long_factor; fetch it again."
            )
        return Rope(keys, {})
    if values["rope_type"] != "longrope" or not isinstance(long, list) or not isinstance(short, list):
        raise ModelError(f"{config.path} has a long_factor, but no longrope with a short_factor too; fetch it again.")
    if len(long) != len(short) or len(long) * 2 != dimensions:
        raise ModelError(
            f"{config.path}: long_factor and short_factor have {len(long)} and {len(short)} values, "
            f"not {dimensions // 2} each; fetch it again."
        )
    scale = whole / trained
    factor = math.sqrt(1 + math.log(scale) / math.log(trained)) if scale > 1 else 1.0
    keys["scaling.attn_factor"] = factor
    arrays = {
        f"rope_factors_{name}.weight": np.array(
            [require_number(value, f"{name}_factor", config) for value in factors], np.float32
        )
        for name, factors in (("long", long), ("short", short))
    }
    return Rope(keys, arrays)

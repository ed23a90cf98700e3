"""Whether a model and its cache fit: bytes a token of cache takes, a context to choose, a refusal with numbers."""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import ModelError, ResourceError
from runtime import machine

USUAL_CONTEXT = 16_384
"""Most tokens of cache that are taken unasked: a long thought and its question."""
USUAL_BYTES = 1 << 30
"""Most bytes of cache that are taken unasked for one sequence: the library clears the whole cache at the start, which
keeps a person waiting for a good half second a gibibyte."""
LEAST_CONTEXT = 512
_STEP = 256
"""The library rounds a cache up to a multiple of this."""
_BYTES_A_VALUE = 2
_MIB = 1 << 20
_SMALL_HEAD = 32
_WORTH_SHARING = 64 << 20  # bytes of weights: below, one core reads them in the time that threads take to meet


@dataclass(frozen=True)
class CacheShape:
    """Values that one token of context keeps: the sum of key and value sizes over the layers with attention; `head`:
    the larger size of a key or value of one head, 0 where it is not known."""

    values_a_token: int
    head: int = 0

    @property
    def has_small_heads(self) -> bool:
        """Whether plain attention is faster on a CPU: the library's flash attention there takes tokens one by one, and
        at 32 values a head that costs more than the arithmetic (1.5 times a whole step at a depth of 250)."""
        return 0 < self.head <= _SMALL_HEAD

    @property
    def bytes_a_token(self) -> int:
        """Bytes of one token in a 16-bit cache."""
        return self.values_a_token * _BYTES_A_VALUE

    def bytes(self, context: int) -> int:
        """Bytes of a 16-bit cache of `context` tokens, rounded up as the library does. An upper bound for models with
        sliding windows or a compressed cache."""
        return -(-context // _STEP) * _STEP * self.bytes_a_token

    @classmethod
    def of_model(cls, c: Any, model: Any, architecture: str, path: Path) -> CacheShape:
        """From an open model's own figures."""
        layers, heads = int(c.llama_model_n_layer(model)), int(c.llama_model_n_head(model))
        kv_heads = _kv_heads_in_all(path, architecture, layers, int(c.llama_model_n_head_kv(model)), c, model)
        usual = int(c.llama_model_n_embd(model)) // max(1, heads)
        key = _number(c, model, f"{architecture}.attention.key_length", usual)
        value = _number(c, model, f"{architecture}.attention.value_length", usual)
        return cls(kv_heads * (key + value), max(key, value))


def choose_context(trained: int, shape: CacheShape, sequences: int, room: int | None) -> int:
    """Tokens of cache when none are asked for: what the model was trained for, at most `USUAL_CONTEXT` and
    `USUAL_BYTES`, and at most a half of `room` bytes. Sequences share a prompt but not their thoughts: half as much
    again for each beyond the first, up to four times the tokens and twice the bytes."""
    wanted = min(trained or USUAL_CONTEXT, USUAL_CONTEXT)
    tokens = min(wanted * (1 + sequences) // 2, 4 * wanted)
    most = min(USUAL_BYTES * (1 + sequences) // 2, 2 * USUAL_BYTES)
    if room is not None:
        most = min(most, room // 2)
    if shape.values_a_token:
        tokens = min(tokens, max(LEAST_CONTEXT, most // shape.bytes_a_token))
    return max(_STEP, tokens // _STEP * _STEP)


def require_room(name: str, *, weights: int, cache: int, memory: int, context: int = 0) -> None:
    """Raise `ResourceError`, with the numbers, if weights and cache (bytes) are more than `memory`."""
    if weights + cache <= memory:
        return
    have = f"{memory / _MIB:,.0f} MiB are available"
    if weights > memory:
        raise ResourceError(
            f"{name} needs {weights / _MIB:,.0f} MiB for its weights, but {have}; "
            "free memory, or choose a smaller model or a smaller quant."
        )
    fitting = int(context * (memory - weights) / cache) // _STEP * _STEP
    raise ResourceError(
        f"{name} needs {weights / _MIB:,.0f} MiB for its weights and {cache / _MIB:,.0f} MiB for a context of "
        f"{context:,} tokens, but {have}; a context of {fitting:,} tokens would fit."
    )


def _kv_heads_in_all(path: Path, architecture: str, layers: int, kv_heads: int, c: Any, model: Any) -> int:
    """Key-value heads summed over the layers. Hybrid models have layers without any, told by an interval or a list."""
    interval = _number(c, model, f"{architecture}.full_attention_interval", 0)
    if interval > 0:
        return layers // interval * max(1, kv_heads)
    if c.llama_model_is_hybrid(model) and _number(c, model, f"{architecture}.attention.head_count_kv", -1) < 0:
        from models.gguf_header import ListSummary, read_header

        try:
            listed = read_header(path).metadata.get(f"{architecture}.attention.head_count_kv")
        except ModelError:
            listed = None
        if isinstance(listed, ListSummary) and listed.count == len(listed.values):
            return sum(value for value in listed.values if isinstance(value, int))
    if c.llama_model_is_recurrent(model):
        return 0
    return layers * max(1, kv_heads)


def _number(c: Any, model: Any, key: str, default: int) -> int:
    buffer = ctypes.create_string_buffer(64)
    if c.llama_model_meta_val_str(model, key.encode(), buffer, len(buffer)) < 0:
        return default
    text = buffer.value.decode("utf-8", "replace")
    return int(text) if re.fullmatch(r"-?\d+", text) else default


def choose_threads(weights: int) -> int:
    """CPU threads for a model of so many bytes: the physical cores, but one where a step is over sooner than threads
    meet. There a second thread gains nothing, and on a busy core it costs a hundredfold: the first waits for it."""
    return 1 if weights < _WORTH_SHARING else machine.physical_cores()

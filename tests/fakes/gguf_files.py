"""Small GGUF files for tests, written by the `gguf` package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np


def write_gguf(
    path: Path,
    *,
    name: str = "Small Test",
    architecture: str = "qwen2",
    file_type: int | None = None,
    strings: Mapping[str, str] | None = None,
    tokens: int = 300,
) -> Path:
    """A GGUF file with two F32 tensors, one Q8_0 tensor and a vocabulary of `tokens` strings."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(name)
    writer.add_context_length(512)
    if file_type is not None:
        writer.add_file_type(file_type)
    for key, value in (strings or {}).items():
        writer.add_string(key, value)
    writer.add_array("tokenizer.ggml.tokens", [f"t{index}" for index in range(tokens)])
    writer.add_array("tokenizer.ggml.token_type", [1] * tokens)
    writer.add_float32("general.sampling.temp", 0.5)
    writer.add_bool("tokenizer.ggml.add_bos_token", False)
    writer.add_tensor("output_norm.weight", np.ones(32, dtype=np.float32))
    writer.add_tensor("blk.0.attn_norm.weight", np.ones(7, dtype=np.float32))
    quantized = gguf.quants.quantize(np.ones((64, 64), dtype=np.float32), gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("token_embd.weight", quantized, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path

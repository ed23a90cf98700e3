"""A Hugging Face folder of random weights in a real shape: to measure what conversion takes, without a download.

    python scripts/random_checkpoint.py FOLDER [--layers 28]

The shape is Qwen2.5-1.5B's, from its published configuration; the tokenizer is that of the model that ships, padded.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.locations import shipped_model
from models.whole_file import unfinished

CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "vocab_size": 151936,
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "eos_token_id": 2045,
}
_POOL = 1 << 22
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=CONFIG["num_hidden_layers"])
    arguments = parser.parse_args()
    write_checkpoint(arguments.folder, {**CONFIG, "num_hidden_layers": arguments.layers})


def write_checkpoint(folder: Path, config: dict[str, object]) -> None:
    """Write config, tokenizer and weights (bfloat16, variance 1 / columns, repeating one pool of draws)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    source = shipped_model().with_name("huggingface")
    for name in _TOKENIZER:
        shutil.copyfile(source / name, folder / name)
    shapes = dict(_shapes(config))
    table: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in shapes.items():
        size = 2 * int(np.prod(shape))
        table[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    header = json.dumps(table).encode()
    header += b" " * (-len(header) % 8)
    pool = np.random.default_rng(0).standard_normal(_POOL).astype(np.float32)
    with unfinished(folder / "model.safetensors") as (part,), open(part, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for number, shape in enumerate(shapes.values()):
            _write(file.fileno(), np.roll(pool, -977 * number), shape)


def _shapes(config: dict[str, object]) -> Iterator[tuple[str, tuple[int, ...]]]:
    def size(key: str) -> int:
        value = config[key]
        assert isinstance(value, int)
        return value

    hidden, inner = size("hidden_size"), size("intermediate_size")
    keys = hidden // size("num_attention_heads") * size("num_key_value_heads")
    yield "model.embed_tokens.weight", (size("vocab_size"), hidden)
    for layer in range(size("num_hidden_layers")):
        start = f"model.layers.{layer}."
        yield start + "input_layernorm.weight", (hidden,)
        yield start + "post_attention_layernorm.weight", (hidden,)
        for name, rows in (("q", hidden), ("k", keys), ("v", keys)):
            yield f"{start}self_attn.{name}_proj.weight", (rows, hidden)
            yield f"{start}self_attn.{name}_proj.bias", (rows,)
        yield start + "self_attn.o_proj.weight", (hidden, hidden)
        yield start + "mlp.gate_proj.weight", (inner, hidden)
        yield start + "mlp.up_proj.weight", (inner, hidden)
        yield start + "mlp.down_proj.weight", (hidden, inner)
    yield "model.norm.weight", (hidden,)


def _write(descriptor: int, pool: npt.NDArray[np.float32], shape: tuple[int, ...]) -> None:
    scale = 1.0 if len(shape) == 1 else shape[-1] ** -0.5
    values = np.ones(pool.shape, np.float32) if len(shape) == 1 else pool * np.float32(scale)
    encoded = (values.view(np.uint32) >> 16).astype(np.uint16)
    left = int(np.prod(shape))
    while left:
        count = min(left, len(encoded))
        os.write(descriptor, encoded[:count].tobytes())
        left -= count


if __name__ == "__main__":
    main()

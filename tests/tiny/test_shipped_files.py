"""The files that ship hold one model: the Hugging Face folder, the GGUF in F16 and the GGUF in Q8_0.

Read without torch, and with a table of names of its own, so that a slip in `export.py` is seen.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy
import pytest

from models.safetensors_header import read_header

FOLDER = Path(__file__).parents[2] / "models" / "tiny"
SETTINGS: dict[str, Any] = json.loads((FOLDER / "huggingface" / "config.json").read_text(encoding="utf-8"))
IN_A_LAYER = {
    "input_layernorm.weight": "attn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.q_proj.bias": "attn_q.bias",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.k_proj.bias": "attn_k.bias",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.v_proj.bias": "attn_v.bias",
    "self_attn.o_proj.weight": "attn_output.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
}
NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    **{
        f"model.layers.{layer}.{theirs}": f"blk.{layer}.{ours}"
        for layer in range(SETTINGS["num_hidden_layers"])
        for theirs, ours in IN_A_LAYER.items()
    },
}

Tensors = dict[str, Any]


def hugging_face() -> Tensors:
    """The folder's tensors."""
    path = FOLDER / "huggingface" / "model.safetensors"
    header, data = read_header(path), path.read_bytes()
    types = {"F16": numpy.float16, "F32": numpy.float32}
    return {
        tensor.name: numpy.frombuffer(
            data[header.data_start + tensor.start : header.data_start + tensor.end], types[tensor.type]
        ).reshape(tensor.shape)
        for tensor in header.tensors
    }


def read_gguf(kind: str) -> gguf.GGUFReader:
    return gguf.GGUFReader(FOLDER / f"kangae-tiny-{kind}.gguf")


def weights(reader: gguf.GGUFReader) -> Tensors:
    """The file's tensors in float32, quantized ones put back into numbers."""
    return {tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}


@pytest.fixture(scope="module")
def half() -> gguf.GGUFReader:
    return read_gguf("F16")


@pytest.fixture(scope="module")
def quantized() -> gguf.GGUFReader:
    return read_gguf("Q8_0")


@pytest.fixture(scope="module")
def tokenizer() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "huggingface" / "tokenizer.json").read_text(encoding="utf-8"))
    return found


def test_the_folder_and_the_f16_file_hold_the_same_weights(half: gguf.GGUFReader) -> None:
    theirs, ours = hugging_face(), weights(half)
    assert set(theirs) == set(NAMES)
    assert set(ours) == set(NAMES.values())
    for name, tensor in theirs.items():
        # Vectors are kept in F32 in the one file and rounded to F16 in the other.
        assert numpy.array_equal(ours[NAMES[name]].astype(numpy.float16), tensor.astype(numpy.float16)), name


def test_the_q8_0_file_holds_the_f16_files_weights(half: gguf.GGUFReader, quantized: gguf.GGUFReader) -> None:
    exact, found = weights(half), weights(quantized)
    kinds = {tensor.name: tensor.tensor_type for tensor in quantized.tensors}
    assert set(found) == set(exact)
    for name, tensor in exact.items():
        if tensor.ndim == 1:
            assert numpy.array_equal(found[name], tensor), name
            continue
        assert kinds[name] == gguf.GGMLQuantizationType.Q8_0, name
        blocks = tensor.reshape(-1, 32)
        largest = numpy.abs(blocks).max(axis=1)
        # Half a step of 1/127 of the block's largest weight, and what F16 rounds off the step itself.
        allowed = largest * (0.5 / 127 + 2**-11) + 127 * 2**-25
        errors = numpy.abs(found[name].reshape(-1, 32) - blocks).max(axis=1)
        assert (errors <= allowed).all(), (name, float((errors / allowed).max()))


@pytest.mark.parametrize("kind", ["F16", "Q8_0"])
def test_the_tokens_are_the_tokenizers(kind: str, tokenizer: dict[str, Any]) -> None:
    reader = read_gguf(kind)
    ids: dict[str, int] = dict(tokenizer["model"]["vocab"])
    ids |= {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    tokens = contents(reader, "tokenizer.ggml.tokens")
    assert [ids[token] for token in tokens] == list(range(len(ids)))
    assert contents(reader, "tokenizer.ggml.merges") == [" ".join(merge) for merge in tokenizer["model"]["merges"]]
    settings = json.loads((FOLDER / "huggingface" / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert contents(reader, "tokenizer.chat_template") == settings["chat_template"]
    assert tokens[contents(reader, "tokenizer.ggml.eos_token_id")] == settings["eos_token"]


def test_the_sizes_are_the_configurations(half: gguf.GGUFReader, quantized: gguf.GGUFReader) -> None:
    keys = {
        "num_hidden_layers": "block_count",
        "hidden_size": "embedding_length",
        "intermediate_size": "feed_forward_length",
        "num_attention_heads": "attention.head_count",
        "num_key_value_heads": "attention.head_count_kv",
        "max_position_embeddings": "context_length",
        "rope_theta": "rope.freq_base",
    }
    for reader in (half, quantized):
        for theirs, ours in keys.items():
            assert contents(reader, f"qwen2.{ours}") == SETTINGS[theirs], theirs
        assert len(contents(reader, "tokenizer.ggml.tokens")) == SETTINGS["vocab_size"]
        epsilon = contents(reader, "qwen2.attention.layer_norm_rms_epsilon")
        assert epsilon == pytest.approx(SETTINGS["rms_norm_eps"])


def contents(reader: gguf.GGUFReader, key: str) -> Any:
    """The value of a key; the test fails where the file has none."""
    field = reader.get_field(key)
    assert field is not None, key
    return field.contents()

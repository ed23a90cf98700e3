"""Small Hugging Face folders for tests: every family that is converted, written without torch, transformers or the
safetensors package."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

LAYERS, HIDDEN, INNER, HEADS, KEY_VALUE_HEADS, ROWS = 4, 64, 96, 4, 2, 320
"""Sizes of every folder made here, unless its configuration says otherwise."""
_COMMON: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KEY_VALUE_HEADS,
    "vocab_size": ROWS,
    "max_position_embeddings": 512,
    "bos_token_id": 300,
    "eos_token_id": 301,
    "tie_word_embeddings": False,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "Qwen2ForCausalLM": {**_COMMON, "model_type": "qwen2", "rope_theta": 1e6, "rms_norm_eps": 1e-6},
    "Qwen3ForCausalLM": {**_COMMON, "model_type": "qwen3", "rope_theta": 1e6, "rms_norm_eps": 1e-6, "head_dim": 32},
    "LlamaForCausalLM": {
        **_COMMON,
        "model_type": "llama",
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 128,
        },
    },
    "SmolLM3ForCausalLM": {
        **_COMMON,
        "model_type": "smollm3",
        "rms_norm_eps": 1e-6,
        "rope_theta": 2e6,
        "no_rope_layer_interval": 4,
        "pad_token_id": 302,
    },
    "Phi3ForCausalLM": {
        **_COMMON,
        "model_type": "phi3",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "original_max_position_embeddings": 128,
        "rope_scaling": {
            "type": "longrope",
            "long_factor": [1.5 + number / 4 for number in range(8)],
            "short_factor": [1.0 + number / 16 for number in range(8)],
        },
        "sliding_window": 256,
        "pad_token_id": 302,
    },
    "Exaone4ForCausalLM": {
        **_COMMON,
        "model_type": "exaone4",
        "rms_norm_eps": 1e-5,
        "rope_theta": 1e6,
        "sliding_window": 256,
        "sliding_window_pattern": "LLLG",
        "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 16.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 128,
        },
    },
    "ExaoneForCausalLM": {
        **{key: value for key, value in _COMMON.items() if key != "num_hidden_layers"},
        "model_type": "exaone",
        "num_layers": LAYERS,
        "activation_function": "silu",
        "layer_norm_epsilon": 1e-5,
        "rope_theta": 1e6,
    },
}
"""config.json by class, without `architectures`."""

_ENGLISH = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def split(pattern: str) -> dict[str, Any]:
    """A step of a pre-tokenizer that splits by a pattern."""
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


PRE_TOKENIZERS: dict[str, Any] = {
    "qwen2": {"type": "Sequence", "pretokenizers": [split(_ENGLISH + r"\p{N}|" + _TAIL), BYTE_LEVEL]},
    "llama-bpe": {"type": "Sequence", "pretokenizers": [split(_ENGLISH + r"\p{N}{1,3}|" + _TAIL), BYTE_LEVEL]},
    "gpt-2": {**BYTE_LEVEL, "use_regex": True},
    "smollm": {
        "type": "Sequence",
        "pretokenizers": [{"type": "Digits", "individual_digits": True}, {**BYTE_LEVEL, "use_regex": True}],
    },
}
SPECIAL = ("<|begin|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>")
"""Tokens 300 to 304: three of control, and the tags of thinking, which are no special tokens."""
TEMPLATE = "{% for message in messages %}<|im_start|>{{ message.content }}<|im_end|>{% endfor %}"


def byte_letters() -> list[str]:
    """GPT-2's letters for the bytes 0 to 255."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(spare)) for byte in range(256)]


def byte_level_tokenizer(pre: str = "qwen2", *, first: bool = False, merges_as_pairs: bool = True) -> dict[str, Any]:
    """A tokenizer.json of 256 bytes, 44 merges and 5 added tokens. `first`: it puts token 300 before a text."""
    letters = byte_letters()
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    merges = []
    text = "the answer is and to in of at on or an it he we be by if so do go"
    for word in text.split():
        left = "Ġ"
        for letter in word:
            if left + letter not in vocabulary and len(vocabulary) < 300:
                vocabulary[left + letter] = len(vocabulary)
                merges.append([left, letter])
            left += letter
    number = 0
    while len(vocabulary) < 300:
        pair = ["ã", letters[128 + number]]
        vocabulary["".join(pair)] = len(vocabulary)
        merges.append(pair)
        number += 1
    added = [
        {
            "id": 300 + place,
            "content": text,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": place < 3,
        }
        for place, text in enumerate(SPECIAL)
    ]
    processors: list[dict[str, Any]] = [{**BYTE_LEVEL, "use_regex": False}]
    if first:
        begin = {"SpecialToken": {"id": SPECIAL[0], "type_id": 0}}
        whole = {"Sequence": {"id": "A", "type_id": 0}}
        other = [{"SpecialToken": {"id": SPECIAL[0], "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}]
        processors.append(
            {
                "type": "TemplateProcessing",
                "single": [begin, whole],
                "pair": [begin, whole, *other],
                "special_tokens": {SPECIAL[0]: {"id": SPECIAL[0], "ids": [300], "tokens": [SPECIAL[0]]}},
            }
        )
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": copy.deepcopy(PRE_TOKENIZERS[pre]),
        "post_processor": {"type": "Sequence", "processors": processors} if first else processors[0],
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": pre == "llama-bpe",
            "vocab": vocabulary,
            "merges": merges if merges_as_pairs else [" ".join(pair) for pair in merges],
        },
    }


def fallback_tokenizer() -> dict[str, Any]:
    """A tokenizer.json that was made of a SentencePiece model: 3 special tokens, 256 bytes, letters and merges."""
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, **{f"<0x{byte:02X}>": 3 + byte for byte in range(256)}}
    for letter in "▁abcdefghilnorst":
        vocabulary[letter] = len(vocabulary)
    merges = []
    for merge in ("▁ t", "h e", "▁ a", "i n", "▁t he", "e r", "a n", "▁a n", "o r", "▁ o", "o n", "e n"):
        left, right = merge.split(" ")
        vocabulary[left + right] = len(vocabulary)
        merges.append([left, right])
    added = [
        {
            "id": number,
            "content": text,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": special,
        }
        for number, text, special in (
            (0, "<unk>", True),
            (1, "<s>", True),
            (2, "</s>", True),
            (len(vocabulary), "<think>", False),
            (len(vocabulary) + 1, "</think>", False),
        )
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": merges,
        },
    }


def sentencepiece_model(pieces: Sequence[tuple[str, float, int]]) -> bytes:
    """A tokenizer.model of (text, score, type), in Protocol Buffers' wire format."""

    def varint(value: int) -> bytes:
        parts = bytearray()
        while value > 0x7F:
            parts.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes([*parts, value])

    content = b""
    for text, score, kind in pieces:
        encoded = text.encode("utf-8")
        message = b"\x0a" + varint(len(encoded)) + encoded
        message += b"\x15" + np.float32(score).tobytes() + b"\x18" + varint(kind)
        content += b"\x0a" + varint(len(message)) + message
    trainer = b"\x18\x02\x98\x02\x01"  # model_type: BPE, byte_fallback: true
    return content + b"\x12" + varint(len(trainer)) + trainer


def pieces() -> list[tuple[str, float, int]]:
    """The pieces that `fallback_tokenizer` was made of."""
    table = fallback_tokenizer()["model"]
    ranks = {"".join(pair): place for place, pair in enumerate(table["merges"])}
    kinds = {"<unk>": 2, "<s>": 3, "</s>": 3}
    return [
        (text, -float(ranks.get(text, 0)), kinds.get(text, 6 if text.startswith("<0x") else 1))
        for text in sorted(table["vocab"], key=table["vocab"].__getitem__)
    ]


def tokenizer_settings(**more: Any) -> dict[str, Any]:
    """A tokenizer_config.json that fits `byte_level_tokenizer`."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIAL[0],
        "eos_token": SPECIAL[1],
        "pad_token": SPECIAL[2],
        "clean_up_tokenization_spaces": False,
        "chat_template": TEMPLATE,
        **more,
    }


def write_safetensors(path: Path, tensors: Mapping[str, tuple[str, npt.NDArray[Any]]]) -> None:
    """A .safetensors file of (type, values as stored) by name."""
    header, start = {}, 0
    for name, (kind, values) in tensors.items():
        header[name] = {"dtype": kind, "shape": list(values.shape), "data_offsets": [start, start + values.nbytes]}
        start += values.nbytes
    encoded = json.dumps(header).encode("utf-8")
    encoded += b" " * (-len(encoded) % 8)
    with open(path, "wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for _, values in tensors.values():
            file.write(np.ascontiguousarray(values).tobytes())


def stored(values: npt.NDArray[np.float32], kind: str) -> npt.NDArray[Any]:
    """Float32 values as they are stored in a type; bfloat16 cut off, as its bits."""
    if kind == "BF16":
        return (values.view(np.uint32) >> 16).astype(np.uint16)
    return values.astype({"F16": np.float16, "F32": np.float32}[kind])


def weight_shapes(class_name: str, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Every weight of a model by its name in the folder, written down from transformers' modeling files."""
    hidden, inner, rows = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    head = config.get("head_dim") or hidden // config["num_attention_heads"]
    query, key = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    layers = config.get("num_hidden_layers") or config["num_layers"]
    if class_name == "ExaoneForCausalLM":
        shapes = {"transformer.wte.weight": (rows, hidden), "transformer.ln_f.weight": (hidden,)}
        inside: dict[str, tuple[int, ...]] = {
            "ln_1.weight": (hidden,),
            "attn.attention.q_proj.weight": (query, hidden),
            "attn.attention.k_proj.weight": (key, hidden),
            "attn.attention.v_proj.weight": (key, hidden),
            "attn.attention.out_proj.weight": (hidden, query),
            "ln_2.weight": (hidden,),
            "mlp.c_fc_0.weight": (inner, hidden),
            "mlp.c_fc_1.weight": (inner, hidden),
            "mlp.c_proj.weight": (hidden, inner),
        }
        prefix = "transformer.h"
    else:
        shapes = {"model.embed_tokens.weight": (rows, hidden), "model.norm.weight": (hidden,)}
        prefix = "model.layers"
        norms = {
            "Exaone4ForCausalLM": ("post_attention_layernorm", "post_feedforward_layernorm"),
        }.get(class_name, ("input_layernorm", "post_attention_layernorm"))
        inside = {f"{name}.weight": (hidden,) for name in norms}
        inside |= {"self_attn.o_proj.weight": (hidden, query), "mlp.down_proj.weight": (hidden, inner)}
        if class_name == "Phi3ForCausalLM":
            inside["self_attn.qkv_proj.weight"] = (query + 2 * key, hidden)
            inside["mlp.gate_up_proj.weight"] = (2 * inner, hidden)
        else:
            for name, size in (("q", query), ("k", key), ("v", key)):
                inside[f"self_attn.{name}_proj.weight"] = (size, hidden)
                if class_name == "Qwen2ForCausalLM":
                    inside[f"self_attn.{name}_proj.bias"] = (size,)
            inside |= {"mlp.gate_proj.weight": (inner, hidden), "mlp.up_proj.weight": (inner, hidden)}
        if class_name in ("Qwen3ForCausalLM", "Exaone4ForCausalLM"):
            inside |= {"self_attn.q_norm.weight": (head,), "self_attn.k_norm.weight": (head,)}
    for number in range(layers):
        shapes |= {f"{prefix}.{number}.{name}": shape for name, shape in inside.items()}
    if not config.get("tie_word_embeddings"):
        shapes["lm_head.weight"] = (rows, hidden)
    return shapes


def random_weights(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, npt.NDArray[np.float32]]:
    """Values that make a model's logits differ; norms around 1."""
    generator = np.random.default_rng(seed)
    found = {}
    for name, shape in shapes.items():
        values = generator.standard_normal(shape, dtype=np.float32) * np.float32(0.2)
        found[name] = values + 1 if len(shape) == 1 and not name.endswith("bias") else values
    return found


def write_folder(
    folder: Path,
    class_name: str = "Qwen2ForCausalLM",
    *,
    config: Mapping[str, Any] | None = None,
    kind: str = "BF16",
    shards: int = 1,
    tokenizer: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    weights: Mapping[str, npt.NDArray[np.float32]] | None = None,
) -> Path:
    """A whole folder: weights stored as `kind` in `shards` files, config (the family's, then `config`), tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {**CONFIGS[class_name], **(config or {}), "architectures": [class_name]}
    (folder / "config.json").write_text(json.dumps(values))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer or byte_level_tokenizer()))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings or tokenizer_settings()))
    drawn = weights or random_weights(weight_shapes(class_name, values))
    tensors = {name: (kind, stored(one, kind)) for name, one in drawn.items()}
    if shards == 1:
        write_safetensors(folder / "model.safetensors", tensors)
        return folder
    names = list(tensors)
    weight_map: dict[str, str] = {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = names[number::shards]
        write_safetensors(folder / file, {name: tensors[name] for name in part})
        weight_map |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder

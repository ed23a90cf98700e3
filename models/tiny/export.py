"""A checkpoint as files that others run: a Hugging Face folder (Qwen2ForCausalLM) and a GGUF file (arch qwen2).

Command line: `python -m models.tiny.export RUN --folder OUT --gguf OUT.gguf --type f16`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path

import gguf
import numpy
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from .checkpoint import Checkpoint, load_checkpoint
from .network import NetworkShape
from .tokenizer import (
    CONTROL_TOKENS,
    END_OF_TEXT,
    MESSAGE_END,
    THINK_TOKENS,
    chat_template,
    load_tokenizer,
    save_tokenizer,
)

NAME = "kangae-tiny"
DESCRIPTION = "A small reasoning model for shop-floor arithmetic, in English and Japanese"
ARCHITECTURE = "qwen2"
TYPES = {"f16": torch.float16, "f32": torch.float32}
FILE_TYPES = {"f16": gguf.LlamaFileType.MOSTLY_F16, "f32": gguf.LlamaFileType.ALL_F32}
GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
LAYER_NAME = re.compile(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)")


def gguf_name(name: str) -> str:
    """The tensor's name in GGUF; KeyError for one that Qwen2 does not have."""
    layer = LAYER_NAME.fullmatch(name)
    if layer is not None:
        return f"blk.{layer[1]}.{GGUF_NAMES[layer[2]]}.{layer[3]}"
    stem, _, kind = name.rpartition(".")
    return f"{GGUF_NAMES[stem]}.{kind}"


def stored_weights(weights: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    """The matrices in the wished type; vectors (norms, biases) stay float32, as converters keep them."""
    return {
        name: weight.detach().to(TYPES[kind] if weight.ndim == 2 else torch.float32).contiguous()
        for name, weight in weights.items()
    }


def token_id(tokenizer: Tokenizer, text: str) -> int:
    """The id of a special token; ValueError where the tokenizer has none."""
    found = tokenizer.token_to_id(text)
    if found is None:
        raise ValueError(f"the tokenizer has no token {text}: it was not made by this trainer")
    return found


def model_config(shape: NetworkShape, tokenizer: Tokenizer, kind: str) -> dict[str, object]:
    """The contents of `config.json`."""
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": ARCHITECTURE,
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_value_heads,
        "head_dim": shape.head_size,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": shape.epsilon,
        "rope_theta": shape.theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.theta},
        "hidden_act": "silu",
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "tie_word_embeddings": True,
        "use_cache": True,
        "use_sliding_window": False,
        "bos_token_id": None,
        "eos_token_id": token_id(tokenizer, MESSAGE_END),
        "pad_token_id": token_id(tokenizer, END_OF_TEXT),
        "torch_dtype": str(TYPES[kind]).removeprefix("torch."),
    }


def generation_config(tokenizer: Tokenizer) -> dict[str, object]:
    """The contents of `generation_config.json`: greedy, ending at either end token."""
    ends = [token_id(tokenizer, MESSAGE_END), token_id(tokenizer, END_OF_TEXT)]
    return {"do_sample": False, "eos_token_id": ends, "pad_token_id": ends[1]}


def write_json(path: Path, values: dict[str, object]) -> None:
    """Writes readable JSON."""
    path.write_text(json.dumps(values, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def export_folder(checkpoint: Checkpoint, tokenizer: Tokenizer, folder: Path, kind: str = "f16") -> None:
    """Writes the Hugging Face folder: weights (`f16` or `f32`), configurations and tokenizer.

    There is no `lm_head`, because the embeddings are tied.
    """
    save_tokenizer(tokenizer, folder, checkpoint.shape.context)
    weights = {name: weight.detach().to(TYPES[kind]).contiguous() for name, weight in checkpoint.weights.items()}
    unfinished = folder / "model.safetensors.unfinished"
    save_file(weights, str(unfinished), metadata={"format": "pt"})
    os.replace(unfinished, folder / "model.safetensors")
    write_json(folder / "config.json", model_config(checkpoint.shape, tokenizer, kind))
    write_json(folder / "generation_config.json", generation_config(tokenizer))
    (folder / "README.md").write_text(folder_card(), encoding="utf-8")


def folder_card() -> str:
    """The model card of the folder, with the front matter by which converters know its name and licence."""
    front = f"---\nmodel_name: {NAME}\nlicense: apache-2.0\nlanguage:\n- en\n- ja\n---\n"
    return f"{front}\n# {NAME}\n\n{DESCRIPTION}\n"


def token_types(tokens: list[str]) -> list[int]:
    """GGUF token types: control for `<|...|>`, user-defined for the thinking tags, normal for the rest."""

    def kind(token: str) -> gguf.TokenType:
        if token in CONTROL_TOKENS or token.startswith("<|unused_"):
            return gguf.TokenType.CONTROL
        return gguf.TokenType.USER_DEFINED if token in THINK_TOKENS else gguf.TokenType.NORMAL

    return [int(kind(token)) for token in tokens]


def merge_lines(tokenizer: Tokenizer) -> list[str]:
    """The merges in order, each as `left right`."""
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]


def add_metadata(writer: gguf.GGUFWriter, shape: NetworkShape, tokenizer: Tokenizer, kind: str) -> None:
    """All keys but the tensors."""
    writer.add_type("model")
    writer.add_name(NAME)
    writer.add_description(DESCRIPTION)
    writer.add_license("apache-2.0")
    writer.add_languages(["en", "ja"])
    writer.add_file_type(FILE_TYPES[kind])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_sampling_temp(0.0)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.key_value_heads)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_rope_dimension_count(shape.head_size)
    writer.add_rope_freq_base(shape.theta)
    writer.add_rope_scaling_type(gguf.RopeScalingType.NONE)
    by_id = {number: text for text, number in tokenizer.get_vocab().items()}
    tokens = [by_id[number] for number in range(shape.vocabulary)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(token_types(tokens))
    writer.add_token_merges(merge_lines(tokenizer))
    writer.add_bos_token_id(token_id(tokenizer, END_OF_TEXT))
    writer.add_eos_token_id(token_id(tokenizer, MESSAGE_END))
    writer.add_pad_token_id(token_id(tokenizer, END_OF_TEXT))
    writer.add_add_bos_token(False)
    writer.add_chat_template(chat_template())


def export_gguf(checkpoint: Checkpoint, tokenizer: Tokenizer, path: Path, kind: str = "f16") -> None:
    """Writes one GGUF file (`f16` or `f32`); the output matrix is the embedding, which llama.cpp shares."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    writer = gguf.GGUFWriter(unfinished, ARCHITECTURE)
    add_metadata(writer, checkpoint.shape, tokenizer, kind)
    for name, weight in stored_weights(checkpoint.weights, kind).items():
        writer.add_tensor(gguf_name(name), numpy.ascontiguousarray(weight.numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(unfinished, path)


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, or 2 with one sentence where there is nothing to export."""
    parser = argparse.ArgumentParser(prog="python -m models.tiny.export", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a training run")
    parser.add_argument("--folder", type=Path, help="write a Hugging Face folder here")
    parser.add_argument("--gguf", type=Path, help="write a GGUF file here")
    parser.add_argument("--type", choices=sorted(TYPES), default="f16", help="type of the matrices (default: f16)")
    options = parser.parse_args(arguments)
    if options.folder is None and options.gguf is None:
        parser.error("nothing to write: give --folder, --gguf or both")
    try:
        checkpoint, tokenizer = load_checkpoint(options.run), load_tokenizer(options.run)
        if options.folder is not None:
            export_folder(checkpoint, tokenizer, options.folder, options.type)
        if options.gguf is not None:
            export_gguf(checkpoint, tokenizer, options.gguf, options.type)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

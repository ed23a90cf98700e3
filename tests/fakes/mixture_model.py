"""A small mixture of experts with random weights, for what treats experts apart."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from models.gguf_file import GgufFile

HIDDEN, WIDE, HEADS, KV_HEADS, HEAD, EXPERTS, USED, LAYERS = 256, 256, 4, 2, 64, 4, 2, 1


def make_mixture(path: Path, vocabulary: Path, seed: int = 0) -> Path:
    """A GGUF of the qwen3moe architecture whose vocabulary and template are those of the model at `vocabulary`."""
    source = GgufFile.open(vocabulary)
    tokens = [str(token) for token in source.list("tokenizer.ggml.tokens")]
    writer = gguf.GGUFWriter(path, "qwen3moe")
    writer.add_name("random mixture")
    writer.add_file_type(1)
    writer.add_context_length(2048)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(WIDE)
    writer.add_expert_feed_forward_length(WIDE)
    writer.add_expert_count(EXPERTS)
    writer.add_expert_used_count(USED)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([int(kind) for kind in source.list("tokenizer.ggml.token_type")])
    writer.add_token_merges([str(merge) for merge in source.list("tokenizer.ggml.merges")])
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_chat_template(str(source.scalar("tokenizer.chat_template")))
    random = np.random.default_rng(seed)

    def matrix(name: str, *shape: int) -> None:
        values = random.standard_normal(shape, np.float32) / np.sqrt(shape[-1])
        writer.add_tensor(name, values.astype(np.float32 if "gate_inp" in name else np.float16))

    matrix("token_embd.weight", len(tokens), HIDDEN)
    writer.add_tensor("output_norm.weight", np.ones(HIDDEN, np.float32))
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        for name, size in (("attn_norm", HIDDEN), ("ffn_norm", HIDDEN), ("attn_q_norm", HEAD), ("attn_k_norm", HEAD)):
            writer.add_tensor(f"{block}{name}.weight", np.ones(size, np.float32))
        matrix(f"{block}attn_q.weight", HEADS * HEAD, HIDDEN)
        matrix(f"{block}attn_k.weight", KV_HEADS * HEAD, HIDDEN)
        matrix(f"{block}attn_v.weight", KV_HEADS * HEAD, HIDDEN)
        matrix(f"{block}attn_output.weight", HIDDEN, HEADS * HEAD)
        matrix(f"{block}ffn_gate_inp.weight", EXPERTS, HIDDEN)
        matrix(f"{block}ffn_gate_exps.weight", EXPERTS, WIDE, HIDDEN)
        matrix(f"{block}ffn_up_exps.weight", EXPERTS, WIDE, HIDDEN)
        matrix(f"{block}ffn_down_exps.weight", EXPERTS, HIDDEN, WIDE)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path

"""The converted model answers as transformers does: logits of llama.cpp against those of the folder itself, in F32."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from models.huggingface.convert import convert_whole
from runtime.backends.backend import Slice
from tests.fakes.huggingface_folders import (
    CONFIGS,
    LAYERS,
    byte_level_tokenizer,
    fallback_tokenizer,
    random_weights,
    weight_shapes,
    write_folder,
)

pytestmark = pytest.mark.train

PROMPT = [7, 65, 130, 12, 200, 33, 90, 254, 101, 18, 77, 143, 5, 260, 299, 41]
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2": ("Qwen2ForCausalLM", {}),
    "qwen2-yarn": (
        "Qwen2ForCausalLM",
        {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}},
    ),
    "qwen3": ("Qwen3ForCausalLM", {}),
    "qwen3-tied": ("Qwen3ForCausalLM", {"tie_word_embeddings": True}),
    "llama3": ("LlamaForCausalLM", {}),
    "llama-linear": ("LlamaForCausalLM", {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}),
    "smollm3": ("SmolLM3ForCausalLM", {"tie_word_embeddings": True}),
    # llama.cpp's context is 256 tokens at least, and chooses between the short and the long factors by it
    "phi3-longrope": (
        "Phi3ForCausalLM",
        {"max_position_embeddings": 1024, "original_max_position_embeddings": 256, "sliding_window": None},
    ),
    "phi3-short": ("Phi3ForCausalLM", {"rope_scaling": None, "original_max_position_embeddings": 512}),
    "exaone4": ("Exaone4ForCausalLM", {"sliding_window": None, "layer_types": ["full_attention"] * LAYERS}),
    "exaone": ("ExaoneForCausalLM", {}),
}
_EXAONE = {
    "transformer.wte": "model.embed_tokens",
    "transformer.ln_f": "model.norm",
    "transformer.h.": "model.layers.",
    "attn.attention.out_proj": "self_attn.o_proj",
    "attn.attention.": "self_attn.",
    "ln_1": "input_layernorm",
    "ln_2": "post_attention_layernorm",
    "mlp.c_fc_0": "mlp.gate_proj",
    "mlp.c_fc_1": "mlp.up_proj",
    "mlp.c_proj": "mlp.down_proj",
}
"""An EXAONE is a Llama under other names; transformers has no class of its own for it."""


def reference(folder: Path, class_name: str, weights: Mapping[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """transformers' logits of the prompt, shape (tokens, vocabulary)."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    if class_name == "ExaoneForCausalLM":
        values = {key: value for key, value in CONFIGS[class_name].items() if key != "model_type"}
        values |= {"num_hidden_layers": values.pop("num_layers"), "rms_norm_eps": values.pop("layer_norm_epsilon")}
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**values))
        renamed = {}
        for name, tensor in weights.items():
            for old, new in _EXAONE.items():
                name = name.replace(old, new)
            renamed[name] = torch.from_numpy(tensor)
        model.load_state_dict(renamed)
    else:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        )
    with torch.inference_mode():
        found: npt.NDArray[np.float32] = model.eval()(torch.tensor([PROMPT])).logits[0].numpy()
    return found


def ours(path: Path) -> npt.NDArray[np.float32]:
    """llama.cpp's logits of the prompt, shape (tokens, vocabulary)."""
    from runtime.backends.llama import open_llama

    backend = open_llama(path, context=64, sequences=1, outputs=len(PROMPT))
    try:
        rows = backend.decode([Slice(0, place, [token], want_logits=True) for place, token in enumerate(PROMPT)])
        return np.array([backend.logits(row) for row in rows if row is not None])
    finally:
        backend.close()


def both(name: str, folder: Path) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The logits of transformers and of the converted file."""
    class_name, config = CASES[name]
    values = {**CONFIGS[class_name], **config}
    drawn = random_weights(weight_shapes(class_name, values), seed=3)
    weights = {one: tensor * np.float32(0.3 if tensor.ndim > 1 else 1) for one, tensor in drawn.items()}
    tokenizer = byte_level_tokenizer("llama-bpe" if class_name == "LlamaForCausalLM" else "qwen2")
    write_folder(folder, class_name, config=config, kind="F32", weights=weights, tokenizer=tokenizer)
    converted = folder.with_suffix(".gguf")
    convert_whole(folder, converted, outtype="f32")
    return reference(folder, class_name, weights), ours(converted)


@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    theirs, found = both(name, tmp_path / "folder")
    assert np.abs(theirs[0]).max() > 0.5  # they tell tokens apart
    np.testing.assert_allclose(found[0], theirs[0], atol=1e-3)
    np.testing.assert_allclose(found, theirs, atol=5e-3)  # the cache of earlier tokens holds F16


def test_a_row_out_of_its_place_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.huggingface.convert.row_order", lambda rows, heads: np.arange(rows))
    theirs, found = both("llama3", tmp_path / "folder")
    assert np.abs(found - theirs).max() > 5e-2


@pytest.mark.parametrize("kind", ["pieces as JSON", "bytes"])
def test_texts_become_the_same_tokens(kind: str, tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    table = fallback_tokenizer() if kind == "pieces as JSON" else byte_level_tokenizer("llama-bpe")
    ids = {"bos_token_id": 1, "eos_token_id": 2, "rope_scaling": None}
    folder = write_folder(tmp_path / "folder", "LlamaForCausalLM", config=ids, tokenizer=table, settings={"a": 1})
    convert_whole(folder, tmp_path / "model.gguf")
    from runtime.backends.llama import open_llama

    backend = open_llama(tmp_path / "model.gguf", context=64, sequences=1)
    reference = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = [
        "the theory of another hero",
        "on an old oath",
        "héllo 考え",
        "a  b\n\nc",
        "another\tone in the den",
        "x1234!",
    ]
    try:
        for text in texts:
            expected = reference.encode(text, add_special_tokens=False).ids
            assert backend.vocabulary.tokenize(text, markers=False) == expected, text
    finally:
        backend.close()

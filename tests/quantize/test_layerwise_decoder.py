"""The decoder in numpy computes what llama.cpp computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from models.errors import ModelError, UsageError
from models.gguf_file import GgufFile
from models.gguf_rewrite import rewrite_gguf
from models.huggingface.convert import convert_whole
from models.locations import shipped_model
from quantize.layerwise.decoder import DecoderLayer, embed, logits
from quantize.layerwise.rope import Rope
from quantize.layerwise.shape import DecoderShape
from runtime.backends.backend import Slice
from runtime.backends.llama import open_llama
from tests.fakes.huggingface_folders import (
    CONFIGS,
    LAYERS,
    byte_level_tokenizer,
    random_weights,
    weight_shapes,
    write_folder,
)

SHIPPED = shipped_model().with_name("kangae-tiny-F16.gguf")
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
    "phi3-longrope": (
        "Phi3ForCausalLM",
        {"max_position_embeddings": 1024, "original_max_position_embeddings": 256, "sliding_window": None},
    ),
    "exaone4": ("Exaone4ForCausalLM", {"sliding_window": None, "layer_types": ["full_attention"] * LAYERS}),
    "exaone": ("ExaoneForCausalLM", {}),
}


def _ids(count: int, most: int) -> npt.NDArray[np.int32]:
    return np.random.default_rng(5).integers(0, most, count).astype(np.int32)


def library_logits(path: Path, ids: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    """llama.cpp's, (tokens, vocabulary)."""
    # 256 tokens: with a longer context than the original one the library takes LongRoPE's long factors
    backend = open_llama(path, context=256 if len(ids) < 256 else 512, sequences=1, outputs=len(ids))
    try:
        rows = backend.decode([Slice(0, place, [int(one)], want_logits=True) for place, one in enumerate(ids)])
        return np.array([backend.logits(row) for row in rows if row is not None])
    finally:
        backend.close()


@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_the_library(name: str, tmp_path: Path) -> None:
    class_name, config = CASES[name]
    values = {**CONFIGS[class_name], **config}
    drawn = random_weights(weight_shapes(class_name, values), seed=3)
    weights = {one: tensor * np.float32(0.3 if tensor.ndim > 1 else 1) for one, tensor in drawn.items()}
    tokenizer = byte_level_tokenizer("llama-bpe" if class_name == "LlamaForCausalLM" else "qwen2")
    write_folder(tmp_path / "folder", class_name, config=config, kind="F32", weights=weights, tokenizer=tokenizer)
    path = tmp_path / "model.gguf"
    convert_whole(tmp_path / "folder", path, outtype="f32")
    ids = _ids(40, 250)
    theirs = library_logits(path, ids)
    assert np.abs(theirs).max() > 0.5
    found = logits(GgufFile.open(path), ids)
    np.testing.assert_allclose(found[0], theirs[0], atol=1e-3)
    np.testing.assert_allclose(found, theirs, atol=5e-3)  # the library's cache holds F16


def test_the_model_that_ships_is_computed_alike() -> None:
    ids = _ids(300, 2000)  # more than one block of queries
    theirs, found = library_logits(SHIPPED, ids), logits(GgufFile.open(SHIPPED), ids)
    np.testing.assert_allclose(found, theirs, atol=0.05)  # the library rounds what meets F16 weights to F16
    assert np.mean(found.argmax(1) == theirs.argmax(1)) > 0.99


def test_several_texts_do_not_see_one_another() -> None:
    file = GgufFile.open(SHIPPED)
    shape = DecoderShape.read(file)
    layer = DecoderLayer.read(file, shape, 0)
    texts = [_ids(20, 2000), _ids(31, 1000)]
    together = layer.forward(embed(file, np.concatenate(texts)), [20, 31])
    apart = np.concatenate([layer.forward(embed(file, one), [len(one)]) for one in texts])
    np.testing.assert_allclose(together, apart, atol=1e-5)


def test_replaced_weights_give_what_a_file_with_them_gives(tmp_path: Path) -> None:
    file, name = GgufFile.open(SHIPPED), "blk.1.ffn_down.weight"
    halved = (file.values(name) / 2).astype(np.float16)
    target = tmp_path / "halved.gguf"
    rewrite_gguf(file, target, types={name: "F16"}, data=lambda _: halved.view(np.uint8), metadata={})
    ids = _ids(20, 2000)
    found = logits(file, ids, {name: halved.astype(np.float32)})
    assert np.array_equal(found, logits(GgufFile.open(target), ids))
    assert np.abs(found - logits(file, ids)).max() > 0.1


def test_an_architecture_that_is_not_known_is_told_with_a_way_out(tmp_path: Path) -> None:
    file = GgufFile.open(SHIPPED)
    rewrite_gguf(file, tmp_path / "m.gguf", types={}, data=file.raw, metadata={"general.architecture": "mamba"})
    with pytest.raises(UsageError, match=r"mamba.*--calibrate"):
        DecoderShape.read(GgufFile.open(tmp_path / "m.gguf"))


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    file, name = GgufFile.open(SHIPPED), "blk.2.attn_q.weight"
    broken = file.values(name).astype(np.float16)
    broken[3, 4] = np.nan
    rewrite_gguf(file, tmp_path / "m.gguf", types={name: "F16"}, data=lambda _: broken.view(np.uint8), metadata={})
    with pytest.raises(ModelError, match=r"blk\.2\.attn_q\.weight holds NaN"):
        logits(GgufFile.open(tmp_path / "m.gguf"), _ids(4, 100))
    with pytest.raises(ModelError, match="tokens that"):
        embed(file, np.array([5, 1 << 20], np.int32))


def test_positions_turn_pairs_and_keep_their_length() -> None:
    rope = Rope(np.array([1.0, 0.25]), magnitude=2.0)
    cosines, sines = rope.tables(5)
    np.testing.assert_allclose(cosines[4], 2 * np.cos([4.0, 1.0]), rtol=1e-6)
    np.testing.assert_allclose(sines[4], 2 * np.sin([4.0, 1.0]), rtol=1e-6)

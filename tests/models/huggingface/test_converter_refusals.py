"""Folders that cannot be converted: one clear sentence each, the right exit code, and nothing left behind."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.errors import KangaeError, ModelError, UsageError
from models.huggingface.architectures import UnknownArchitecture
from models.huggingface.convert import convert_whole
from tests.fakes.huggingface_folders import (
    CONFIGS,
    byte_level_tokenizer,
    random_weights,
    sentencepiece_model,
    stored,
    weight_shapes,
    write_folder,
    write_safetensors,
)

Change = Callable[[Path], None]
SHARD = "model-00002-of-00003.safetensors"
INDEX = "model.safetensors.index.json"


def config(**values: Any) -> Change:
    """config.json with other values; None takes a key away."""

    def change(folder: Path) -> None:
        path = folder / "config.json"
        table = {**json.loads(path.read_text()), **values}
        path.write_text(json.dumps({key: value for key, value in table.items() if value is not None}))

    return change


def text(name: str, content: str | bytes) -> Change:
    """A file with another content."""

    def change(folder: Path) -> None:
        (folder / name).write_bytes(content.encode("utf-8") if isinstance(content, str) else content)

    return change


def without(name: str) -> Change:
    """No such file."""
    return lambda folder: (folder / name).unlink()


def tokenizer(edit: Callable[[dict[str, Any]], Any]) -> Change:
    """tokenizer.json, edited in place."""

    def change(folder: Path) -> None:
        table = byte_level_tokenizer()
        edit(table)
        (folder / "tokenizer.json").write_text(json.dumps(table))

    return change


def weights(edit: Callable[[dict[str, Any]], Any], kind: str = "BF16") -> Change:
    """One file of weights, edited in place: (type, stored values) by name."""

    def change(folder: Path) -> None:
        for path in [*folder.glob("model-*.safetensors"), folder / INDEX]:
            path.unlink(missing_ok=True)
        drawn = random_weights(weight_shapes("Qwen2ForCausalLM", CONFIGS["Qwen2ForCausalLM"]))
        tensors: dict[str, Any] = {name: (kind, stored(one, kind)) for name, one in drawn.items()}
        edit(tensors)
        write_safetensors(folder / "model.safetensors", tensors)

    return change


def cut(name: str, size: int) -> Change:
    """A file that ends early: `size` bytes, from the end where it is negative."""
    return lambda folder: os.truncate(folder / name, size if size >= 0 else (folder / name).stat().st_size + size)


def index(edit: Callable[[dict[str, Any]], Any]) -> Change:
    """The weight map, edited in place."""

    def change(folder: Path) -> None:
        table = json.loads((folder / INDEX).read_text())
        edit(table["weight_map"])
        (folder / INDEX).write_text(json.dumps(table))

    return change


def put(value: float, kind: str, name: str = "model.norm.weight") -> Change:
    """A value in the middle of a tensor."""

    def edit(tensors: dict[str, Any]) -> None:
        values = np.ones(tensors[name][1].shape, np.float32)
        values.reshape(-1)[values.size // 2] = value
        tensors[name] = (kind, stored(values, kind))

    return weights(edit, kind)


def pickled(folder: Path) -> None:
    for path in [*folder.glob("*.safetensors"), folder / INDEX]:
        path.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"PK\x03\x04")


def several(*changes: Change) -> Change:
    """All of them."""

    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change


QUERY = "model.layers.1.self_attn.q_proj.weight"
CASES: dict[str, tuple[Change, type[KangaeError], str]] = {
    "no config": (without("config.json"), ModelError, "config.json is missing"),
    "config no JSON": (text("config.json", "{"), ModelError, "is no JSON"),
    "config a list": (text("config.json", "[1]"), ModelError, "no JSON object"),
    "config bytes": (text("config.json", b"\xff\xfe\x00"), ModelError, "is no JSON"),
    "config nested deep": (text("config.json", "[" * 100_000), ModelError, "is no JSON"),
    "no architecture": (config(architectures=None), UnknownArchitecture, "of no model"),
    "architectures a text": (config(architectures="Qwen2ForCausalLM"), UnknownArchitecture, "of no model"),
    "unknown architecture": (config(architectures=["MambaForCausalLM"]), UnknownArchitecture, "MambaForCausalLM"),
    "no hidden size": (config(hidden_size=None), ModelError, "has no hidden_size"),
    "no layers": (config(num_hidden_layers=None), ModelError, "has no num_hidden_layers"),
    "no heads": (config(num_attention_heads=None), ModelError, "has no num_attention_heads"),
    "no inner size": (config(intermediate_size=None), ModelError, "has no intermediate_size"),
    "no vocabulary size": (config(vocab_size=None), ModelError, "has no vocab_size"),
    "layers a text": (config(num_hidden_layers="4"), ModelError, 'is "4", not a whole number'),
    "layers zero": (config(num_hidden_layers=0), ModelError, "is 0, not a whole number"),
    "layers negative": (config(num_hidden_layers=-1), ModelError, "is -1"),
    "layers a float": (config(num_hidden_layers=4.0), ModelError, "is 4.0"),
    "layers huge": (config(num_hidden_layers=1 << 40), ModelError, "not a whole number"),
    "fewer layers": (config(num_hidden_layers=3), ModelError, "3 layers has"),
    "more layers": (config(num_hidden_layers=5), ModelError, "lacks the tensor model.layers.4."),
    "other heads": (config(num_attention_heads=3), ModelError, "no multiple of num_attention_heads"),
    "other key heads": (config(num_key_value_heads=4), ModelError, "has the shape [32]"),
    "other hidden size": (config(hidden_size=128), ModelError, "has the shape"),
    "other inner size": (config(intermediate_size=97), ModelError, "has the shape [96, 64]"),
    "larger vocabulary": (config(vocab_size=400), ModelError, "the embedding has 320 rows"),
    "smaller vocabulary": (config(vocab_size=302), ModelError, "of different models"),
    "epsilon a text": (config(rms_norm_eps="small"), ModelError, "rms_norm_eps"),
    "epsilon zero": (config(rms_norm_eps=0), ModelError, "rms_norm_eps is 0"),
    "context zero": (config(max_position_embeddings=0), ModelError, "max_position_embeddings"),
    "theta negative": (config(rope_theta=-5.0), ModelError, "rope_theta"),
    "scaling a number": (config(rope_scaling=4), ModelError, "rope_scaling is 4, not an object"),
    "scaling unknown": (config(rope_scaling={"rope_type": "spiral"}), ModelError, "'spiral'"),
    "scaling dynamic": (config(rope_scaling={"type": "dynamic", "factor": 2}), ModelError, "'dynamic'"),
    "scaling type a list": (config(rope_scaling={"rope_type": [1]}), ModelError, "rope_type is [1]"),
    "yarn without factor": (config(rope_scaling={"rope_type": "yarn"}), ModelError, "rope factor"),
    "another activation": (config(hidden_act="gelu"), ModelError, "'gelu'"),
    "tied a text": (config(tie_word_embeddings="yes"), ModelError, "tie_word_embeddings"),
    "fp8": (config(quantization_config={"quant_method": "fp8"}), UsageError, "quantized before (fp8)"),
    "awq": (config(quantization_config={"quant_method": "awq"}), UsageError, "quantized before (awq)"),
    "gptq": (config(quantization_config={"quant_method": "gptq"}), UsageError, "re-packed"),
    "quantized somehow": (config(quantization_config=["?"]), UsageError, "an unnamed method"),
    "a pickle": (pickled, ModelError, "as a pickle (pytorch_model.bin)"),
    "no weights": (several(pickled, without("pytorch_model.bin")), ModelError, "has no model.safetensors"),
    "missing shard": (without(SHARD), ModelError, f"lacks the shard {SHARD}"),
    "missing shard, no index": (several(without(SHARD), without(INDEX)), ModelError, f"lacks the shard {SHARD}"),
    "truncated data": (cut(SHARD, -40), ModelError, "a part is missing"),
    "truncated header": (cut(SHARD, 100), ModelError, "claims"),
    "empty shard": (cut(SHARD, 0), ModelError, "an empty file"),
    "shard a web page": (text(SHARD, "<html>404</html>"), ModelError, "a web page"),
    "shard a pointer": (text(SHARD, "version https://git-lfs.github.com/spec/v1\n"), ModelError, "Git LFS"),
    "index no JSON": (text(INDEX, "weight_map"), ModelError, "is no JSON"),
    "index without map": (text(INDEX, "{}"), ModelError, "no weight_map"),
    "index of numbers": (text(INDEX, '{"weight_map": {"a": 1}}'), ModelError, "no weight_map"),
    "index climbs": (index(lambda table: table.update(a="../model.safetensors")), ModelError, "no .safetensors file"),
    "index absolute": (index(lambda table: table.update(a="/etc/passwd")), ModelError, "no .safetensors file"),
    "index of a pickle": (index(lambda table: table.update(a="model.bin")), ModelError, "no .safetensors file"),
    "index names absent": (index(lambda table: table.update(ghost=SHARD)), ModelError, "names ghost"),
    "index names less": (index(lambda table: table.pop(QUERY)), ModelError, "which its index does not name"),
    "nan F32": (put(float("nan"), "F32"), ModelError, "NaN or infinite"),
    "inf F16": (put(float("inf"), "F16", QUERY), ModelError, "NaN or infinite"),
    "minus inf BF16": (put(float("-inf"), "BF16", QUERY), ModelError, "NaN or infinite"),
    "nan BF16": (put(float("nan"), "BF16", "model.embed_tokens.weight"), ModelError, "NaN or infinite"),
    "too large for F16": (put(1e6, "F32", QUERY), ModelError, "convert to BF16 or F32"),
    "integers": (weights(lambda all: all.update({QUERY: ("I8", np.ones((64, 64), np.int8))})), ModelError, "as I8"),
    "doubles": (weights(lambda all: all.update({QUERY: ("F64", np.ones((64, 64)))})), ModelError, "as F64"),
    "a tensor less": (weights(lambda all: all.pop(QUERY)), ModelError, f"lacks the tensor {QUERY}"),
    "a bias less": (weights(lambda all: all.pop(QUERY.replace("weight", "bias"))), ModelError, "q_proj.bias"),
    "no output matrix": (weights(lambda all: all.pop("lm_head.weight")), ModelError, "lacks the tensor lm_head"),
    "a stranger": (weights(lambda all: all.update({"model.vision.weight": all[QUERY]})), ModelError, "model.vision"),
    "a layer stranger": (weights(lambda all: all.update({"model.layers.0.moe.weight": all[QUERY]})), ModelError, "moe"),
    "turned matrix": (
        weights(lambda all: all.update({"lm_head.weight": ("BF16", np.zeros((64, 320), np.uint16))})),
        ModelError,
        "has the shape [64, 320]",
    ),
    "a norm of two": (
        weights(lambda all: all.update({"model.norm.weight": ("BF16", np.zeros((64, 1), np.uint16))})),
        ModelError,
        "has the shape [64, 1]",
    ),
    "no tokenizer": (without("tokenizer.json"), ModelError, "has no tokenizer.json and no tokenizer.model"),
    "tokenizer no JSON": (text("tokenizer.json", "vocab"), ModelError, "is no JSON"),
    "tokenizer empty": (text("tokenizer.json", "{}"), ModelError, "of the kind unknown"),
    "tokenizer of words": (tokenizer(lambda table: table["model"].update(type="WordPiece")), ModelError, "WordPiece"),
    "no vocabulary": (tokenizer(lambda table: table["model"].update(vocab={})), ModelError, "has no vocabulary"),
    "vocabulary a list": (tokenizer(lambda table: table["model"].update(vocab=["a"])), ModelError, "no vocabulary"),
    "ids no numbers": (tokenizer(lambda table: table["model"]["vocab"].update(x="1")), ModelError, "no whole number"),
    "ids negative": (tokenizer(lambda table: table["model"]["vocab"].update(x=-1)), ModelError, "no whole number"),
    "ids too high": (tokenizer(lambda table: table["model"]["vocab"].update(x=320)), ModelError, "the id 320"),
    "no merges": (tokenizer(lambda table: table["model"].pop("merges")), ModelError, "has no merges"),
    "merges of three": (tokenizer(lambda table: table["model"].update(merges=["a b c"])), ModelError, "no pair"),
    "merges of numbers": (tokenizer(lambda table: table["model"].update(merges=[[1, 2]])), ModelError, "no pair"),
    "splits otherwise": (
        tokenizer(lambda table: table.update(pre_tokenizer={"type": "Whitespace"})),
        ModelError,
        "--pre",
    ),
    "splits by what nobody knows": (
        tokenizer(lambda table: table["pre_tokenizer"]["pretokenizers"][0]["pattern"].update(Regex="x+")),
        ModelError,
        "x+",
    ),
    "settings no JSON": (text("tokenizer_config.json", "{"), ModelError, "is no JSON"),
    "template a number": (text("tokenizer_config.json", '{"chat_template": 5}'), ModelError, "chat_template"),
    "template no text": (
        several(text("tokenizer_config.json", "{}"), text("chat_template.jinja", b"\xff\xff")),
        ModelError,
        "UTF-8",
    ),
    "generation no JSON": (text("generation_config.json", "{"), ModelError, "generation_config.json is no JSON"),
    "pieces damaged": (
        several(without("tokenizer.json"), text("tokenizer.model", b"\x0a\xff\xff\xff")),
        ModelError,
        "no SentencePiece model",
    ),
    "pieces of another format": (
        several(without("tokenizer.json"), text("tokenizer.model", "IQ== 0\n")),
        ModelError,
        "no SentencePiece model",
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole folder in three shards."""
    return write_folder(tmp_path / "folder", shards=3)


@pytest.mark.parametrize("name", CASES)
def test_a_damaged_folder_is_refused(name: str, folder: Path) -> None:
    change, error, words = CASES[name]
    change(folder)
    before = sorted(folder.parent.iterdir())
    with pytest.raises(error) as refused:
        convert_whole(folder, folder.parent / "model.gguf", outtype="f16")
    said = refused.value.detail
    assert words in said
    assert refused.value.exit_code == error.exit_code
    assert "\n" not in said and len(said) < 600
    assert sorted(folder.parent.iterdir()) == before


def test_the_whole_folder_is_not_refused(folder: Path) -> None:
    assert convert_whole(folder, folder.parent / "model.gguf", outtype="f16").tensors == 51


@pytest.mark.parametrize("bits", [0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0x7F800000])
@pytest.mark.parametrize("outtype", ["f16", "bf16", "f32"])
def test_no_bits_of_nan_become_a_number(bits: int, outtype: str, folder: Path) -> None:
    value = float(np.uint32(bits).view(np.float32))
    damaged = np.full((64, 64), 0.5, np.float32)
    damaged.view(np.uint32)[3, 3] = bits
    weights(lambda all: all.update({QUERY: ("F32", damaged)}), "F32")(folder)
    with pytest.raises(ModelError, match="NaN or infinite"):
        convert_whole(folder, folder.parent / "model.gguf", outtype=outtype)
    assert not np.isfinite(value)


@pytest.mark.parametrize(("option", "value"), [("outtype", "q8_0"), ("pre", "my-own")])
def test_options_that_there_are_not(option: str, value: str, folder: Path) -> None:
    with pytest.raises(UsageError, match=value):
        convert_whole(folder, folder.parent / "model.gguf", **{option: value})
    assert not (folder.parent / "model.gguf").exists()


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is no folder"):
        convert_whole(tmp_path / "absent", tmp_path / "model.gguf")


def test_a_tokenizer_model_with_fewer_pieces_is_padded(folder: Path) -> None:
    without("tokenizer.json")(folder)
    (folder / "tokenizer.model").write_bytes(sentencepiece_model([("<unk>", 0.0, 2), ("a", -1.0, 1)]))
    assert convert_whole(folder, folder.parent / "model.gguf").tensors == 51


JUNK = st.sampled_from([None, True, -1, 0, 3, 1e400, 2.5, "", "x", [], [None], [1, "a"], {}, {"a": None}, "\udcff"])


def _replace(value: Any, draw: Callable[[st.SearchStrategy[Any]], Any]) -> Any:
    """A JSON value with junk in one place at some depth."""
    if isinstance(value, dict) and value and draw(st.booleans()):
        key = draw(st.sampled_from(sorted(value)))
        return {**value, key: _replace(value[key], draw)}
    if isinstance(value, list) and value and draw(st.booleans()):
        place = draw(st.integers(0, min(len(value), 20) - 1))
        return [*value[:place], _replace(value[place], draw), *value[place + 1 :]]
    return draw(JUNK)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_a_file_holds_no_other_error_comes_out(data: st.DataObject, folder: Path) -> None:
    name = data.draw(st.sampled_from(["config.json", "tokenizer.json", "tokenizer_config.json", INDEX, SHARD, "more"]))
    class_name = data.draw(st.sampled_from(sorted(CONFIGS)))
    for path in folder.iterdir():
        path.unlink()
    write_folder(folder, class_name, shards=3)
    if name == "more":
        name = data.draw(st.sampled_from(["generation_config.json", "README.md", "tokenizer.model"]))
        (folder / name).write_bytes(data.draw(st.binary(max_size=40)))
    elif name.endswith(".json"):
        table = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(_replace(table, data.draw)))
    else:
        content = bytearray((folder / name).read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, 4000))] = data.draw(st.integers(0, 255))
        (folder / name).write_bytes(content[: data.draw(st.sampled_from([len(content), len(content) // 2]))])
    target = folder.parent / "model.gguf"
    target.unlink(missing_ok=True)
    try:
        convert_whole(folder, target, outtype="bf16")
    except KangaeError as error:
        assert error.exit_code in (2, 3)
        assert not target.exists()
    assert not list(folder.parent.glob(".*.part"))

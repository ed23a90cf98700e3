"""Sources that are damaged or unfit, through the command: a sentence, the documented exit code, and nothing left."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from models.gptq.layer import GptqSettings
from tests.fakes import damage
from tests.fakes.damage import GONE, Damage, changed
from tests.fakes.gptq_folders import make_gptq_folder
from tests.fakes.huggingface_folders import pieces, sentencepiece_model, write_folder
from tests.fakes.refused_commands import Bench

CONFIG, TOKENIZER, SETTINGS, WEIGHTS = "config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"
INDEX = "model.safetensors.index.json"
ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
Q = "model.layers.0.self_attn.q_proj.weight"
EMBEDDING = "model.embed_tokens.weight"
SMALL = {"num_hidden_layers": 1}
_NO_SIZES: Final[tuple[Any, ...]] = (0, -4, "64", 2.5, True, [], {}, 1 << 31, 10**40)
_SIZES = (
    "hidden_size", "num_attention_heads", "num_hidden_layers", "num_key_value_heads", "intermediate_size",
    "vocab_size", "max_position_embeddings",
)  # fmt: skip
_NO_NUMBERS: Final[tuple[Any, ...]] = (0, -1.0, "1e6", [1], float("nan"), float("inf"), 1e300, 10**400)


def _config_damages() -> dict[str, Damage]:
    found: dict[str, Damage] = {}
    for key in _SIZES:
        for value in _NO_SIZES:
            found[f"{key} {str(value)[:12]}"] = changed(CONFIG, value, key)
        if key not in ("num_key_value_heads", "max_position_embeddings"):
            found[f"{key} gone"] = changed(CONFIG, GONE, key)
    for key in ("rms_norm_eps", "rope_theta"):
        for value in _NO_NUMBERS:
            found[f"{key} {str(value)[:12]}"] = changed(CONFIG, value, key)
    return found | {
        "hidden_size of another model": changed(CONFIG, 128, "hidden_size"),
        "heads that do not divide": changed(CONFIG, 3, "num_attention_heads"),
        "heads of another model": changed(CONFIG, 8, "num_attention_heads"),
        "more layers than there are": changed(CONFIG, 2, "num_hidden_layers"),
        "a billion layers": changed(CONFIG, 1_000_000_000, "num_hidden_layers"),
        "a billion tokens": changed(CONFIG, 2_000_000_000, "vocab_size"),
        "a billion heads": changed(CONFIG, 1_000_000_000, "num_attention_heads"),
        "vocabulary of another model": changed(CONFIG, 321, "vocab_size"),
        "vocabulary smaller than the tokenizer": changed(CONFIG, 200, "vocab_size"),
        "no architecture": changed(CONFIG, GONE, "architectures"),
        "architectures a text": changed(CONFIG, "Qwen2ForCausalLM", "architectures"),
        "architectures of numbers": changed(CONFIG, [3], "architectures"),
        "an unknown architecture": changed(CONFIG, ["Mamba9ForCausalLM"], "architectures"),
        "an architecture with control signs": changed(CONFIG, ["\x1b[31mred\n\x07"], "architectures"),
        "an architecture of a page": changed(CONFIG, ["A" * 100_000], "architectures"),
        "the architecture of another": changed(CONFIG, ["Phi3ForCausalLM"], "architectures"),
        "quantized by AWQ": changed(CONFIG, {"quant_method": "awq"}, "quantization_config"),
        "quantized by nobody": changed(CONFIG, [1], "quantization_config"),
        "scaled positions of no kind": changed(CONFIG, {"rope_type": 3}, "rope_scaling"),
        "scaled positions of an unknown kind": changed(CONFIG, {"rope_type": "curved", "factor": 2}, "rope_scaling"),
        "scaled positions as a list": changed(CONFIG, [1, 2], "rope_scaling"),
        "scaled by a text": changed(CONFIG, {"rope_type": "linear", "factor": "2"}, "rope_scaling"),
        "tied by a text": changed(CONFIG, "yes", "tie_word_embeddings"),
        "tied although it is not": changed(CONFIG, None, "vocab_size"),
        "config a list": changed(CONFIG, [{}]),
        "config a number": changed(CONFIG, 5),
        "config null": changed(CONFIG, None),
        "config empty": damage.content(CONFIG, b""),
        "config an empty object": damage.content(CONFIG, b"{}"),
        "config cut": damage.cut(CONFIG, 0.5),
        "config binary": damage.content(CONFIG, bytes(range(256))),
        "config no UTF-8": damage.content(CONFIG, b'{"architectures": ["\xff\xfe"]}'),
        "config of brackets": damage.content(CONFIG, b"[" * 100_000),
        "config of objects": damage.content(CONFIG, b'{"a":' * 100_000),
        "config a number of 5,000 digits": damage.content(CONFIG, b'{"hidden_size": ' + b"9" * 5000 + b"}"),
        "config gone": damage.gone(CONFIG),
        "config a folder": damage.folder_instead(CONFIG),
        "config a loop": damage.looped(CONFIG),
        "config a link to nothing": damage.dangling(CONFIG),
    }


SURROGATE = "\ud800"
TOKENIZERS: dict[str, Damage] = {
    "tokenizer gone": damage.gone(TOKENIZER),
    "tokenizer empty": damage.content(TOKENIZER, b""),
    "tokenizer cut": damage.cut(TOKENIZER, 0.7),
    "tokenizer a list": changed(TOKENIZER, []),
    "tokenizer a folder": damage.folder_instead(TOKENIZER),
    "tokenizer a loop": damage.looped(TOKENIZER),
    "tokenizer binary": damage.content(TOKENIZER, bytes(range(256)) * 9),
    "tokenizer of another kind": changed(TOKENIZER, "WordPiece", "model", "type"),
    "tokenizer of a kind that is no text": changed(TOKENIZER, [7], "model", "type"),
    "no model": changed(TOKENIZER, GONE, "model"),
    "a model that is a text": changed(TOKENIZER, "BPE", "model"),
    "no vocabulary": changed(TOKENIZER, GONE, "model", "vocab"),
    "an empty vocabulary": changed(TOKENIZER, {}, "model", "vocab"),
    "a vocabulary as a list": changed(TOKENIZER, [["a", 0]], "model", "vocab"),
    "ids as texts": changed(TOKENIZER, "7", "model", "vocab", "a"),
    "negative ids": changed(TOKENIZER, -1, "model", "vocab", "a"),
    "ids past the embedding": changed(TOKENIZER, 5000, "model", "vocab", "a"),
    "ids beyond all": changed(TOKENIZER, 10**30, "model", "vocab", "a"),
    "an added id past the embedding": changed(TOKENIZER, 9999, "added_tokens", 0, "id"),
    "added tokens a number": changed(TOKENIZER, 7, "added_tokens"),
    "no merges": changed(TOKENIZER, [], "model", "merges"),
    "merges a text": changed(TOKENIZER, "a b", "model", "merges"),
    "merges of three": changed(TOKENIZER, ["a b c"], "model", "merges"),
    "merges of numbers": changed(TOKENIZER, [[1, 2]], "model", "merges"),
    "a token that is no text": changed(TOKENIZER, {SURROGATE: 0, "b": 1}, "model", "vocab"),
    "a merge that is no text": changed(TOKENIZER, [[SURROGATE, "b"]], "model", "merges"),
    "an added token that is no text": changed(TOKENIZER, SURROGATE, "added_tokens", 0, "content"),
    "splits by an unknown pattern": changed(TOKENIZER, {"Regex": "x+"}, "pre_tokenizer", "pretokenizers", 0, "pattern"),
    "splits by a number": changed(TOKENIZER, 5, "pre_tokenizer"),
    "steps that are a number": changed(TOKENIZER, 5, "pre_tokenizer", "pretokenizers"),
    "steps of null": changed(TOKENIZER, [None], "pre_tokenizer", "pretokenizers"),
    "settings cut": damage.cut(SETTINGS, 0.5),
    "settings a list": changed(SETTINGS, []),
    "settings a folder": damage.all_of(damage.folder_instead(SETTINGS), damage.gone(TOKENIZER)),
    "a template that is a number": changed(SETTINGS, 7, "chat_template"),
    "templates without names": changed(SETTINGS, [{"template": "a"}], "chat_template"),
    "a template that is no text": changed(SETTINGS, SURROGATE, "chat_template"),
    "a SentencePiece model of noise": damage.all_of(
        damage.gone(TOKENIZER), damage.content("tokenizer.model", bytes(range(255, 0, -1)))
    ),
    "a SentencePiece model cut": damage.all_of(
        damage.gone(TOKENIZER), damage.content("tokenizer.model", sentencepiece_model(pieces())[:-9])
    ),
    "a SentencePiece model empty": damage.all_of(damage.gone(TOKENIZER), damage.content("tokenizer.model", b"")),
}


def _overlap(table: dict[str, Any]) -> None:
    table[Q]["data_offsets"] = table["model.layers.0.self_attn.o_proj.weight"]["data_offsets"]


def _entry(key: str, value: Any) -> Damage:
    return damage.header(lambda table: table[Q].update({key: value}))


FILES: dict[str, Damage] = {
    "no weights": damage.gone(WEIGHTS),
    "weights a folder": damage.folder_instead(WEIGHTS),
    "weights a loop": damage.looped(WEIGHTS),
    "weights a link to nothing": damage.dangling(WEIGHTS),
    "weights empty": damage.content(WEIGHTS, b""),
    "weights of 7 bytes": damage.content(WEIGHTS, b"1234567"),
    "weights cut in the header": damage.cut(WEIGHTS, 0.004),
    "weights cut in half": damage.cut(WEIGHTS, 0.5),
    "weights cut at the end": damage.cut(WEIGHTS, 0.9999),
    "weights a pickle": damage.content(WEIGHTS, b"\x80\x04\x95\x10" + b"cposix\nsystem\n" * 9),
    "weights a zip": damage.content(WEIGHTS, b"PK\x03\x04" + b"\0" * 90),
    "weights a web page": damage.content(WEIGHTS, b"<!DOCTYPE html><title>404</title>" * 9),
    "weights a pointer": damage.content(WEIGHTS, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
    "weights of zeros": damage.content(WEIGHTS, b"\0" * 4096),
    "a pickle alone": damage.all_of(damage.gone(WEIGHTS), damage.content("pytorch_model.bin", b"\x80\x04" * 9)),
    "a header of a text": damage.raw_header(b'"tensors"' + b" " * 99),
    "a header of a list": damage.raw_header(b"[1, 2]" + b" " * 99),
    "a header of nothing": damage.raw_header(b"{}      "),
    "a header cut": damage.raw_header(b'{"a": {"dtype": "F16"'),
    "a header of brackets": damage.raw_header(b"{" * 100_000),
    "a header without end": damage.raw_header(b"{}", claimed=1 << 62),
    "a header of a gigabyte": damage.raw_header(b"{}", claimed=1 << 30),
    "no dtype": _entry("dtype", None),
    "a dtype that is a list": _entry("dtype", ["F16"]),
    "an unknown dtype": _entry("dtype", "F99"),
    "a dtype of another width": _entry("dtype", "F32"),
    "a shape that is a text": _entry("shape", "64x64"),
    "a negative shape": _entry("shape", [-64, 64]),
    "a shape of a page": _entry("shape", [1] * 100),
    "a shape beyond all": _entry("shape", [1 << 62, 1 << 62]),
    "a shape of another size": _entry("shape", [64, 63]),
    "offsets the wrong way": _entry("data_offsets", [64, 0]),
    "offsets outside": _entry("data_offsets", [1 << 40, (1 << 40) + 8192]),
    "offsets of three": _entry("data_offsets", [0, 8, 16]),
    "overlapping tensors": damage.header(_overlap),
    "metadata a list": damage.header(lambda table: table.update({"__metadata__": [1]})),
    "an entry that is a number": damage.header(lambda table: table.update({Q: 3})),
}
TENSORS: dict[str, Damage] = {
    "NaN in a matrix": damage.value(Q, float("nan")),
    "infinity in a matrix": damage.value(Q, float("inf")),
    "NaN in the embedding": damage.value(EMBEDDING, float("nan")),
    "infinity in a norm": damage.value("model.norm.weight", float("-inf")),
    "NaN in a bias": damage.value("model.layers.0.self_attn.q_proj.bias", float("nan")),
    "more than F16 holds": damage.value(Q, 1e30),
    "no query": damage.without(Q),
    "no embedding": damage.without(EMBEDDING),
    "no last norm": damage.without("model.norm.weight"),
    "no output": damage.without("lm_head.weight"),
    "no bias": damage.without("model.layers.0.self_attn.k_proj.bias"),
    "no tensor": damage.tensors(dict.clear),
    "a tensor of another model": damage.renamed(Q, "model.layers.0.attention.query.weight"),
    "a tensor of a layer that is not": damage.renamed(Q, "model.layers.7.self_attn.q_proj.weight"),
    "a tensor with control signs": damage.renamed(Q, "model.\x1b[31m\n.weight"),
    "a tensor with a name of a page": damage.renamed(Q, "q" * 60_000),
    "a matrix turned": damage.reshaped("model.layers.0.mlp.up_proj.weight", np.transpose),
    "a matrix cut": damage.reshaped(Q, lambda values: values[:-1]),
    "a matrix in three dimensions": damage.reshaped(Q, lambda values: values[None]),
    "an empty matrix": damage.reshaped(Q, lambda values: values[:0]),
    "a norm as a matrix": damage.reshaped("model.norm.weight", lambda values: values[None]),
    "an embedding of more rows": damage.reshaped(EMBEDDING, lambda values: np.concatenate([values, values])),
    "integers": damage.as_type(Q, "I8"),
    "8-bit floats": damage.as_type(Q, "F8_E4M3"),
}
SHARDS: dict[str, Damage] = {
    "a shard missing": damage.gone(TWO),
    "a shard empty": damage.content(TWO, b""),
    "a shard cut": damage.cut(TWO, 0.6),
    "shards swapped by the names alone": damage.all_of(damage.gone(INDEX), damage.content(TWO, b"{}")),
    "one shard twice": lambda folder: shutil.copyfile(folder / ONE, folder / TWO),
    "a shard missing and no index": damage.all_of(damage.gone(INDEX), damage.gone(ONE)),
    "an index of no JSON": damage.content(INDEX, b"weights"),
    "an index without a map": changed(INDEX, {"metadata": {}}),
    "an index with an empty map": changed(INDEX, {}, "weight_map"),
    "an index with a list": changed(INDEX, [ONE], "weight_map"),
    "an index to numbers": changed(INDEX, 3, "weight_map", Q),
    "an index to what is not there": changed(INDEX, "model-00009-of-00009.safetensors", "weight_map", Q),
    "an index out of the folder": changed(INDEX, f"../{ONE}", "weight_map", Q),
    "an index to a pickle": changed(INDEX, "pytorch_model.bin", "weight_map", Q),
    "an index to a tensor that is not there": changed(INDEX, ONE, "weight_map", "model.absent.weight"),
    "an index that leaves one out": changed(INDEX, GONE, "weight_map", Q),
    "an index that is a folder": damage.folder_instead(INDEX),
    "an index that is a loop": damage.looped(INDEX),
    "a shard that is a loop": damage.looped(ONE),
}
PLAIN = _config_damages() | TOKENIZERS | FILES | TENSORS
QUANT = "quantize_config.json"
PART = "model.layers.0.mlp.down_proj"
GPTQ: dict[str, Damage] = {
    "settings cut": damage.cut(QUANT, 0.5),
    "settings a list": changed(QUANT, []),
    "no bits": changed(QUANT, GONE, "bits"),
    "five bits": changed(QUANT, 5, "bits"),
    "bits of another width": changed(QUANT, 8, "bits"),
    "bits a text": changed(QUANT, "4", "bits"),
    "bits a list": changed(QUANT, [4], "bits"),
    "a group of 0": changed(QUANT, 0, "group_size"),
    "groups of another size": damage.all_of(changed(QUANT, 16, "group_size"), damage.without(f"{PART}.g_idx")),
    "a group as a text": changed(QUANT, "32", "group_size"),
    "Marlin's order": changed(QUANT, "marlin", "checkpoint_format"),
    "a format that is a list": changed(QUANT, ["gptq"], "checkpoint_format"),
    "a method of a page": changed(QUANT, "A" * 5000, "quant_method"),
    "bits of 400 digits": changed(QUANT, 10**400, "bits"),
    "AWQ": changed(QUANT, "awq", "quant_method"),
    "settings of some matrices": changed(QUANT, {"-:lm_head": {}}, "dynamic"),
    "words of 64 bits": changed(QUANT, "int64", "pack_dtype"),
    "a damp of 400 digits": damage.all_of(changed(QUANT, 10**400, "damp_percent"), damage.cut(WEIGHTS, 0.9)),
    "no integers": damage.without(f"{PART}.qweight"),
    "no scales": damage.without(f"{PART}.scales"),
    "no zeros": damage.without(f"{PART}.qzeros"),
    "integers alone": damage.all_of(damage.without(f"{PART}.scales"), damage.without(f"{PART}.qzeros")),
    "NaN among scales": damage.value(f"{PART}.scales", float("nan")),
    "infinity among scales": damage.value(f"{PART}.scales", float("inf")),
    "NaN in the embedding": damage.value(EMBEDDING, float("nan")),
    "a group that is not there": damage.value(f"{PART}.g_idx", 99),
    "a negative group": damage.value(f"{PART}.g_idx", -1),
    "groups out of order": damage.reshaped(f"{PART}.g_idx", lambda values: np.arange(len(values), dtype=np.int32) % 3),
    "group numbers cut": damage.reshaped(f"{PART}.g_idx", lambda values: values[:-1]),
    "group numbers as a matrix": damage.reshaped(f"{PART}.g_idx", lambda values: values[None]),
    "integers cut": damage.reshaped(f"{PART}.qweight", lambda values: values[:-1]),
    "integers turned": damage.reshaped(f"{PART}.qweight", np.transpose),
    "integers empty": damage.reshaped(f"{PART}.qweight", lambda values: values[:0]),
    "integers in one dimension": damage.reshaped(f"{PART}.qweight", np.ravel),
    "scales cut": damage.reshaped(f"{PART}.scales", lambda values: values[:, :-1]),
    "zeros cut": damage.reshaped(f"{PART}.qzeros", lambda values: values[:, :-1]),
    "zeros that wrap around": damage.reshaped(f"{PART}.qzeros", lambda values: values * 0 - 1),
    "integers as floats": damage.as_type(f"{PART}.qweight", "F16"),
    "integers of 8 bits": damage.as_type(f"{PART}.qweight", "I8"),
    "scales of integers": damage.as_type(f"{PART}.scales", "I8"),
    "a matrix whole and quantized": damage.tensors(
        lambda found: found.update({f"{PART}.weight": ("F16", np.ones((64, 96), np.float16))})
    ),
    "a matrix of no model": damage.tensors(
        lambda found: found.update({key.replace(PART, "model.gate"): found[key] for key in list(found) if PART in key})
    ),
    "weights cut": damage.cut(WEIGHTS, 0.8),
    "config gone": damage.gone(CONFIG),
    "config of another size": changed(CONFIG, 128, "hidden_size"),
    "no tokenizer": damage.gone(TOKENIZER),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound folders to damage copies of: one file, two shards, GPTQ."""
    folder = tmp_path_factory.mktemp("models")
    write_folder(folder / "plain", config=SMALL)
    write_folder(folder / "sharded", config=SMALL, shards=2)
    make_gptq_folder(folder / "plain", folder / "gptq", GptqSettings(group_size=32))
    return folder


@pytest.fixture
def bench(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The command in a folder of its own."""
    return Bench(tmp_path, capsys, monkeypatch)


def _damaged(models: Path, kind: str, table: dict[str, Damage], case: str, bench: Bench) -> str:
    folder = bench.folder / "model"
    shutil.copytree(models / kind, folder)
    table[case](folder)
    return str(folder)


@pytest.mark.parametrize("case", PLAIN)
def test_a_damaged_folder(case: str, models: Path, bench: Bench) -> None:
    source = _damaged(models, "plain", PLAIN, case, bench)
    bench.refused(source, "--to", "gguf:F16", "-o", str(bench.folder / "new" / "out.gguf"))


@pytest.mark.parametrize("case", SHARDS)
def test_damaged_shards(case: str, models: Path, bench: Bench) -> None:
    source = _damaged(models, "sharded", SHARDS, case, bench)
    bench.refused(source, "--to", "gguf:BF16", "-o", str(bench.folder / "out.gguf"), codes=(3,))


@pytest.mark.parametrize("case", GPTQ)
def test_a_damaged_gptq_folder(case: str, models: Path, bench: Bench) -> None:
    source = _damaged(models, "gptq", GPTQ, case, bench)
    bench.refused(source, "--to", "gguf:Q4_0", "-o", str(bench.folder / "new" / "out.gguf"))


@pytest.mark.parametrize("form", ["gguf:Q4_K_M", "gptq:4", "onnx:int4"])
@pytest.mark.parametrize("case", ["NaN in a matrix", "weights cut in half", "tokenizer cut", "config cut"])
def test_a_damaged_folder_to_every_kind_of_form(case: str, form: str, models: Path, bench: Bench) -> None:
    source = _damaged(models, "plain", PLAIN, case, bench)
    bench.refused(source, "--to", form, "-o", str(bench.folder / "new" / "out"), codes=(3, 6))


def test_there_are_enough() -> None:
    assert len(PLAIN) + len(SHARDS) + len(GPTQ) >= 200

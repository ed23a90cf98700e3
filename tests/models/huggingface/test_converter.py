"""A Hugging Face folder as GGUF: what is written, whatever the folder's form."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from models.errors import InternalError, WriteError
from models.gguf_file import GgufFile
from models.huggingface.architectures import FAMILIES, architecture_of, tensor_names
from models.huggingface.checkpoint import Checkpoint
from models.huggingface.config import ModelConfig
from models.huggingface.convert import StandIn, convert_whole
from models.huggingface.encoding import to_bfloat16
from models.huggingface.pre_tokenizer import recognize_pre
from models.locations import shipped_model
from tests.fakes.huggingface_folders import (
    CONFIGS,
    PRE_TOKENIZERS,
    SPECIAL,
    byte_level_tokenizer,
    fallback_tokenizer,
    random_weights,
    split,
    stored,
    tokenizer_settings,
    weight_shapes,
    write_folder,
)

SHIPPED = shipped_model().with_name("huggingface")
ROOT = Path(__file__).parents[3]


def configuration(class_name: str) -> ModelConfig:
    """The family's own, of no file."""
    return ModelConfig(Path("config.json"), {**CONFIGS[class_name], "architectures": [class_name]})


def test_the_shipped_folder_gives_the_shipped_file(tmp_path: Path) -> None:
    made = convert_whole(SHIPPED, tmp_path / "made.gguf")
    ours, shipped = (
        GgufFile.open(tmp_path / "made.gguf"),
        GgufFile.open(shipped_model().with_name("kangae-tiny-F16.gguf")),
    )
    assert made.type == "F16" and made.tensors == len(shipped.tensors)
    for name, info in shipped.tensors.items():
        assert (ours.info(name).type, ours.info(name).shape) == (info.type, info.shape)
        if info.type == "F16":
            assert np.array_equal(ours.raw(name), shipped.raw(name)), name
        else:  # the folder holds these as F16, the shipped file as they were trained
            assert np.array_equal(ours.values(name), shipped.values(name).astype(np.float16).astype(np.float32)), name
    for key in ("tokens", "token_type", "merges"):
        assert ours.list(f"tokenizer.ggml.{key}") == shipped.list(f"tokenizer.ggml.{key}")
    for key in ("tokenizer.ggml.pre", "tokenizer.ggml.eos_token_id", "tokenizer.ggml.padding_token_id"):
        assert ours.scalar(key) == shipped.scalar(key)
    assert ours.scalar("tokenizer.chat_template") == shipped.scalar("tokenizer.chat_template")
    assert ours.scalar("general.sampling.temp") == shipped.scalar("general.sampling.temp") == 0.0


@pytest.mark.parametrize("class_name", CONFIGS)
@pytest.mark.parametrize("outtype", ["f16", "bf16", "f32"])
def test_values_are_those_of_the_folder(class_name: str, outtype: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", class_name)
    convert_whole(folder, tmp_path / "model.gguf", outtype=outtype)
    made, checkpoint = GgufFile.open(tmp_path / "model.gguf"), Checkpoint.open(folder)
    architecture = architecture_of(checkpoint.config)
    for name in checkpoint.tensors:
        written = architecture.gguf_name(name)
        assert written is not None and architecture.hf_name(written) == name
        order = architecture.permutation(name)
        values = checkpoint.values(name)
        expected = values if order is None else values[order]
        found = made.values(written)
        if outtype == "f16" and expected.ndim > 1:
            expected = expected.astype(np.float16).astype(np.float32)
        assert np.array_equal(found, expected), name
        kind = made.info(written).type
        assert kind == ("F32" if expected.ndim == 1 else outtype.upper())
    assert made.scalar("general.file_type") == {"f32": 0, "f16": 1, "bf16": 32}[outtype]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.gguf)
def test_names_are_those_of_the_gguf_package(family: Any) -> None:
    architecture = architecture_of(configuration(family.class_name))
    kind = next(one for one, name in gguf.MODEL_ARCH_NAMES.items() if name == family.gguf)
    known = gguf.get_tensor_name_map(kind, architecture.layers)
    names = list(tensor_names(architecture))
    assert {architecture.gguf_name(name) for name in names} == {
        known.get_name(name, try_suffixes=(".weight",)) for name in names
    }


def test_rows_move_in_pairs() -> None:
    architecture = architecture_of(configuration("LlamaForCausalLM"))
    order = architecture.permutation("model.layers.0.self_attn.k_proj.weight")
    assert order is not None
    assert (
        list(order[:6]) == [0, 8, 1, 9, 2, 10] and list(order[16:18]) == [16, 24] and sorted(order) == list(range(32))
    )
    assert architecture.permutation("model.layers.0.self_attn.v_proj.weight") is None


@pytest.mark.parametrize(("kind", "expected"), [("BF16", "BF16"), ("F16", "F16"), ("F32", "F32")])
def test_auto_keeps_the_stored_type_and_shards_change_nothing(kind: str, expected: str, tmp_path: Path) -> None:
    single, sharded = (tmp_path / one / "Some-Model" for one in ("a", "b"))
    write_folder(single, kind=kind)
    write_folder(sharded, kind=kind, shards=4)
    assert convert_whole(single, tmp_path / "single.gguf").type == expected
    convert_whole(sharded, tmp_path / "sharded.gguf")
    one, other = GgufFile.open(tmp_path / "single.gguf"), GgufFile.open(tmp_path / "sharded.gguf")
    assert set(one.tensors) == set(other.tensors)
    assert all(np.array_equal(one.raw(name), other.raw(name)) for name in one.tensors)
    assert one.head()[24:] == other.head()[24:]


def test_bfloat16_is_rounded_to_even() -> None:
    values = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0xBF80FFFF], np.uint32).view(np.float32)
    assert list(to_bfloat16(values)) == [0x3F80, 0x3F82, 0x3F81, 0xBF81]


def test_tokens_have_their_types(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", settings=tokenizer_settings(extra_special_tokens=["<think>"]))
    convert_whole(folder, tmp_path / "model.gguf")
    made = GgufFile.open(tmp_path / "model.gguf")
    tokens, types = made.list("tokenizer.ggml.tokens"), made.list("tokenizer.ggml.token_type")
    assert tokens[300:305] == SPECIAL and tokens[305] == "[PAD305]" and len(tokens) == 320
    control, user, normal, unused = 3, 4, 1, 5
    assert types[299:306] == (normal, control, control, control, control, user, unused)
    assert made.scalar("tokenizer.ggml.eos_token_id") == 301


def test_an_output_matrix_that_is_the_embedding_is_left_out(tmp_path: Path) -> None:
    values = {**CONFIGS["Qwen2ForCausalLM"], "tie_word_embeddings": True}
    weights = random_weights(weight_shapes("Qwen2ForCausalLM", values))
    same = {**weights, "lm_head.weight": weights["model.embed_tokens.weight"]}
    other = {**weights, "lm_head.weight": weights["model.embed_tokens.weight"] + 1}
    for name, tensors, expected in (("same", same, False), ("other", other, True), ("none", weights, False)):
        folder = write_folder(tmp_path / name, config={"tie_word_embeddings": True}, weights=tensors)
        convert_whole(folder, tmp_path / f"{name}.gguf")
        assert ("output.weight" in GgufFile.open(tmp_path / f"{name}.gguf").tensors) is expected


def test_scores_of_a_tokenizer_json_follow_its_merges(tmp_path: Path) -> None:
    table = fallback_tokenizer()
    ids = {"vocab_size": 320, "bos_token_id": 1, "eos_token_id": 2, "rope_scaling": None}
    folder = write_folder(tmp_path / "folder", "LlamaForCausalLM", config=ids, tokenizer=table, settings={"a": 1})
    convert_whole(folder, tmp_path / "model.gguf")
    made = GgufFile.open(tmp_path / "model.gguf")
    assert made.scalar("tokenizer.ggml.model") == "llama"
    tokens, scores = made.list("tokenizer.ggml.tokens"), made.list("tokenizer.ggml.scores")
    by_token = dict(zip(tokens, scores, strict=True))
    merged = ["".join(pair) for pair in table["model"]["merges"]]
    assert [by_token[token] for token in merged] == sorted((by_token[token] for token in merged), reverse=True)
    types = dict(zip(tokens, made.list("tokenizer.ggml.token_type"), strict=True))
    assert (types["<0x0A>"], types["<s>"], types["<think>"], types["▁the"], types["[PAD319]"]) == (6, 3, 4, 1, 5)


@pytest.mark.parametrize(
    ("pre", "architecture", "first", "expected"),
    [
        ("qwen2", "qwen2", None, "qwen2"),
        ("qwen2", "qwen2", "<｜begin▁of▁sentence｜>", "deepseek-r1-qwen"),
        ("llama-bpe", "llama", "<|begin_of_text|>", "llama-bpe"),
        ("gpt-2", "qwen3", None, "gpt-2"),
        ("gpt-2", "exaone4", "[BOS]", "exaone4"),
        ("gpt-2", "phi3", None, "phi-2"),
        ("smollm", "llama", None, "smollm"),
        ("smollm", "exaone", "[BOS]", "exaone"),
    ],
)
def test_pre_tokenizers_are_told_from_their_patterns(
    pre: str, architecture: str, first: str | None, expected: str
) -> None:
    assert recognize_pre(byte_level_tokenizer(pre), architecture, first) == expected


def test_the_same_patterns_without_whole_words_are_another_pre_tokenizer() -> None:
    table = byte_level_tokenizer("llama-bpe")
    table["model"]["ignore_merges"] = False
    assert recognize_pre(table, "phi3", "<|endoftext|>") == "dbrx"
    assert recognize_pre(table, "llama", "<|begin_of_text|>") == "smaug-bpe"


def test_a_pre_tokenizer_of_ones_own_can_be_named(tmp_path: Path) -> None:
    table = byte_level_tokenizer()
    table["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split("x+"), PRE_TOKENIZERS["gpt-2"]]}
    folder = write_folder(tmp_path / "folder", tokenizer=table)
    convert_whole(folder, tmp_path / "model.gguf", pre="starcoder")
    assert GgufFile.open(tmp_path / "model.gguf").scalar("tokenizer.ggml.pre") == "starcoder"


def test_what_is_known_of_the_model_comes_along(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "Some-Model-2B-v1.5")
    (folder / "README.md").write_text(
        "---\nlicense: mit\nbase_model: Qwen/Qwen2.5-1.5B\ndatasets: [a/traces]\nlanguage: [en, no]\n---\n"
    )
    (folder / "generation_config.json").write_text('{"temperature": 0.6, "top_k": 20, "top_p": 0.95}')
    convert_whole(folder, tmp_path / "model.gguf")
    made = GgufFile.open(tmp_path / "model.gguf")
    assert made.scalar("general.license") == "mit"
    assert made.scalar("general.base_model.0.repo_url") == "https://huggingface.co/Qwen/Qwen2.5-1.5B"
    assert made.scalar("general.dataset.0.name") == "Traces"
    assert made.list("general.languages") == ("en", "no")
    assert made.scalar("general.sampling.temp") == pytest.approx(0.6)
    assert made.scalar("general.sampling.top_k") == 20
    assert made.scalar("kangae.source") == "Some-Model-2B-v1.5 (BF16 safetensors)"
    assert str(made.scalar("kangae.converter")).startswith("kangae ")


@pytest.mark.parametrize("front", ["license: [", "tags: {a: 1}", "base_model: 7", "license: 2026-01-01", "a: &a [*a]"])
def test_a_model_card_that_is_odd_stops_nothing(front: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder")
    (folder / "README.md").write_text(f"---\n{front}\n---\n")
    assert convert_whole(folder, tmp_path / "model.gguf").tensors == 51


def test_what_llama_cpp_does_otherwise_is_noted(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", config={"use_sliding_window": True, "sliding_window": 128})
    (note,) = convert_whole(folder, tmp_path / "model.gguf").notes
    assert "window of 128 tokens" in note


@pytest.mark.parametrize("class_name", ["Qwen2ForCausalLM", "LlamaForCausalLM"])
def test_stand_ins_take_the_place_of_what_was_quantized(class_name: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", class_name, config={"quantization_config": {"quant_method": "gptq"}})
    checkpoint = Checkpoint.open(folder)
    names = [name for name in checkpoint.tensors if name.endswith("q_proj.weight")]
    blocks = {
        name: gguf.quants.quantize(checkpoint.values(name), gguf.GGMLQuantizationType.Q8_0).view(np.uint8)
        for name in names
    }
    weights = {name: checkpoint.values(name) for name in checkpoint.tensors if name not in names}
    packed = {name.replace(".weight", ".qweight"): np.ones((2, 3), np.float32) for name in names}
    values = {"quantization_config": {"quant_method": "gptq"}}
    write_folder(folder, class_name, config=values, weights={**weights, **packed})
    stand_ins = [StandIn(name, (64, 64), "Q8_0", lambda name=name: blocks[name]) for name in names]  # type: ignore[misc]
    made = convert_whole(folder, tmp_path / "model.gguf", stand_ins=stand_ins, file_type="Q8_0")
    assert made.type == "Q8_0"
    file, architecture = GgufFile.open(tmp_path / "model.gguf"), architecture_of(checkpoint.config)
    for name in names:
        order = architecture.permutation(name)
        data = blocks[name] if order is None else blocks[name][order]
        assert file.info(f"blk.{name.split('.')[2]}.attn_q.weight").type == "Q8_0"
        assert np.array_equal(file.raw(f"blk.{name.split('.')[2]}.attn_q.weight"), data)
    assert file.info("blk.0.attn_v.weight").type == "BF16"


def test_a_stand_in_of_another_size_is_a_fault_of_ours(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder")
    one = StandIn("model.layers.0.self_attn.q_proj.weight", (64, 64), "Q8_0", lambda: np.zeros((64, 34), np.uint8))
    with pytest.raises(InternalError, match="attn_q"):
        convert_whole(folder, tmp_path / "model.gguf", stand_ins=[one])
    assert sorted(tmp_path.iterdir()) == [folder]


def test_no_room_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "folder")
    monkeypatch.setattr("models.huggingface.convert.shutil.disk_usage", lambda path: type("Usage", (), {"free": 5})())
    with pytest.raises(WriteError, match="free space"):
        convert_whole(folder, tmp_path / "model.gguf")
    assert sorted(tmp_path.iterdir()) == [folder]


def test_progress_ends_at_the_whole(tmp_path: Path) -> None:
    shares: list[float] = []
    convert_whole(write_folder(tmp_path / "folder"), tmp_path / "model.gguf", progress=shares.append)
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1.0)


def test_the_file_runs(tmp_path: Path) -> None:
    from runtime.backends.backend import Slice
    from runtime.backends.llama import open_llama

    convert_whole(SHIPPED, tmp_path / "made.gguf")
    rows = []
    for path in (tmp_path / "made.gguf", shipped_model().with_name("kangae-tiny-F16.gguf")):
        backend = open_llama(path, context=64, sequences=1)
        (row,) = backend.decode([Slice(0, 0, [5, 6, 7, 8], want_logits=True)])
        assert row is not None
        rows.append(np.array(backend.logits(row)))
        backend.close()
    np.testing.assert_allclose(rows[0], rows[1], atol=0.05)
    assert rows[0].argmax() == rows[1].argmax()


_CONVERT = "import sys, resource; from pathlib import Path; from models.huggingface.convert import convert_whole; {}"


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_no_half_file(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", config={"vocab_size": 60_000, "hidden_size": 256}, kind="F32")
    convert_whole(folder, tmp_path / "whole.gguf", outtype="f16")
    target = tmp_path / "out" / "model.gguf"
    target.parent.mkdir()
    code = _CONVERT.format("print(flush=True); convert_whole(Path(sys.argv[1]), Path(sys.argv[2]), outtype='f16')")
    killed = 0
    moments = random.Random(7)
    for _ in range(12):
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(folder), str(target)], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        child.stdout.readline()  # imports are done
        time.sleep(moments.random() * 0.2)
        child.send_signal(signal.SIGKILL)
        killed += child.wait() == -signal.SIGKILL
        child.stdout.close()
        if target.exists():
            assert target.read_bytes() == (tmp_path / "whole.gguf").read_bytes()
            target.unlink()
    assert killed > 3
    convert_whole(folder, target, outtype="f16")
    assert target.read_bytes() == (tmp_path / "whole.gguf").read_bytes()
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("class_name", ["Qwen2ForCausalLM", "LlamaForCausalLM"])
def test_memory_is_bounded_by_the_largest_tensor(class_name: str, tmp_path: Path) -> None:
    config = {"vocab_size": 50_000, "hidden_size": 1024, "intermediate_size": 2048, "num_hidden_layers": 1}
    config["tie_word_embeddings"] = True
    values = {**CONFIGS[class_name], **config}
    shapes = weight_shapes(class_name, values)
    folder = write_folder(
        tmp_path / "folder",
        class_name,
        config=config,
        kind="F32",
        weights={name: np.full(shape, 0.25, np.float32) for name, shape in shapes.items()},
    )
    largest = 50_000 * 1024 * 4
    code = _CONVERT.format(
        "convert_whole(Path(sys.argv[1]), Path(sys.argv[2]), outtype='f16');"
        "print(int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) * 1024)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(tmp_path / "model.gguf")],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(run.stdout) < 4 * largest + 300_000_000
    assert int(run.stdout) < 300_000_000  # in fact a chunk at a time


def test_the_folder_is_read_as_it_is_stored(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", shards=2)
    checkpoint = Checkpoint.open(folder)
    weights = random_weights(weight_shapes("Qwen2ForCausalLM", CONFIGS["Qwen2ForCausalLM"]))
    name = "model.layers.2.mlp.up_proj.weight"
    assert np.array_equal(checkpoint.raw(name), stored(weights[name], "BF16"))
    assert checkpoint.values(name).shape == (96, 64)
    assert [len(part) for part in checkpoint.chunks(name, 2500)] == [2500, 2500, 1144]
    assert json.loads((folder / "config.json").read_text())["vocab_size"] == checkpoint.config.size("vocab_size")

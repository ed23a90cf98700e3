"""ONNX folders: what is refused before anything runs, and what the builder writes from whole and from GPTQ weights."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("tokenizers")

from models.errors import KangaeError, MissingPackageError, ModelError, UsageError, WriteError
from models.gptq.checkpoint import GptqCheckpoint
from models.gptq.layer import GptqSettings
from quantize.child import Ended
from quantize.onnx import export
from quantize.onnx.export import export_onnx
from quantize.onnx.settings import OnnxSettings
from quantize.onnx.source import OnnxSource
from tests.fakes.gptq_folders import make_gptq_folder
from tests.fakes.onnx_folders import HUGGINGFACE, exported, gptq_folder, require_builder


def copied(tmp_path: Path, **config: Any) -> Path:
    """The shipped model's folder, its configuration changed."""
    target = tmp_path / "source"
    shutil.copytree(HUGGINGFACE, target)
    table = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**table, **config}))
    return target


# --- refused ---


@pytest.mark.parametrize(
    ("precision", "provider", "told"),
    [("int3", None, "int4, int8"), ("int4", "npu", "cpu, cuda"), ("fp16", "cpu", "GPUs alone")],
)
def test_settings_that_cannot_be(precision: str, provider: str | None, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        OnnxSettings(precision, provider)


def test_sixteen_bits_are_for_a_gpu() -> None:
    assert [OnnxSettings(one).target for one in ("int4", "int8", "fp32", "fp16")] == ["cpu", "cpu", "cpu", "cuda"]


def test_as_many_tokens_as_inner_values_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="vocab_size = intermediate_size = 2048"):
        OnnxSource.open(copied(tmp_path, intermediate_size=2048), OnnxSettings())


@pytest.mark.parametrize(
    ("settings", "precision", "told"),
    [
        (GptqSettings(bits=2, group_size=32), "int4", "2 bits"),
        (GptqSettings(bits=8, group_size=32), "int4", "give --to onnx:int8"),
        (GptqSettings(bits=4, group_size=-1), "int4", "whole rows"),
        (GptqSettings(bits=4, group_size=32), "fp32", "give --to onnx:int4"),
    ],
)
def test_gptq_weights_without_an_onnx_form_are_refused(
    tmp_path: Path, settings: GptqSettings, precision: str, told: str
) -> None:
    make_gptq_folder(HUGGINGFACE, tmp_path / "gptq", settings)
    with pytest.raises(UsageError, match=told):
        OnnxSource.open(tmp_path / "gptq", OnnxSettings(precision))


def test_scattered_groups_are_refused_and_static_ones_are_not(tmp_path: Path) -> None:
    settings = GptqSettings(bits=4, group_size=32, act_order=True, static_groups=True)
    make_gptq_folder(HUGGINGFACE, tmp_path / "static", settings)
    source = OnnxSource.open(tmp_path / "static", OnnxSettings())
    (tmp_path / "staged").mkdir()
    source.stage(tmp_path / "staged")
    staged = json.loads((tmp_path / "staged" / "config.json").read_text())
    assert staged["quantization_config"]["desc_act"] is False
    from models.gptq.writer import write_gptq
    from tests.fakes.gptq_folders import round_to_nearest

    own = GptqCheckpoint.open(tmp_path / "static")
    order = np.random.default_rng(3).permutation(np.arange(256) // 32).astype(np.int32)
    scattered = {
        name: round_to_nearest(layer.weights(), settings, order if layer.columns == 256 else None)
        for name, layer in own.mapping().items()
    }
    loose = GptqSettings(bits=4, group_size=32, act_order=True)
    write_gptq(HUGGINGFACE, tmp_path / "scattered", scattered, loose, {"quantizer": ["kangae:test"]})
    with pytest.raises(UsageError, match="scattered"):
        OnnxSource.open(tmp_path / "scattered", OnnxSettings())


def test_a_folder_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    source = copied(tmp_path)
    weights = source / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError):
        export_onnx(source, tmp_path / "out", OnnxSettings(), name="x")
    weights.write_bytes(data)
    (source / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        export_onnx(source, tmp_path / "out", OnnxSettings(), name="x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_a_vocabulary_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="ids up to 2047"):
        OnnxSource.open(copied(tmp_path, vocab_size=600), OnnxSettings())


def test_an_output_that_is_there_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "mine").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        export_onnx(HUGGINGFACE, target, OnnxSettings(), name="x")
    with pytest.raises(UsageError, match="something else than an ONNX model"):
        export_onnx(HUGGINGFACE, target, OnnxSettings(), name="x", force=True)
    with pytest.raises(UsageError, match="the model itself"):
        export_onnx(HUGGINGFACE, HUGGINGFACE, OnnxSettings(), name="x", force=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        export_onnx(HUGGINGFACE, tmp_path / "file", OnnxSettings(), name="x", force=True)
    assert (target / "mine").read_text() == "mine"


def test_too_little_room_is_told_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1 << 20))
    with pytest.raises(WriteError, match="MB free"):
        export_onnx(HUGGINGFACE, tmp_path / "out", OnnxSettings(), name="x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("said", "kind", "told"),
    [
        ('{"missing": "onnx_ir"}', MissingPackageError, "onnx_ir.*EXTRAS=onnx"),
        ('{"fault": "NotImplementedError of it"}', ModelError, "builder fails on it .NotImplementedError of it"),
        ('{"fault": "no space", "number": "28"}', WriteError, "no space"),
        ("", ModelError, "made onnxruntime-genai's builder stop"),
    ],
)
def test_what_the_builder_cannot_do_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, kind: type[KangaeError], told: str
) -> None:
    monkeypatch.setattr(export, "run_child", lambda *_: Ended(-9 if not said else 0, said))
    with pytest.raises(kind, match=told):
        export_onnx(HUGGINGFACE, tmp_path / "out", OnnxSettings(), name="x")
    assert list(tmp_path.iterdir()) == []


def test_without_the_package_the_child_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from quantize.onnx import builder_child

    monkeypatch.setitem(sys.modules, "onnxruntime_genai", None)
    monkeypatch.setattr(builder_child, "end_with_parent", lambda _: None)
    monkeypatch.setattr(sys, "argv", [*sys.argv])
    assert builder_child.main([json.dumps({"arguments": []})]) == 0
    assert json.loads(capsys.readouterr().out)["missing"].startswith("onnxruntime_genai")


# --- written ---


def tensors_of(folder: Path) -> tuple[Any, dict[str, npt.NDArray[Any]]]:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(folder / "model.onnx"))
    return model.graph, {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}


def rounded_weights(folder: Path) -> dict[str, npt.NDArray[np.float32]]:
    """What the quantized matrices of the graph stand for, by the node's name: scale × (integer − zero)."""
    graph, values = tensors_of(folder)
    found = {}
    for node in graph.node:
        if node.op_type != "MatMulNBits" or "layers" not in node.name:
            continue
        numbers = {one.name: one.i for one in node.attribute}
        rows, columns, size, bits = (numbers[key] for key in ("N", "K", "block_size", "bits"))
        packed = values[node.input[1]].reshape(rows, -1)
        integers = packed if bits == 8 else np.stack([packed & 15, packed >> 4], -1).reshape(rows, -1)
        zeros = values[node.input[3]].reshape(rows, -1)
        zeros = zeros if bits == 8 else np.stack([zeros & 15, zeros >> 4], -1).reshape(rows, -1)
        scales = values[node.input[2]].reshape(rows, -1)
        index = np.arange(columns) // size
        found[node.name] = (integers.astype(np.float32) - zeros[:, index]) * scales[:, index]
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("bits", "group"), [(4, 32), (4, 128), (8, 32)])
def test_gptq_integers_are_kept_bit_for_bit(tmp_path: Path, bits: int, group: int) -> None:
    require_builder()
    source = gptq_folder(bits, group)
    done = export_onnx(source, tmp_path / "out", OnnxSettings(f"int{bits}"), name="tiny")
    found = rounded_weights(tmp_path / "out")
    layers = GptqCheckpoint.open(source).mapping()
    for number in range(4):
        own = {name.rsplit(".", 2)[1]: layers[name].weights() for name in layers if f".layers.{number}." in name}
        place = f"/model/layers.{number}"
        packed = np.concatenate([own[f"{part}_proj"] for part in "qkv"])
        np.testing.assert_array_equal(found[f"{place}/attn/qkv_proj/MatMulNBits"], packed)
        np.testing.assert_array_equal(found[f"{place}/attn/o_proj/MatMulNBits"], own["o_proj"])
        for part in ("gate_proj", "up_proj", "down_proj"):
            np.testing.assert_array_equal(found[f"{place}/mlp/{part}/MatMulNBits"], own[part])
    assert len(found) == 20
    told = json.loads((tmp_path / "out" / "kangae.json").read_text())
    assert told["quantizer"] == f"GPTQ, {bits} bits, g{group}, by kangae:test"
    assert (done.bytes, done.form) == (
        sum(one.stat().st_size for one in (tmp_path / "out").iterdir()),
        f"onnx:int{bits}",
    )


def logits_of(folder: Path, ids: list[int]) -> npt.NDArray[np.float32]:
    from runtime.backends.backend import Slice
    from runtime.backends.onnx import open_onnx

    backend = open_onnx(folder, context=256, sequences=1, threads=1)
    rows = backend.decode([Slice(0, at, [token], True) for at, token in enumerate(ids)])
    found = np.stack([backend.logits(row) for row in rows if row is not None])
    backend.close()
    return found


def divergence(reference: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """Mean KL in nats."""
    first, second = (
        values - np.log(np.exp(values).sum(1, keepdims=True))
        for values in (one.astype(np.float64) - one.max(1, keepdims=True) for one in (reference, other))
    )
    return float((np.exp(first) * (first - second)).sum(1).mean())


@pytest.mark.slow
def test_logits_of_int4_are_those_of_the_gptq_weights(tmp_path: Path) -> None:
    """Against transformers over the dequantized weights: what is left is the rounding of the output and of activations,
    a hundredth of what GPTQ itself costs."""
    require_builder()
    import torch
    import transformers

    source = gptq_folder(4, 32)
    export_onnx(source, tmp_path / "out", OnnxSettings(), name="tiny")
    model = transformers.AutoModelForCausalLM.from_pretrained(HUGGINGFACE, dtype=torch.float32)
    ids = np.random.default_rng(5).integers(3, 2000, 120).tolist()
    whole = model(torch.tensor([ids])).logits[0].detach().numpy()
    weights = model.state_dict()
    for name, layer in GptqCheckpoint.open(source).mapping().items():
        weights[name].copy_(torch.from_numpy(layer.weights()))
    expected = model(torch.tensor([ids])).logits[0].detach().numpy()
    found = logits_of(tmp_path / "out", ids)
    assert divergence(expected, found) < 0.05 * divergence(whole, expected)
    np.testing.assert_allclose(logits_of(exported("fp32"), ids), whole, atol=1e-3)


@pytest.mark.slow
def test_an_export_is_whole_and_tells_where_it_came_from(tmp_path: Path) -> None:
    require_builder()
    (source := copied(tmp_path)).joinpath("LICENSE").write_text("do as you like")
    told: list[float] = []
    done = export_onnx(source, tmp_path / "out", OnnxSettings(), name="thinker", progress=told.append)
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"genai_config.json", "model.onnx", "model.onnx.data", "tokenizer.json", "kangae.json", "LICENSE"} <= files
    assert not [name for name in files if name.startswith(".")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]
    assert all(0.0 <= share < 1.0 for share in told)
    provenance = json.loads((tmp_path / "out" / "kangae.json").read_text())
    assert (provenance["name"], provenance["form"], provenance["source"]) == ("thinker", "onnx:int4", "source")
    assert provenance["builder"].startswith("onnxruntime-genai 0.")
    assert provenance["weights"] == 2_756_352
    assert done.bits_per_weight < 8.5
    assert str(tmp_path) not in (tmp_path / "out" / "kangae.json").read_text()
    again = export_onnx(source, tmp_path / "out", OnnxSettings("fp32"), name="thinker", force=True)
    assert json.loads((tmp_path / "out" / "kangae.json").read_text())["form"] == again.form == "onnx:fp32"


@pytest.mark.slow
def test_a_graph_that_does_not_run_is_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The builder's own default for int4 beside an output of 8 bits, in version 0.18.0."""
    require_builder()
    broken = ["hf_remote=false", "matmul_mixed_precision=last_matmul:int8"]
    monkeypatch.setattr(OnnxSettings, "options", lambda *_, **__: broken)
    with pytest.raises(ModelError, match="does not run") as told:
        export_onnx(HUGGINGFACE, tmp_path / "out", OnnxSettings(), name="x")
    assert ".part" not in told.value.detail
    assert list(tmp_path.iterdir()) == []

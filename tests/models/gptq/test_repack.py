"""GPTQ folders as GGUF and back: the same weights, bit for bit, in every family; what cannot be is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from models.errors import ModelError, UsageError, WriteError
from models.gguf_file import GgufFile
from models.gptq.checkpoint import GptqCheckpoint
from models.gptq.from_gguf import gguf_to_gptq
from models.gptq.gguf_names import FolderLayers
from models.gptq.layer import GptqLayer, GptqSettings
from models.gptq.repack import repack_to_gguf
from models.gptq.writer import write_gptq
from models.huggingface.architectures import architecture_of
from models.huggingface.checkpoint import Checkpoint
from models.huggingface.config import ModelConfig
from models.huggingface.convert import convert_whole
from tests.fakes.gptq_folders import PROVENANCE, make_gptq_folder, round_to_nearest, rounded_layers
from tests.fakes.huggingface_folders import CONFIGS, write_folder

ONE_LAYER = {"num_hidden_layers": 1}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def dequantized_folder(source: Path, target: Path, layers: dict[str, GptqLayer], class_name: str) -> Path:
    """The same model with whole weights that are what the integers stand for."""
    checkpoint = Checkpoint.open(source)
    weights = {name: checkpoint.values(name) for name in checkpoint.tensors}
    weights |= {name: layer.weights() for name, layer in layers.items()}
    return write_folder(target, class_name, config=dict(checkpoint.config.values), kind="F32", weights=weights)


@pytest.mark.parametrize("class_name", sorted(CONFIGS))
def test_every_family_keeps_its_weights(class_name: str, tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", class_name, kind="F16")
    layers = make_gptq_folder(source, tmp_path / "gptq", GptqSettings(group_size=32))
    shares: list[float] = []
    done = repack_to_gguf(tmp_path / "gptq", tmp_path / "a.gguf", progress=shares.append)
    assert (done.type, done.tensors["Q4_0"]) == ("Q4_0", len(layers))
    assert done.bytes == (tmp_path / "a.gguf").stat().st_size and shares[-1] == 1.0
    found = GgufFile.open(tmp_path / "a.gguf")
    whole = dequantized_folder(source, tmp_path / "whole", layers, class_name)
    convert_whole(whole, tmp_path / "b.gguf", outtype="f32")
    expected = GgufFile.open(tmp_path / "b.gguf")
    assert set(found.tensors) == set(expected.tensors)
    for name in expected.tensors:
        assert np.array_equal(found.values(name), expected.values(name)), name
    assert found.header.quant == "Q4_0"
    own = {"general.file_type", "general.name", "general.size_label", "kangae.source"}
    assert {key for key in expected.entries() if expected.scalar(key) != found.scalar(key)} <= own


@pytest.mark.parametrize("class_name", ["Qwen2ForCausalLM", "LlamaForCausalLM", "Phi3ForCausalLM"])
@pytest.mark.parametrize("settings", [GptqSettings(group_size=32), GptqSettings(8, 32), GptqSettings(4, -1)])
def test_and_back(class_name: str, settings: GptqSettings, tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", class_name, kind="F16")
    make_gptq_folder(source, tmp_path / "gptq", settings)
    repack_to_gguf(tmp_path / "gptq", tmp_path / "a.gguf")
    back = gguf_to_gptq(tmp_path / "a.gguf", source, tmp_path / "back", PROVENANCE)
    assert back == settings
    one, other = (GptqCheckpoint.open(tmp_path / name) for name in ("gptq", "back"))
    assert set(one.tensors.tensors) == set(other.tensors.tensors)
    for name in one.tensors.tensors:
        assert np.array_equal(one.tensors.raw(name), other.tensors.raw(name)), name


def test_q4_1_goes_back_where_its_minima_are_zero_points(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", config=ONE_LAYER, kind="F16")
    settings = GptqSettings(group_size=32, symmetric=False)
    layers = {name: short_scales(layer) for name, layer in rounded_layers(source, settings).items()}
    write_gptq(source, tmp_path / "gptq", layers, settings, PROVENANCE)
    assert repack_to_gguf(tmp_path / "gptq", tmp_path / "a.gguf").type == "Q4_1"
    assert gguf_to_gptq(tmp_path / "a.gguf", source, tmp_path / "back", PROVENANCE) == settings
    found = GptqCheckpoint.open(tmp_path / "back").mapping()
    assert all(np.array_equal(found[name].weights(), layer.weights()) for name, layer in layers.items())


def short_scales(layer: GptqLayer) -> GptqLayer:
    """Scales of 7 significant bits, whose products with zero points of 4 bits are 16-bit floats."""
    fraction, exponent = np.frexp(layer.scales.astype(np.float32))
    scales = np.ldexp(np.round(fraction * 128) / 128, exponent)
    return replace(layer, scales=scales.astype(np.float16))


def test_finer_scales_take_a_wider_type_and_it_is_said(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", config=ONE_LAYER)
    layers = make_gptq_folder(source, tmp_path / "gptq", GptqSettings(group_size=32, symmetric=False))
    done = repack_to_gguf(tmp_path / "gptq", tmp_path / "a.gguf")
    assert done.type == "Q5_0"
    assert done.notes[0] == (
        "7 of 7 matrices are Q5_0 (5.5 bits a weight): scale times zero point is finer than Q4_1's 16-bit floats."
    )
    same_weights(tmp_path / "a.gguf", tmp_path / "gptq", layers)
    with pytest.raises(ModelError, match=r"finer than Q4_1's 16-bit floats\. As Q5_0 it can be\."):
        repack_to_gguf(tmp_path / "gptq", tmp_path / "b.gguf", wanted="Q4_1")
    assert repack_to_gguf(tmp_path / "gptq", tmp_path / "c.gguf", wanted="Q8_0").type == "Q8_0"
    same_weights(tmp_path / "c.gguf", tmp_path / "gptq", layers)
    with pytest.raises(ModelError, match="is Q5_0; only Q4_0, Q4_1, Q8_0"):
        gguf_to_gptq(tmp_path / "a.gguf", source, tmp_path / "back", PROVENANCE)
    assert names(tmp_path) == ["a.gguf", "c.gguf", "gptq", "source"]


def same_weights(file: Path, folder: Path, layers: dict[str, GptqLayer]) -> None:
    architecture, found = architecture_of(ModelConfig.read(folder)), GgufFile.open(file)
    for name, layer in layers.items():
        assert np.array_equal(found.values(str(architecture.gguf_name(name))), layer.weights())


@pytest.mark.parametrize(
    ("bits", "group", "kind"), [(3, 32, "Q4_0"), (2, 32, "Q4_0"), (3, -1, "Q3_K"), (2, -1, "Q2_K")]
)
def test_few_bits_take_the_smallest_type_that_is_exact(bits: int, group: int, kind: str, tmp_path: Path) -> None:
    sizes = {"hidden_size": 256, "intermediate_size": 256, "num_attention_heads": 8, "num_key_value_heads": 2}
    source = write_folder(tmp_path / "source", config={**ONE_LAYER, **sizes})
    layers = make_gptq_folder(source, tmp_path / "gptq", GptqSettings(bits, group))
    done = repack_to_gguf(tmp_path / "gptq", tmp_path / "a.gguf")
    assert done.type == kind
    same_weights(tmp_path / "a.gguf", tmp_path / "gptq", layers)
    if group == 32:
        why = (
            f"7 of 7 matrices are Q4_0 (4.5 bits a weight): no smaller type holds {bits} bits in groups of 32 exactly."
        )
        assert why in done.notes


def test_the_embedding_may_be_rounded(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", config=ONE_LAYER)
    make_gptq_folder(source, tmp_path / "gptq", GptqSettings(group_size=32))
    done = repack_to_gguf(tmp_path / "gptq", tmp_path / "a.gguf", embedding="Q8_0")
    found = GgufFile.open(tmp_path / "a.gguf")
    assert {found.tensors[name].type for name in ("token_embd.weight", "output.weight")} == {"Q8_0"}
    assert done.tensors["Q8_0"] == 2
    with pytest.raises(UsageError, match="F16 or Q8_0"):
        repack_to_gguf(tmp_path / "gptq", tmp_path / "b.gguf", embedding="Q2_K")


def test_a_quantized_head_is_packed_too(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", config=ONE_LAYER)
    settings = GptqSettings(group_size=32)
    layers = rounded_layers(source, settings)
    layers["lm_head.weight"] = round_to_nearest(Checkpoint.open(source).values("lm_head.weight"), settings)
    write_gptq(source, tmp_path / "gptq", layers, settings, PROVENANCE)
    assert '"lm_head": true' in (tmp_path / "gptq" / "quantize_config.json").read_text()
    repack_to_gguf(tmp_path / "gptq", tmp_path / "a.gguf")
    assert GgufFile.open(tmp_path / "a.gguf").tensors["output.weight"].type == "Q4_0"
    same_weights(tmp_path / "a.gguf", tmp_path / "gptq", layers)


def act_order_folder(tmp_path: Path, *, static: bool) -> Path:
    source = write_folder(tmp_path / "source", config=ONE_LAYER)
    settings = GptqSettings(group_size=32, act_order=True, static_groups=static)
    checkpoint = Checkpoint.open(source)
    layers = {}
    for name, info in checkpoint.tensors.items():
        if ".layers." in name and len(info.shape) == 2:
            index = settings.group_index(info.shape[1])
            order: npt.NDArray[np.int32] | None = None if static else np.random.default_rng(0).permutation(index)
            layers[name] = round_to_nearest(checkpoint.values(name), settings, order)
    write_gptq(source, tmp_path / "gptq", layers, settings, PROVENANCE)
    return tmp_path / "gptq"


def test_the_order_of_activation_is_refused_without_static_groups(tmp_path: Path) -> None:
    folder = act_order_folder(tmp_path, static=False)
    with pytest.raises(ModelError, match=r"act-order without static groups.*; quantize it with static groups\."):
        repack_to_gguf(folder, tmp_path / "a.gguf")
    assert names(tmp_path) == ["gptq", "source"]


def test_with_static_groups_it_is_exact(tmp_path: Path) -> None:
    folder = act_order_folder(tmp_path, static=True)
    assert repack_to_gguf(folder, tmp_path / "a.gguf").type == "Q4_0"
    same_weights(tmp_path / "a.gguf", folder, dict(GptqCheckpoint.open(folder).mapping()))


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", config=ONE_LAYER)
    make_gptq_folder(source, tmp_path / "gptq", GptqSettings(group_size=32))
    (tmp_path / "a.gguf").write_text("mine")
    with pytest.raises(UsageError, match=r"a\.gguf exists; .*--force"):
        repack_to_gguf(tmp_path / "gptq", tmp_path / "a.gguf")
    with pytest.raises(WriteError, match=r"a file, not a folder.*-o"):
        repack_to_gguf(tmp_path / "gptq", tmp_path / "a.gguf" / "b.gguf")
    (tmp_path / "gptq" / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="tokenizer"):
        repack_to_gguf(tmp_path / "gptq", tmp_path / "b.gguf")
    with pytest.raises(ModelError, match="no GPTQ checkpoint"):
        repack_to_gguf(source, tmp_path / "b.gguf")
    assert names(tmp_path) == ["a.gguf", "gptq", "source"] and (tmp_path / "a.gguf").read_text() == "mine"


def test_a_folder_of_another_model_is_refused_on_the_way_back(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", config=ONE_LAYER)
    other = write_folder(tmp_path / "other", "LlamaForCausalLM", config=ONE_LAYER)
    make_gptq_folder(source, tmp_path / "gptq", GptqSettings(group_size=32))
    repack_to_gguf(tmp_path / "gptq", tmp_path / "a.gguf")
    with pytest.raises(ModelError, match=r"is a qwen2, .*other a llama; give its own folder"):
        gguf_to_gptq(tmp_path / "a.gguf", other, tmp_path / "back", PROVENANCE)
    convert_whole(source, tmp_path / "b.gguf", outtype="f16")
    with pytest.raises(ModelError, match="is F16; only Q4_0, Q4_1, Q8_0 can be packed as GPTQ"):
        gguf_to_gptq(tmp_path / "b.gguf", source, tmp_path / "back", PROVENANCE)
    assert "back" not in names(tmp_path)


def test_layers_by_ggufs_names_are_given_in_the_folders_order(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", "LlamaForCausalLM", kind="F32")
    architecture, checkpoint = architecture_of(ModelConfig.read(source)), Checkpoint.open(source)
    convert_whole(source, tmp_path / "a.gguf", outtype="f32")
    file, settings = GgufFile.open(tmp_path / "a.gguf"), GptqSettings(group_size=32)
    layers = {
        name: round_to_nearest(file.values(name), settings)
        for name, info in file.tensors.items()
        if name.startswith("blk.") and len(info.shape) == 2
    }
    found = FolderLayers(layers, architecture)
    assert len(found) == len(layers) and "blk.0.attn_q.weight" not in found
    for name in found:
        expected = round_to_nearest(checkpoint.values(name), settings)
        assert np.array_equal(found[name].weights(), expected.weights()), name

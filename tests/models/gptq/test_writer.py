"""GPTQ folders: what is written is read back, fits the makers' files, and appears whole or not at all."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from models.errors import KangaeError, ModelError, UsageError, WriteError
from models.gptq.checkpoint import GptqCheckpoint
from models.gptq.layer import GptqLayer, GptqSettings
from models.gptq.writer import write_gptq
from models.huggingface.checkpoint import Checkpoint
from models.safetensors_header import read_header
from tests.fakes.gptq_folders import PROVENANCE, make_gptq_folder, rounded_layers
from tests.fakes.huggingface_folders import CONFIGS, write_folder

SETTINGS = GptqSettings(group_size=32)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = write_folder(tmp_path / "source", config={"num_hidden_layers": 1})
    (folder / "generation_config.json").write_text('{"temperature": 0.6}')
    (folder / "LICENSE").write_text("Apache-2.0")
    (folder / "weights.bin").write_bytes(b"\x80\x02")
    return folder


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_folder_is_read_back(bits: int, symmetric: bool, source: Path, tmp_path: Path) -> None:
    settings = GptqSettings(bits, 32, symmetric)
    layers = make_gptq_folder(source, tmp_path / "made", settings)
    checkpoint = GptqCheckpoint.open(tmp_path / "made")
    assert checkpoint.settings.gptq == settings and checkpoint.settings.quantizer.startswith("kangae:test")
    assert set(checkpoint.layers) == set(layers) == set(checkpoint.mapping())
    for name, layer in checkpoint.mapping().items():
        assert np.array_equal(layer.weights(), layers[name].weights())
        assert checkpoint.shape(name) == layer.integers.shape
    whole = Checkpoint.open(source)
    for name in checkpoint.plain:
        assert np.array_equal(checkpoint.tensors.raw(name), whole.raw(name))
    assert set(checkpoint.plain) == set(whole.tensors) - set(layers)


def test_all_that_belongs_to_a_model_is_beside_it(source: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    make_gptq_folder(source, made, SETTINGS)
    assert names(made) == [
        "LICENSE", "config.json", "generation_config.json", "model.safetensors", "quantize_config.json",
        "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    for name in ("LICENSE", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (made / name).read_bytes() == (source / name).read_bytes()
    table = json.loads((made / "quantize_config.json").read_text())
    config = json.loads((made / "config.json").read_text())
    assert config.pop("quantization_config") == table
    assert config == json.loads((source / "config.json").read_text())
    assert table["meta"] == PROVENANCE and table["checkpoint_format"] == "gptq"
    assert read_header(made / "model.safetensors").metadata == {"format": "pt"}


def test_a_tied_embedding_is_written_twice_as_autogptq_does(tmp_path: Path) -> None:
    config = {**CONFIGS["Qwen2ForCausalLM"], "num_hidden_layers": 1, "tie_word_embeddings": True}
    source = write_folder(tmp_path / "source", config=config)
    whole = Checkpoint.open(source)
    if "lm_head.weight" in whole.tensors:
        pytest.fail("the fake writes an output matrix of its own for a tied model")
    make_gptq_folder(source, tmp_path / "made", SETTINGS)
    made = GptqCheckpoint.open(tmp_path / "made").tensors
    assert np.array_equal(made.raw("lm_head.weight"), whole.raw("model.embed_tokens.weight"))


def test_shards_are_read_and_written(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", config={"num_hidden_layers": 1}, shards=3)
    layers = rounded_layers(source, SETTINGS)
    shares: list[float] = []
    write_gptq(source, tmp_path / "made", layers, SETTINGS, {}, shard_bytes=20_000, progress=shares.append)
    assert shares == sorted(shares) and shares[-1] == 1.0
    shards = [name for name in names(tmp_path / "made") if name.endswith(".safetensors")]
    assert len(shards) > 2
    checkpoint = GptqCheckpoint.open(tmp_path / "made")
    assert all(np.array_equal(checkpoint.layer(name).weights(), layers[name].weights()) for name in layers)


class Once(Mapping[str, GptqLayer]):
    """Layers that are counted as they are asked for."""

    def __init__(self, layers: dict[str, GptqLayer]) -> None:
        self.layers, self.asked = layers, list[str]()

    def __getitem__(self, name: str) -> GptqLayer:
        self.asked.append(name)
        return self.layers[name]

    def __contains__(self, name: object) -> bool:
        return name in self.layers

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)


def test_each_matrix_is_asked_for_once(source: Path, tmp_path: Path) -> None:
    layers = Once(rounded_layers(source, SETTINGS))
    write_gptq(source, tmp_path / "made", layers, SETTINGS, {})
    assert sorted(layers.asked) == sorted(layers.layers)


def test_an_output_that_exists_is_let_be(source: Path, tmp_path: Path) -> None:
    layers = rounded_layers(source, SETTINGS)
    made = tmp_path / "made"
    made.mkdir()
    (made / "mine").write_text("mine")
    with pytest.raises(UsageError, match=r"made exists; .*--force"):
        write_gptq(source, made, layers, SETTINGS, {})
    assert names(made) == ["mine"]
    write_gptq(source, made, layers, SETTINGS, {}, replace=True)
    assert "mine" not in names(made) and GptqCheckpoint.open(made).layers
    with pytest.raises(UsageError, match="is the source itself"):
        write_gptq(source, source, layers, SETTINGS, {}, replace=True)


def _wrong(layers: dict[str, GptqLayer], change: str) -> dict[str, GptqLayer]:
    name = "model.layers.0.mlp.up_proj.weight"
    layer = layers[name]
    match change:
        case "one is missing":
            del layers[name]
        case "one too many":
            layers["model.layers.9.mlp.up_proj.weight"] = layer
        case "other bits":
            layers[name] = GptqLayer(8, layer.integers, layer.scales, layer.zeros, layer.group_index)
        case "other shape":
            layers[name] = layers["model.layers.0.mlp.down_proj.weight"]
        case "zero of 0":
            layers[name] = GptqLayer(4, layer.integers, layer.scales, layer.zeros * np.uint8(0), layer.group_index)
        case "beyond":
            layers[name] = GptqLayer(4, layer.integers + np.uint8(9), layer.scales, layer.zeros, layer.group_index)
    return layers


@pytest.mark.parametrize(
    "change", ["one is missing", "one too many", "other bits", "other shape", "zero of 0", "beyond"]
)
def test_what_does_not_fit_leaves_nothing(change: str, source: Path, tmp_path: Path) -> None:
    layers = _wrong(rounded_layers(source, SETTINGS), change)
    with pytest.raises(ModelError):
        write_gptq(source, tmp_path / "made", layers, SETTINGS, {})
    assert names(tmp_path) == ["source"]


def test_a_full_disk_leaves_nothing(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = rounded_layers(source, SETTINGS)
    monkeypatch.setattr("models.gptq.writer._SPARE_BYTES", 1 << 62)
    with pytest.raises(WriteError, match="MB are needed"):
        write_gptq(source, tmp_path / "made", layers, SETTINGS, {})
    monkeypatch.undo()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match=r"the disk is full.*choose another place with -o"):
        write_gptq(source, tmp_path / "made", layers, SETTINGS, {})
    assert names(tmp_path) == ["source"]


@pytest.mark.parametrize("seed", range(40))
def test_damaged_folders_are_told_in_a_sentence(seed: int, source: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    make_gptq_folder(source, made, SETTINGS)
    draw = random.Random(seed)
    file = draw.choice([made / "model.safetensors", made / "quantize_config.json"])
    raw = bytearray(file.read_bytes())
    for _ in range(draw.randint(1, 40)):
        raw[draw.randrange(min(len(raw), 4000))] = draw.randrange(256)
    file.write_bytes(raw[: draw.choice([len(raw), draw.randrange(len(raw))])])
    try:
        checkpoint = GptqCheckpoint.open(made)
        for name in checkpoint.layers:
            checkpoint.layer(name)
    except KangaeError as error:
        assert error.exit_code == 3 and error.detail.endswith(".") and "\n" not in error.detail


def test_a_part_that_is_missing_is_named(source: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    make_gptq_folder(source, made, SETTINGS)
    path = made / "model.safetensors"
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"0.mlp.up_proj.scales", b"0.mlp.up_proj.scaled"))
    with pytest.raises(ModelError, match=r"0\.mlp\.up_proj\.weight lacks its scales; fetch the model again"):
        GptqCheckpoint.open(made)
    with pytest.raises(ModelError, match="no GPTQ checkpoint"):
        GptqCheckpoint.open(source)


CHILD = """
import sys, time
from pathlib import Path
from models.gptq.layer import GptqSettings
from tests.fakes.gptq_folders import rounded_layers
from models.gptq.writer import write_gptq
source, target = map(Path, sys.argv[1:])
settings = GptqSettings(group_size=32)
layers = rounded_layers(source, settings)
print("begin", flush=True)
write_gptq(source, target, layers, settings, {}, progress=lambda share: time.sleep(0.002))
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_no_half_folder(source: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    write_gptq(source, whole, rounded_layers(source, SETTINGS), SETTINGS, {})
    target = tmp_path / "made"
    draw = random.Random(1)
    killed = 0
    for _ in range(12):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(source), str(target)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None and child.stdout.readline() == "begin\n"
        time.sleep(draw.uniform(0, 0.09))
        child.send_signal(signal.SIGKILL)
        killed += child.wait() == -signal.SIGKILL
        child.stdout.close()
        if target.exists():
            assert names(target) == names(whole)
            for file in whole.iterdir():
                assert (target / file.name).read_bytes() == file.read_bytes()
            for file in target.iterdir():
                file.unlink()
            target.rmdir()
    assert killed
    write_gptq(source, target, rounded_layers(source, SETTINGS), SETTINGS, {})
    assert names(tmp_path) == ["made", "source", "whole"]

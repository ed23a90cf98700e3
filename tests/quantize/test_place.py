"""Where a form may go, and what it may not take the place of, `--force` or not; options that are not passed over."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from models.gguf_file import GgufFile
from models.gptq.checkpoint import GptqCheckpoint
from models.gptq.layer import GptqSettings
from quantize.making.options import MakeOptions
from quantize.source import open_source
from tests.fakes.damage import Tensors, tensors
from tests.fakes.gptq_folders import make_gptq_folder
from tests.fakes.huggingface_folders import stored, write_folder
from tests.fakes.refused_commands import Bench

SMALL = {"num_hidden_layers": 1}
TEXT = "Some words to calibrate on. " * 300


@pytest.fixture
def bench(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The command in a folder of its own, which holds a sound model in `all/model`, a text and a person's folder."""
    write_folder(tmp_path / "all" / "model", config=SMALL)
    (tmp_path / "text.txt").write_text(TEXT)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("mine")
    monkeypatch.chdir(tmp_path)
    return Bench(tmp_path, capsys, monkeypatch)


@pytest.mark.parametrize("form", ["gptq:4", "onnx:int4"])
@pytest.mark.parametrize("place", ["all/model", "all/../all/model", "all", "mine", "text.txt", "."])
def test_force_takes_nothing_away_that_is_no_such_model(form: str, place: str, bench: Bench) -> None:
    words = ["all/model", "--to", form, "--calibrate", "text.txt", "--force", "-o", place]
    told = bench.refused(*words, codes=(2,)).told
    assert "name another output" in told


def test_force_does_not_replace_the_source(bench: Bench) -> None:
    master = bench.folder / "m.gguf"
    assert bench.run(["all/model", "--to", "gguf:F16", "-o", "m.gguf"]).code == 0
    (bench.folder / "link.gguf").symlink_to(master)
    for target in ("m.gguf", "link.gguf", "./m.gguf"):
        told = bench.refused("m.gguf", "--to", "gguf:Q8_0", "--force", "-o", target, codes=(2,)).told
        assert "the source itself" in told


def test_force_replaces_a_gptq_folder_and_an_empty_one_is_taken(bench: Bench) -> None:
    make_gptq_folder(bench.folder / "all" / "model", bench.folder / "gptq", GptqSettings(group_size=32))
    (bench.folder / "empty").mkdir()
    for target in ("gptq", "empty"):
        found = bench.run(["all/model", "--to", "gptq:8", "--calibrate", "text.txt", "--force", "-o", target])
        assert found.code == 0, found
        assert GptqCheckpoint.open(bench.folder / target).settings.gptq.bits == 8


def test_what_a_conversion_is_asked_besides_is_done(bench: Bench) -> None:
    found = bench.run(["all/model", "--to", "gguf:F16", "--output-type", "Q8_0", "-o", "out.gguf"])
    assert found.code == 0, found
    assert GgufFile.open(bench.folder / "out.gguf").tensors["output.weight"].type == "Q8_0"
    found = bench.run(["all/model", "--to", "gguf:F16", "--shard", "100K", "-o", "parts/out.gguf"])
    assert found.code == 0, found
    assert len(list((bench.folder / "parts").glob("out-0000*-of-0000*.gguf"))) > 1
    assert not [path for path in (bench.folder / "parts").iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("words", [["--shard", "1M"], ["--output-type", "Q8_0"], ["--compensate"]])
def test_a_gptq_folder_is_packed_as_it_is(words: list[str], bench: Bench) -> None:
    make_gptq_folder(bench.folder / "all" / "model", bench.folder / "gptq", GptqSettings(group_size=32))
    told = bench.refused("gptq", "--to", "gguf:Q4_0", *words, "-o", "new/out.gguf", codes=(2,)).told
    assert "packed as it is" in told


def test_work_is_known_by_what_it_is_made_from(bench: Bench) -> None:
    """A changed source or text under the same name is other work."""
    before, options = open_source("all/model").key, MakeOptions(calibrate="text.txt").key
    assert open_source("all/model").key == before and MakeOptions(calibrate="text.txt").key == options
    os.utime("all/model/config.json", (1, 1))
    Path("text.txt").write_text(TEXT + "More.")
    assert open_source("all/model").key != before
    assert MakeOptions(calibrate="text.txt").key != options


def test_scales_of_16_bits_of_another_kind_are_read_as_numbers(bench: Bench) -> None:
    """bfloat16 scales (some checkpoints of gptqmodel have them) are no integers of the same bits."""
    layers = make_gptq_folder(bench.folder / "all" / "model", bench.folder / "gptq", GptqSettings(group_size=32))
    name = "model.layers.0.mlp.down_proj"
    wanted = stored(layers[f"{name}.weight"].scales.astype(np.float32), "BF16")

    def change(found: Tensors) -> None:
        found[f"{name}.scales"] = "BF16", np.ascontiguousarray(wanted.T)

    tensors(change)(bench.folder / "gptq")
    scales = GptqCheckpoint.open(bench.folder / "gptq").layer(f"{name}.weight").scales
    np.testing.assert_array_equal(scales.astype(np.float32), (wanted.astype(np.uint32) << 16).view(np.float32))

"""`--to gguf:auto` on the model that ships: what is measured, what is chosen, what is written, what cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kangae import main
from models.errors import CannotMeetError
from models.gguf_file import GgufFile
from models.locations import shipped_model
from quantize.calibration.corpus import PROMPT, THINKING, Corpus
from quantize.gguf_types import TensorOverride
from quantize.recipe.auto import mix
from quantize.recipe.sensitivity import Sensitivities, measure, split

SHIPPED = shipped_model().with_name("kangae-tiny-F16.gguf")
FEW = ["--calibration-tokens", "1500"]


@pytest.fixture(scope="module")
def measured() -> Sensitivities:
    drawn = np.random.default_rng(3)
    chunks = [drawn.integers(5, 2000, 120) for _ in range(4)]
    return measure(GgufFile.open(SHIPPED), Corpus.of(chunks, [np.full(120, THINKING)] * 4, "a test"))


def test_every_matrix_is_measured_and_more_bits_cost_less(measured: Sensitivities) -> None:
    matrices = {name for name, one in GgufFile.open(SHIPPED).tensors.items() if len(one.shape) == 2}
    assert set(measured.kl) == matrices
    for by in measured.kl.values():
        assert 0 < by["Q8_0"] < by["Q5_K"] < by["Q3_K"]


def test_a_mixture_keeps_what_was_given_and_tells_the_least_size(measured: Sensitivities) -> None:
    model = GgufFile.open(SHIPPED)
    found = mix(model, measured, 1_900_000, tensor_types=(TensorOverride("ffn_up", "q2_k"),), embedding_type="Q8_0")
    assert {kind for name, kind in found.types.items() if "ffn_up" in name} == {"Q2_K"}
    assert found.types["token_embd.weight"] == "Q8_0"
    assert len(found.told.encode()) <= 127
    with pytest.raises(CannotMeetError) as refused:
        mix(model, measured, 400_000)
    least = int(refused.value.detail.split("--size ")[1].split()[0])
    assert mix(model, measured, least).types["token_embd.weight"] == "Q3_K"
    with pytest.raises(CannotMeetError):
        mix(model, measured, least - 1)


def test_texts_held_out_hold_thoughts_and_are_not_rounded_on() -> None:
    chunks = [np.full(10, number) for number in range(4)]
    phases = [np.full(10, phase) for phase in (THINKING, THINKING, PROMPT, PROMPT)]
    own, held = split(Corpus.of(chunks, phases, "a test"), 100, 10)
    assert [int(ids[0]) for ids in held.chunks] == [1]
    assert [int(ids[0]) for ids in own.chunks] == [0, 2, 3]


def test_the_file_fits_and_is_what_was_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "m.gguf"
    words = ["quantize", "kangae-tiny", "--to", "gguf:auto", *FEW, "-o", str(target)]
    assert main([*words, "--size", "1700000", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    file = GgufFile.open(target)
    assert target.stat().st_size == made["bytes"] <= 1_700_000
    assert made["compensated"] is True and "Chosen by measured KL" in made["notes"][0]
    assert str(file.scalar("kangae.recipe")).startswith("auto: 1700000 bytes")
    assert len(made["tensors"]) > 2
    assert main([*words, "--size", "300000", "--force"]) == 7
    assert "--size" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "m.gguf"]

"""The script that sets the mark: it takes packed weights apart by itself, and a folder against itself loses nothing."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from models.gptq.layer import GptqSettings
from models.locations import shipped_model
from tests.fakes.gptq_folders import make_gptq_folder

pytestmark = pytest.mark.train

TINY = shipped_model().parent / "huggingface"


@pytest.mark.parametrize(
    ("bits", "group", "symmetric"), [(4, 32, True), (4, 128, False), (8, -1, True), (2, 64, False)]
)
def test_packed_weights_are_read_as_they_stand(tmp_path: Path, bits: int, group: int, symmetric: bool) -> None:
    import gptq_reference

    settings = GptqSettings(bits=bits, group_size=group, symmetric=symmetric)
    layers = make_gptq_folder(TINY, tmp_path / "m", settings)
    tensors = dict(gptq_reference.read_tensors(tmp_path / "m"))
    table = json.loads((tmp_path / "m" / "quantize_config.json").read_text())
    for name, layer in list(layers.items())[:7]:
        read = gptq_reference.dequantized(tensors, name.removesuffix(".weight"), table).numpy()
        np.testing.assert_allclose(read, layer.weights(), rtol=1e-6)


def test_loss_is_none_against_itself_and_some_against_fewer_bits(tmp_path: Path) -> None:
    import gptq_reference

    make_gptq_folder(TINY, tmp_path / "m", GptqSettings(bits=4, group_size=32))
    arguments = argparse.Namespace(model=TINY, matrices_only=False)
    chunks = [list(range(300, 340)), list(range(500, 520))]
    same = gptq_reference.compare(arguments, TINY, chunks)
    assert (same["tokens"], same["matrices"], same["top1"]) == (60, 0, 1.0)
    assert same["kl"] == pytest.approx(0.0, abs=1e-9)
    other = gptq_reference.compare(arguments, tmp_path / "m", chunks)
    assert other["matrices"] == 28
    assert 0.0 < other["kl"] <= other["kl_p99"]
    assert gptq_reference.first_tokens(chunks, 59) == chunks[:1]
    assert gptq_reference.first_tokens(chunks, 60) == chunks

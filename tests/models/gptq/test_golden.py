"""Folders that gptqmodel wrote are read as gptqmodel reads them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import gguf
import numpy as np
import pytest

from models.gptq.checkpoint import GptqCheckpoint
from models.gptq.exact_blocks import encode_exactly, exact_type
from models.gptq.layout import encode
from models.gptq.writer import part_name

GOLDEN = Path(__file__).parent / "golden"
FOLDERS = ("four_bits", "three_bits_asymmetric")


@pytest.mark.parametrize("folder", FOLDERS)
def test_weights_are_those_of_its_writer(folder: str) -> None:
    checkpoint = GptqCheckpoint.open(GOLDEN / folder)
    expected = json.loads((GOLDEN / folder / "weights.json").read_text())
    found = {
        name: hashlib.sha256(np.ascontiguousarray(layer.weights()).tobytes()).hexdigest()
        for name, layer in checkpoint.mapping().items()
    }
    assert found == expected
    assert checkpoint.settings.quantizer == "gptqmodel:7.5.0" and checkpoint.settings.gptq.damp == 0.05


@pytest.mark.parametrize("folder", FOLDERS)
def test_our_packing_gives_its_bytes(folder: str) -> None:
    checkpoint = GptqCheckpoint.open(GOLDEN / folder)
    for name in checkpoint.layers:
        for part, tensor in encode(checkpoint.layer(name)).items():
            assert np.array_equal(tensor, checkpoint.tensors.raw(part_name(name, part))), (name, part)


@pytest.mark.parametrize(("folder", "kind"), [("four_bits", "Q4_0"), ("three_bits_asymmetric", "Q4_0")])
def test_they_are_packed_anew_exactly(folder: str, kind: str) -> None:
    checkpoint = GptqCheckpoint.open(GOLDEN / folder)
    for name, layer in checkpoint.mapping().items():
        assert exact_type(name, layer) == kind
        values = gguf.quants.dequantize(encode_exactly(name, layer, kind), gguf.GGMLQuantizationType[kind])
        assert np.array_equal(values, layer.weights())

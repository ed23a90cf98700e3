"""What a GPTQ folder says of itself, as AutoGPTQ, gptqmodel and the hub's authors write it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.errors import ModelError
from models.gptq.layer import GptqSettings
from models.gptq.settings import CheckpointSettings, parse_settings, read_settings, settings_table

AUTOGPTQ = {
    "bits": 4, "group_size": 128, "damp_percent": 0.1, "desc_act": True, "static_groups": False, "sym": False,
    "true_sequential": True, "model_name_or_path": None, "model_file_base_name": "model", "is_marlin_format": False,
    "quant_method": "gptq",
}  # fmt: skip
GPTQMODEL = {
    "bits": 3, "group_size": -1, "desc_act": False, "sym": True, "quant_method": "gptq", "checkpoint_format": "gptq_v2",
    "pack_dtype": "int32", "lm_head": False, "dynamic": None, "meta": {"quantizer": ["gptqmodel:7.5.0"]},
}  # fmt: skip


def parsed(table: dict[str, Any]) -> CheckpointSettings:
    return parse_settings(table, Path("quantize_config.json"))


def test_both_writers_are_understood() -> None:
    found = parsed(AUTOGPTQ)
    assert found.gptq == GptqSettings(4, 128, False, True, False, True, 0.1)
    assert (found.zeros_less_one, found.borrows, found.quantizer) == (True, False, "")
    found = parsed(GPTQMODEL)
    assert found.gptq == GptqSettings(3, -1)
    assert (found.zeros_less_one, found.borrows, found.quantizer) == (False, True, "gptqmodel:7.5.0")
    assert parsed({"w_bit": 8, "q_group_size": 64}).gptq == GptqSettings(8, 64)


def test_what_we_write_is_what_we_read() -> None:
    settings = GptqSettings(2, 64, False, True, True, False, 0.05)
    table = settings_table(settings, {"quantizer": ["kangae:1"]})
    found = parsed(json.loads(json.dumps(table)))
    assert found == CheckpointSettings(settings, "gptq", "kangae:1, gptqmodel:0.9.0") and not found.borrows
    assert "because gptqmodel reads asymmetric" in table["meta"]["layout"]
    settings = replace(settings, symmetric=True)
    table = settings_table(settings, {"quantizer": ["kangae:1"]})
    assert table["meta"] == {"quantizer": ["kangae:1"]}
    assert parsed(table) == CheckpointSettings(settings, "gptq", "kangae:1")


def test_either_file_will_do(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": GPTQMODEL}))
    assert read_settings(tmp_path).gptq.bits == 3
    (tmp_path / "quantize_config.json").write_text(json.dumps(AUTOGPTQ))
    assert read_settings(tmp_path).gptq.bits == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"quant_method": "awq"}, "quantized by awq"),
        ({"is_marlin_format": True}, "Marlin"),
        ({"checkpoint_format": "marlin"}, "Marlin"),
        ({"checkpoint_format": "bitblas"}, "bitblas"),
        ({"dynamic": {"-:lm_head": {}}}, "`dynamic`"),
        ({"pack_dtype": "int64"}, "words of int64"),
        ({"bits": 5}, "5 bits"),
        ({"bits": "4"}, "4 bits"),
        ({"bits": None}, "None bits"),
        ({"bits": True}, "True bits"),
        ({"group_size": 0}, "group size is 0"),
        ({"group_size": 1.5}, r"group size is 1\.5"),
    ],
)
def test_other_kinds_are_refused_in_a_sentence(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=rf"quantize_config\.json cannot be used: .*{words}.*; give a checkpoint"):
        parsed({**AUTOGPTQ, **change})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("quantize_config.json", "{"),
        ("quantize_config.json", "[4]"),
        ("config.json", "{}"),
        ("config.json", '{"quantization_config": 4}'),
        ("readme", ""),
    ],
)
def test_damaged_files_are_told(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ModelError, match=name.replace("readme", r"config\.json")):
        read_settings(tmp_path)

"""`kangae quantize` from end to end: every kind of source to every form, and what cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kangae import main
from models.gguf_file import GgufFile
from models.gptq.checkpoint import GptqCheckpoint
from models.locations import shipped_model

SHIPPED = shipped_model().with_name("kangae-tiny-F16.gguf")
FOLDER = shipped_model().with_name("huggingface")
FEW = ["--calibration-tokens", "1500"]


def _made(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    assert main(["quantize", *words, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def _refused(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main(["quantize", *words])
    told = capsys.readouterr().err
    assert code != 0 and "Traceback" not in told
    return code, told


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name not in ("cache", "models", "state", "config"))


def test_a_folder_is_converted_as_it_is_stored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (made,) = _made(capsys, str(FOLDER), "--to", "gguf:F16", "-o", str(tmp_path / "m.gguf"))
    assert made["by"] == "kangae" and made["form"] == "gguf:F16" and made["calibration"] is None
    found, own = GgufFile.open(tmp_path / "m.gguf"), GgufFile.open(SHIPPED)
    for name, info in own.tensors.items():
        # vectors are F32 in a GGUF: the folder holds them as F16
        expected = own.values(name) if len(info.shape) > 1 else own.values(name).astype(np.float16)
        assert np.array_equal(found.values(name), expected)
    assert _left(tmp_path) == ["m.gguf"]


def test_a_folder_becomes_a_quantized_file_in_one_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "m.gguf"
    (made,) = _made(capsys, str(FOLDER), "--to", "gguf:Q6_K", "--calibrate", "none", "-o", str(target))
    assert made["compensated"] is False and made["by"] == "llama.cpp"
    assert GgufFile.open(target).header.quant == "Q6_K"
    assert _left(tmp_path) == ["m.gguf"]


def test_errors_are_made_good_at_the_same_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, good = tmp_path / "plain.gguf", tmp_path / "good.gguf"
    (first,) = _made(capsys, "kangae-tiny", "--to", "gguf:Q3_K_M", "--no-compensate", *FEW, "-o", str(plain))
    (second,) = _made(capsys, "kangae-tiny", "--to", "gguf:Q3_K_M", *FEW, "-o", str(good))
    assert first["compensated"] is False and first["calibration"] == "traces"
    assert second["compensated"] is True and second["calibration"] == "traces"
    assert first["tensors"] == second["tensors"]
    before, after = GgufFile.open(plain), GgufFile.open(good)
    assert {one.bytes for one in before.tensors.values()} == {one.bytes for one in after.tensors.values()}
    changed = {name for name in before.tensors if not np.array_equal(before.raw(name), after.raw(name))}
    matrices = {name for name, one in before.tensors.items() if name.startswith("blk.") and len(one.shape) == 2}
    assert changed == matrices
    assert after.scalar("kangae.compensated") == len(matrices)
    assert "own thoughts" in str(after.scalar("kangae.calibration"))
    assert main(["ask", "-m", str(good), "--json", "--budget", "16", "What is 4 + 7?"]) in (0, 8)
    assert _left(tmp_path) == ["good.gguf", "plain.gguf"]


def test_gptq_and_its_repacking_hold_the_same_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "gptq"
    (made,) = _made(capsys, "kangae-tiny", "--to", "gptq:4:g32", *FEW, "-o", str(folder))
    assert made["form"] == "gptq:4:g32" and made["tensors"] == {"GPTQ-4": 28}
    config = json.loads((folder / "quantize_config.json").read_text())
    assert config["bits"] == 4 and config["group_size"] == 32 and "calibration_sha256" in json.dumps(config)
    (packed,) = _made(capsys, str(folder), "--to", "gguf:Q4_0", "-o", str(tmp_path / "packed.gguf"))
    assert packed["tensors"]["Q4_0"] == 28
    checkpoint, file = GptqCheckpoint.open(folder), GgufFile.open(tmp_path / "packed.gguf")
    layer = checkpoint.layer("model.layers.1.mlp.down_proj.weight")
    assert np.array_equal(layer.weights(), file.values("blk.1.ffn_down.weight"))
    assert _left(tmp_path) == ["gptq", "packed.gguf"]


def test_several_forms_go_into_one_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forms = ["--to", "gguf:Q8_0", "--to", "gguf:Q5_K_M", "--to", "gguf:q8_0"]
    made = _made(capsys, "kangae-tiny", *forms, "--calibrate", "none", "-o", str(tmp_path / "out"))
    assert [one["form"] for one in made] == ["gguf:Q8_0", "gguf:Q5_K_M"]
    assert _left(tmp_path / "out") == ["kangae-tiny-Q5_K_M.gguf", "kangae-tiny-Q8_0.gguf"]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["kangae-tiny", "--to", "gguf:Q9_K"], 2, "Q9_K"),
        (["kangae-tiny", "--to", "gptq:4", "--calibrate", "none"], 2, "rounds on a calibration"),
        (["kangae-tiny", "--to", "gguf:Q4_K_M", "--compensate", "--calibrate", "none"], 2, "needs a text"),
        (["kangae-tiny", "--to", "gguf:F16", "--compensate"], 2, "no grid"),
        (["kangae-tiny", "--to", "gguf:Q4_K_M", "--tensor-type", "ffn_down"], 2, "ffn_down=Q6_K"),
        (["kangae-tiny", "--to", "gguf:Q4_K_M", "--shard", "4X"], 2, "4X"),
        ([str(SHIPPED), "--to", "gptq:4"], 2, "safetensors folder"),
        ([str(SHIPPED), "--to", "onnx:int4", "--calibrate", "none"], 2, "Hugging Face folders"),
        (["kangae-tiny", "--to", "gguf:Q4_K_M", "--calibrate", "absent.jsonl"], 2, "absent.jsonl"),
        (["absent-model", "--to", "gguf:Q4_K_M"], 3, "absent-model"),
    ],
)
def test_what_cannot_be_is_told_and_leaves_nothing(
    words: list[str],
    code: int,
    told: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    found, said = _refused(capsys, *words)
    assert found == code, said
    assert told in said
    assert _left(tmp_path) == []


def test_what_is_there_stays_without_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for form, target in (("gguf:Q4_K_M", tmp_path / "m.gguf"), ("gguf:Q8_0", tmp_path / "m.gguf")):
        target.write_text("mine")
        code, told = _refused(capsys, "kangae-tiny", "--to", form, *FEW, "-o", str(target))
        assert code == 2 and "--force" in told
        assert target.read_text() == "mine"
    assert _left(tmp_path) == ["m.gguf"]


def test_a_gptq_folder_is_not_rounded_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "gptq"
    _made(capsys, "kangae-tiny", "--to", "gptq:4", *FEW, "-o", str(folder))
    code, told = _refused(capsys, str(folder), "--to", "gguf:Q3_K_S", "-o", str(tmp_path / "m.gguf"))
    assert code in (2, 3)
    code, told = _refused(capsys, str(folder), "--to", "gptq:8", "-o", str(tmp_path / "again"))
    assert code == 2 and "before" in told
    assert _left(tmp_path) == ["gptq"]

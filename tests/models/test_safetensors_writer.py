"""Checkpoints written here are read by the makers' own package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from models.errors import InternalError
from models.huggingface.checkpoint import Checkpoint
from models.safetensors_header import read_header
from models.safetensors_writer import TensorPlan, write_checkpoint

DATA: dict[str, npt.NDArray[Any]] = {
    "a": np.arange(12, dtype=np.float16).reshape(3, 4),
    "b": np.array([-1, 2], np.int32),
    "c": np.array([0x3F80, 0x4000], np.uint16),
    "d": np.array([[1.5]], np.float32),
}
PLAN = [
    TensorPlan("a", "F16", (3, 4)),
    TensorPlan("b", "I32", (2,)),
    TensorPlan("c", "BF16", (2,)),
    TensorPlan("d", "F32", (1, 1)),
]


def test_one_file_is_what_safetensors_reads(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors")
    shares: list[float] = []
    write_checkpoint(tmp_path, PLAN, DATA.__getitem__, {"format": "pt"}, progress=shares.append)
    path = tmp_path / "model.safetensors"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert read_header(path).metadata == {"format": "pt"} and shares[-1] == 1.0
    assert read_header(path).data_start % 8 == 0
    with safetensors.safe_open(path, framework="np") as file:
        assert sorted(file.keys()) == sorted(DATA)
        for name in ("a", "b", "d"):  # numpy alone knows no bfloat16
            found = file.get_tensor(name)
            assert found.dtype == DATA[name].dtype and np.array_equal(found, DATA[name])
    assert path.read_bytes().count(DATA["c"].tobytes()) == 1


def test_more_than_a_shard_holds_makes_several(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, PLAN, DATA.__getitem__, {}, shard_bytes=12)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index == {
        "metadata": {"total_size": 40},
        "weight_map": {
            "a": "model-00001-of-00003.safetensors",
            "b": "model-00002-of-00003.safetensors",
            "c": "model-00002-of-00003.safetensors",
            "d": "model-00003-of-00003.safetensors",
        },
    }
    (tmp_path / "config.json").write_text("{}")
    found = Checkpoint.open(tmp_path)
    assert all(np.array_equal(found.raw(name), tensor) for name, tensor in DATA.items())


def test_data_of_another_size_is_a_fault_of_ours(tmp_path: Path) -> None:
    with pytest.raises(InternalError, match="b takes 8 bytes, not 4"):
        write_checkpoint(tmp_path, PLAN, lambda name: DATA[name][:1] if name == "b" else DATA[name], {})

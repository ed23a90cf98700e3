"""Layers on the GPU: how many are asked for, and whether they are there (`make test ARGS="-m gpu"`, where one is)."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from models.errors import ModelError, ResourceError
from runtime.backends import llama
from runtime.backends.backend import Slice
from runtime.backends.llama_library import llama_library
from runtime.bench.random_model import make_random_model


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The layers that a library was asked to put on the GPU; it loads nothing."""
    layers: list[int] = []

    def load(library: Any, path: Path, gpu_layers: int, progress: Any) -> None:
        layers.append(gpu_layers)
        raise ModelError("It loads nothing.")

    monkeypatch.setattr(llama, "load_model", load)
    return layers


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(bytes(4096))
    return path


def build(monkeypatch: pytest.MonkeyPatch, *, gpu: bool) -> None:
    monkeypatch.setattr(llama, "llama_library", lambda: SimpleNamespace(supports_gpu=gpu))


@pytest.mark.parametrize(
    ("gpu", "wanted", "layers"), [(True, None, -1), (True, 0, 0), (True, 7, 7), (False, None, 0), (False, 7, 7)]
)
def test_all_layers_go_to_the_gpu_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, asked: list[int], file: Path, gpu: bool, wanted: int | None, layers: int
) -> None:
    build(monkeypatch, gpu=gpu)
    with pytest.raises(ModelError, match="loads nothing"):
        llama.open_llama(file, context=None, sequences=1, gpu_layers=wanted)
    assert asked == [layers]


@pytest.mark.parametrize(("gpu", "wanted"), [(True, 0), (False, None), (False, 7)])
def test_what_stays_in_memory_has_to_fit_there(
    monkeypatch: pytest.MonkeyPatch, asked: list[int], file: Path, gpu: bool, wanted: int | None
) -> None:
    build(monkeypatch, gpu=gpu)
    with pytest.raises(ResourceError, match="for its weights"):
        llama.open_llama(file, context=None, sequences=1, gpu_layers=wanted, memory_limit=1024)
    assert asked == []


@pytest.mark.parametrize("wanted", [None, 7])
def test_what_goes_to_the_gpu_is_not_held_against_the_memory_here(
    monkeypatch: pytest.MonkeyPatch, asked: list[int], file: Path, wanted: int | None
) -> None:
    build(monkeypatch, gpu=True)
    with pytest.raises(ModelError, match="loads nothing"):
        llama.open_llama(file, context=None, sequences=1, gpu_layers=wanted, memory_limit=1024)
    assert len(asked) == 1


def opened(file: Path, gpu_layers: int | None) -> tuple[float, np.ndarray[Any, Any]]:
    """Bytes of weights on a GPU, and the logits behind four tokens."""
    backend = llama.open_llama(file, context=256, sequences=1, gpu_layers=gpu_layers)
    try:
        weights = {name: size for name, size in backend.buffers.items() if name.endswith("model")}
        row = backend.decode([Slice(0, 0, (5, 6, 7, 8), True)])[0]
        assert weights and row is not None
        there = sum(size for name, size in weights.items() if not name.startswith("CPU") and "Host" not in name)
        return there, backend.logits(row).copy()
    finally:
        backend.close()


@pytest.mark.gpu
def test_the_layers_are_on_the_gpu_and_compute_the_same(tmp_path: Path) -> None:
    if not llama_library().supports_gpu:
        pytest.fail("llama.cpp is built for the processor alone; `make run GPU=cuda` builds it for a GPU")
    file = make_random_model(tmp_path / "tiny.gguf")
    there, by_gpu = opened(file, None)
    away, by_processor = opened(file, 0)
    assert there > 0 and away == 0
    assert np.isfinite(by_gpu).all()
    assert np.corrcoef(by_gpu, by_processor)[0, 1] > 0.99

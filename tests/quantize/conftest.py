"""A model that the tests of calibration and quantization share."""

from __future__ import annotations

import pytest

from models.catalogue import ModelEntry, open_entry
from runtime.bench.random_model import Shape, make_random_model

WIDE = Shape("qwen3", 256, 2, 512, 4, 2, 64, 288, 2048)
"""Rows of 256 and 512, so that every type fits."""


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> ModelEntry:
    """Random weights in rows that every type of llama.cpp can hold."""
    return open_entry(make_random_model(tmp_path_factory.mktemp("small") / "Wide-F16.gguf", WIDE))

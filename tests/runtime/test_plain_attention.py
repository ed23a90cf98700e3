"""Small heads are decoded with plain attention on a CPU: chosen by shape, with the same logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.backends import llama
from runtime.backends.backend import Slice
from runtime.backends.llama import open_llama
from runtime.backends.llama_fit import CacheShape
from runtime.backends.llama_model import new_context
from runtime.bench.random_model import make_random_model

IDS = tuple(range(3, 200))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_random_model(tmp_path_factory.mktemp("models") / "tiny.gguf", quant="F32")


@pytest.mark.parametrize(("head", "small"), [(0, False), (16, True), (32, True), (64, False), (128, False)])
def test_a_head_has_small_heads_up_to_32_values(head: int, small: bool) -> None:
    assert CacheShape(1024, head).has_small_heads is small


@pytest.mark.parametrize("head", [32, 64])
def test_attention_is_chosen_by_the_head(head: int, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def watched(*arguments: Any, flash: bool, **named: Any) -> Any:
        asked.append(flash)
        return new_context(*arguments, flash=flash, **named)

    monkeypatch.setattr(CacheShape, "of_model", lambda *_: CacheShape(1024, head))
    monkeypatch.setattr(llama, "new_context", watched)
    backend = open_llama(file, context=256, sequences=1, threads=1, gpu_layers=0)
    backend.close()
    assert asked == [head > 32]


def test_both_give_the_same_logits(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []
    for head in (32, 64):
        monkeypatch.setattr(CacheShape, "of_model", lambda *_, head=head: CacheShape(1024, head))
        backend = open_llama(file, context=512, sequences=2, threads=1, gpu_layers=0)
        (row,) = backend.decode([Slice(0, 0, IDS, True)])  # more ids than plain attention takes at once
        assert row is not None
        backend.fork(0, 1)
        both = backend.decode([Slice(0, len(IDS), (7,), True), Slice(1, len(IDS), (9,), True)])
        rows.append([backend.logits(one).copy() for one in both if one is not None])
        backend.close()
    assert len(rows[0]) == 2
    for plain, flash in zip(*rows, strict=True):
        # flash attention sums the values in 16 bits
        assert float(np.abs(plain - flash).max()) < 0.005 * float(np.ptp(plain))
        assert plain.argmax() == flash.argmax()

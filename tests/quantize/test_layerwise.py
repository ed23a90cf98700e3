"""A model rounded layer by layer."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest

from models.errors import ModelError, WriteError
from models.gguf_file import GgufFile
from models.gguf_rewrite import rewrite_gguf
from models.gptq.layer import GptqLayer, GptqSettings
from models.locations import shipped_model
from quantize.layerwise.decoder import DecoderLayer, embed, logits
from quantize.layerwise.hessian_sum import HessianSum
from quantize.layerwise.layer_store import LayerStore
from quantize.layerwise.layer_stream import text_places
from quantize.layerwise.layerwise import run_layers
from quantize.layerwise.shape import DecoderShape
from quantize.rounding.compensation import GridRounder
from quantize.rounding.gptq import GptqRounder
from quantize.rounding.nearest import NearestRounder
from quantize.rounding.rounder import GgufBlocks, Hessian, Rounded

SHIPPED = shipped_model().with_name("kangae-tiny-F16.gguf")
MODEL = GgufFile.open(SHIPPED)
NAMES = [name for name, info in MODEL.tensors.items() if name.startswith("blk.") and len(info.shape) == 2]


def _texts(count: int = 6, seed: int = 1) -> list[npt.NDArray[np.int32]]:
    generator = np.random.default_rng(seed)
    return [generator.integers(0, 2000, generator.integers(20, 60)).astype(np.int32) for _ in range(count)]


@dataclass
class Watching:
    """Leaves weights as they are and keeps what it was given."""

    kind: str = "F32"

    def __post_init__(self) -> None:
        self.given: dict[str, Hessian] = {}

    @property
    def key(self) -> str:
        return "watching"

    def type_of(self, name: str, columns: int) -> str:
        return self.kind

    def round(self, name: str, weights: npt.NDArray[np.float32], hessian: Hessian) -> Rounded:
        self.given[name] = np.array(hessian)
        return Rounded(weights, GgufBlocks("F32", weights.view(np.uint8)), 0.0)


@pytest.mark.parametrize("sequential", [True, False])
def test_each_matrix_gets_the_hessian_of_its_own_inputs(tmp_path: Path, sequential: bool) -> None:
    texts, watching = _texts(), Watching()
    run_layers(MODEL, texts, watching, tmp_path, sequential=sequential)
    assert set(watching.given) == set(NAMES)
    shape = DecoderShape.read(MODEL)
    hidden = [embed(MODEL, text) for text in texts]
    for number in range(shape.layers):
        layer = DecoderLayer.read(MODEL, shape, number)
        sums: dict[str, list[npt.NDArray[np.float32]]] = {}
        for at, one in enumerate(hidden):
            first = layer.attention_input(one)
            attended = layer.attend(first, [len(one)])
            middle = layer.after_attention(one, attended)
            second = layer.feed_forward_input(middle)
            for names, inputs in zip(layer.groups(), (first, attended, second, layer.widen(second)), strict=True):
                for name in names:
                    sums.setdefault(layer.full_name(name), []).append(inputs)
            hidden[at] = layer.forward(one, [len(one)])
        for name, parts in sums.items():
            together = np.concatenate(parts).astype(np.float64)
            expected = 2 * together.T @ together / len(together)
            np.testing.assert_allclose(watching.given[name], expected, rtol=1e-3, atol=1e-4 * expected.max())


def test_what_follows_sees_what_was_rounded(tmp_path: Path) -> None:
    texts = _texts()
    coarse = NearestRounder(dict.fromkeys(NAMES, "Q2_K"))
    whole, rounded = Watching(), Watching()

    @dataclass
    class First:
        key: str = "first"

        def type_of(self, name: str, columns: int) -> str:
            return "x"

        def round(self, name: str, weights: npt.NDArray[np.float32], hessian: Hessian) -> Rounded:
            rounded.given[name] = np.array(hessian)
            if "attn_v" in name and name.startswith("blk.0"):
                return coarse.round(name, weights, hessian)
            return Rounded(weights, GgufBlocks("F32", weights.view(np.uint8)), 0.0)

    run_layers(MODEL, texts, whole, tmp_path / "whole")
    run_layers(MODEL, texts, First(), tmp_path / "first")
    same = {name for name in NAMES if np.array_equal(whole.given[name], rounded.given[name])}
    assert same == {f"blk.0.attn_{one}.weight" for one in "qkv"}


def test_the_results_are_what_the_rounder_gave_and_make_a_model(tmp_path: Path) -> None:
    results = run_layers(MODEL, _texts(), GridRounder(dict.fromkeys(NAMES, "Q4_K")), tmp_path / "state")
    assert set(results.store) == set(NAMES) and set(results.store.types.values()) == {"Q4_K"}
    assert all(loss > 0 for loss in results.store.losses.values())
    target = tmp_path / "m.gguf"
    rewrite_gguf(MODEL, target, types=results.store.types, data=results.store.blocks, metadata={})
    made = GgufFile.open(target)
    ids = _texts(1, seed=9)[0]
    replaced = {name: made.values(name) for name in NAMES}
    assert np.array_equal(logits(made, ids), logits(MODEL, ids, replaced))


def test_gptq_layers_are_kept_as_they_are(tmp_path: Path) -> None:
    rounder = GptqRounder(GptqSettings(bits=3, group_size=64, act_order=True), names=NAMES[:3])
    first = run_layers(MODEL, _texts(), rounder, tmp_path)
    again = LayerStore(tmp_path)
    assert set(first.store) == set(NAMES[:3])
    for name in NAMES[:3]:
        one, other = first.store[name], again[name]
        assert isinstance(one, GptqLayer) and isinstance(other, GptqLayer) and other.bits == 3
        other.check(name)
        assert np.array_equal(one.weights(), other.weights())


def test_weights_of_zero_leave_tokens_out(tmp_path: Path) -> None:
    texts = _texts(2)
    counted = [np.ones(len(texts[0]), np.float32), np.zeros(len(texts[1]), np.float32)]
    some, alone = Watching(), Watching()
    run_layers(MODEL, texts, some, tmp_path / "some", weights=counted)
    run_layers(MODEL, texts[:1], alone, tmp_path / "alone")
    for name in NAMES:
        np.testing.assert_allclose(some.given[name], alone.given[name], rtol=1e-4, atol=1e-5)


_CODE = """
import sys
from pathlib import Path
sys.path.insert(0, "")
from tests.quantize.test_layerwise import MODEL, NAMES, _texts
from quantize.layerwise.layerwise import run_layers
from quantize.rounding.nearest import NearestRounder
print("in", flush=True)
run_layers(MODEL, _texts(40), NearestRounder(dict.fromkeys(NAMES, "Q3_K")), Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_changes_nothing(tmp_path: Path) -> None:
    rounder = NearestRounder(dict.fromkeys(NAMES, "Q3_K"))
    began = time.monotonic()
    whole = run_layers(MODEL, _texts(40), rounder, tmp_path / "whole")
    usual = time.monotonic() - began
    moments = random.Random(4)
    for _ in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", _CODE, str(tmp_path / "killed")], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None and child.stdout.readline() == "in\n"
            time.sleep(usual * moments.random())
            child.send_signal(signal.SIGKILL)
    killed = run_layers(MODEL, _texts(40), rounder, tmp_path / "killed")
    assert set(killed.store) == set(whole.store)
    for name in whole.store:
        assert np.array_equal(killed.store.blocks(name), whole.store.blocks(name))


def test_it_goes_on_behind_the_last_layer_and_starts_anew_for_other_work(tmp_path: Path) -> None:
    class Stopping(Watching):
        def round(self, name: str, weights: npt.NDArray[np.float32], hessian: Hessian) -> Rounded:
            if name == self.stop:
                raise KeyboardInterrupt
            return super().round(name, weights, hessian)

        stop = "blk.2.ffn_up.weight"

    texts = _texts()
    stopping = Stopping()
    with pytest.raises(KeyboardInterrupt):
        run_layers(MODEL, texts, stopping, tmp_path)
    going_on = Watching()
    run_layers(MODEL, texts, going_on, tmp_path)
    assert {name.split(".")[1] for name in going_on.given} == {"2", "3"}
    nothing = Watching()
    assert len(run_layers(MODEL, texts, nothing, tmp_path).store) == len(NAMES) and not nothing.given
    other = Watching()
    run_layers(MODEL, _texts(seed=2), other, tmp_path)
    assert set(other.given) == set(NAMES)


def test_texts_are_taken_whole_in_runs() -> None:
    assert list(text_places([5, 5, 5, 30, 2], 12)) == [
        (slice(0, 10), [5, 5]),
        (slice(10, 15), [5]),
        (slice(15, 45), [30]),
        (slice(45, 47), [2]),
    ]
    assert list(text_places([], 12)) == []


def test_sums_do_not_depend_on_how_inputs_come() -> None:
    inputs = np.random.default_rng(0).standard_normal((5000, 24)).astype(np.float32)
    whole, parts = HessianSum(24), HessianSum(24)
    whole.add(inputs)
    for start in range(0, 5000, 313):
        parts.add(inputs[start : start + 313])
    expected = 2 * inputs.T.astype(np.float64) @ inputs / 5000
    np.testing.assert_allclose(whole.mean("a"), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(parts.mean("a"), expected, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_summed_is_told() -> None:
    with pytest.raises(ModelError, match="No calibration token"):
        HessianSum(4).mean("blk.0")
    broken = HessianSum(4)
    broken.add(np.array([[1, 2, np.inf, 0]], np.float32))
    with np.errstate(invalid="ignore"), pytest.raises(ModelError, match=r"blk\.0.*overflows"):
        broken.mean("blk.0")


def test_a_disk_without_room_is_told_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(WriteError, match="are needed"):
        run_layers(MODEL, _texts(), Watching(), tmp_path)
    with pytest.raises(ModelError, match="no calibration text"):
        run_layers(MODEL, [], Watching(), tmp_path)


def test_room_is_wanted_for_what_is_kept_of_the_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = sum(MODEL.values(name).size for name in NAMES)
    rounder = GptqRounder(GptqSettings(bits=4, group_size=32), names=NAMES)
    room = SimpleNamespace(free=values + (64 << 20))  # the integers alone would fit
    monkeypatch.setattr("shutil.disk_usage", lambda _: room)
    with pytest.raises(WriteError, match="are needed"):
        run_layers(MODEL, _texts(), rounder, tmp_path)
    monkeypatch.undo()
    run_layers(MODEL, _texts(), rounder, tmp_path)
    kept = sum(file.stat().st_size for file in tmp_path.glob("layer-*.npz"))
    assert values < kept < values * 9 / 8 + (1 << 20)
    room.free = 66 << 20
    monkeypatch.setattr("shutil.disk_usage", lambda _: room)
    assert set(run_layers(MODEL, _texts(), rounder, tmp_path).store) == set(NAMES)  # nothing is left to be kept

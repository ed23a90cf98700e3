"""`bench control`: both sides through the engine, by a clock that only the work moves."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import kangae
from models.errors import CannotMeetError, UsageError, WriteError
from runtime.backends.backend import Slice
from runtime.backends.fake import CLOSE_THINK, IM_END, ByteVocabulary, FakeBackend, Script
from runtime.bench import control, random_model
from runtime.bench.control import compare, summary, table_of
from runtime.bench.random_model import TINY, kept_random_model, make_random_model
from runtime.request import Sampling
from tests.fakes.scripted_model import FAMILY

VOCABULARY = ByteVocabulary()
DECODE, LOOK = 1.0, 0.25  # seconds


def wandering(ids: tuple[int, ...]) -> Sequence[int]:
    """Letters without a pattern."""
    return [random.Random(repr(ids)).randrange(97, 123)]


def eager(ids: tuple[int, ...]) -> Sequence[int]:
    """Wants to close its thought, then to end its turn, at every token."""
    return [CLOSE_THINK, IM_END, *wandering(ids)]


class TimedBackend(FakeBackend):
    """A decode takes `DECODE`, the first look at its logits before the draw `LOOK`; nothing else takes time."""

    def __init__(self, script: Script, context: int = 2048) -> None:
        super().__init__(script, VOCABULARY, context=context, sequences=1, batch=512)
        self.now = 0.0
        self.draws = 0
        self._drawing = self._looked = False

    def clock(self) -> float:
        return self.now

    def decode(self, batch: Sequence[Slice]) -> list[int | None]:
        self.now += DECODE
        self._looked = False
        return super().decode(batch)

    def sample(self, row: int, sampler: object) -> int:
        self._drawing = True
        self.draws += 1
        token = super().sample(row, sampler)  # type: ignore[arg-type]
        self._drawing = False
        return token

    def logits(self, row: int) -> npt.NDArray[np.float32]:
        if not self._drawing and not self._looked:
            self._looked = True
            self.now += LOOK
        return super().logits(row)


def test_what_the_rules_take_is_what_is_told() -> None:
    backend = TimedBackend(wandering)
    found = compare(backend, FAMILY, pairs=3, thinking=16, clock=backend.clock)
    assert found["plain_tps"] == 1.0
    # 16 thoughts and 4 answers; the first of each comes with the prompt's and the close's own decode, which do not
    # count. Every thought is looked at, for the words that doubt; no answer is.
    expected = (15 * DECODE + 3 * DECODE) / (15 * (DECODE + LOOK) + 3 * DECODE)
    assert found["ratio"] == pytest.approx(expected, abs=1e-4)
    assert found["cost_percent"] == pytest.approx(100 * (1 - expected), abs=0.01)
    assert (found["ratio_low"], found["ratio_high"]) == (found["ratio"], found["ratio"])
    assert (found["pairs"], found["thinking_tokens"], found["answer_tokens"]) == (3, 16, 4)
    assert backend.samplers == 0


def test_both_sides_decode_the_same() -> None:
    backend = TimedBackend(wandering)
    compare(backend, FAMILY, pairs=1, thinking=16, clock=backend.clock)
    assert backend.draws == 4 * 20  # a pair that counts and one that does not, two sides, 16 and 4
    runs: list[list[int]] = []
    for batch in backend.batches:
        (part,) = batch
        if part.position == 0:
            runs.append([])
        runs[-1].append(len(part.ids))
    assert len(runs) == 4
    plain, controlled = runs[2:]
    assert plain == controlled  # prompt, thoughts, the close in one batch, answers
    assert sorted(plain)[:-2] == [1] * 18


def test_a_model_that_would_close_by_itself_is_kept_thinking() -> None:
    backend = TimedBackend(eager)
    found = compare(backend, FAMILY, pairs=2, thinking=32, clock=backend.clock)
    assert found["thinking_tokens"] == 32
    assert 0.0 < found["cost_percent"] < 100 * (1 - DECODE / (DECODE + LOOK))


def test_pairs_alternate_and_seeds_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = TimedBackend(wandering)
    order: list[tuple[str, int]] = []

    def plain(bench: object, seed: int) -> float:
        order.append(("plain", seed))
        return 10.0

    def controlled(bench: object, seed: int, stride: int) -> float:
        order.append(("controlled", seed))
        return 9.0 + seed / 10

    monkeypatch.setattr(control._Bench, "plain", plain)
    monkeypatch.setattr(control._Bench, "controlled", controlled)
    monkeypatch.setattr(control._Bench, "warm_up", lambda bench: None)
    told: list[str] = []
    found = compare(backend, FAMILY, pairs=3, progress=told.append)
    assert order == [
        ("plain", 0), ("controlled", 0), ("controlled", 1), ("plain", 1), ("plain", 2), ("controlled", 2),
    ]  # fmt: skip
    assert (found["plain_tps"], found["control_tps"], found["ratio"]) == (10.0, 9.1, 0.91)
    assert told[-1] == "pair 3 of 3"


def test_the_figures_of_known_pairs() -> None:
    found = summary([(100.0, 98.0), (50.0, 50.0), (200.0, 180.0)])
    assert found == {
        "plain_tps": 100.0, "control_tps": 98.0, "ratio": 0.98, "ratio_low": 0.9, "ratio_high": 1.0,
        "cost_percent": 2.0, "pairs": 3,
    }  # fmt: skip
    shown = table_of(found | {"model": "m\x1b[2J", "quant": "Q4_0", "device": "CPU", "threads": 2})
    assert "costs 2.00 % of the decode speed (median of 3 pairs, which go from 0.00 % to 10.00 %)" in shown
    assert "\x1b" not in shown


def test_a_thought_that_ends_early_is_no_measurement() -> None:
    backend = TimedBackend(wandering, context=320)  # holds the prompt and the close, but not so much thought
    with pytest.raises(CannotMeetError, match="ended its thought early"):
        compare(backend, FAMILY, pairs=1, thinking=300, clock=backend.clock)


def test_sizes_that_measure_nothing_are_refused() -> None:
    backend = TimedBackend(wandering)
    with pytest.raises(UsageError):
        compare(backend, FAMILY, pairs=0)
    with pytest.raises(UsageError):
        compare(backend, FAMILY, thinking=8)


def test_the_command_on_a_real_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_random_model(tmp_path / "tiny.gguf")
    words = ["bench", "control", "-m", str(path), "--pairs", "2", "--tokens", "40", "--threads", "1", "--json"]
    assert kangae.main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"model", "quant", "device", "threads", "plain_tps", "control_tps", "ratio", "cost_percent"} <= set(found)
    assert found["plain_tps"] > 0 < found["control_tps"]
    assert (found["pairs"], found["thinking_tokens"], found["answer_tokens"]) == (2, 40, 10)
    assert "loop guard" in found["rules"]
    assert found["cost_percent"] == pytest.approx(100 * (1 - found["ratio"]), abs=0.01)
    assert kangae.main(["bench", "control", "-m", str(path), "--pairs", "1", "--tokens", "3"]) == 2


@pytest.mark.parametrize("words", [["--tokens", "8"], ["--tokens", "15", "--pairs", "3"]])
def test_sizes_too_small_are_2_before_a_model_is_made(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[object] = []

    def make(*arguments: object) -> Path:
        made.append(arguments)
        raise WriteError("A model of random weights was made.")

    monkeypatch.setattr(random_model, "kept_random_model", make)
    assert kangae.main(["bench", "control", *words]) == 2
    assert made == [] and "16 tokens" in capsys.readouterr().err


def test_random_thoughts_have_sentences(tmp_path: Path) -> None:
    from runtime.backends.llama import open_llama
    from runtime.control.boundary import at_boundary

    backend = open_llama(make_random_model(tmp_path / "tiny.gguf"), context=64, sequences=1, threads=1)
    pieces = [backend.vocabulary.piece(token).decode("utf-8", "replace") for token in range(267, TINY.vocabulary)]
    backend.close()
    assert sum(map(at_boundary, pieces)) == 2  # of 21


def test_a_random_model_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(WriteError, match="KANGAE_CACHE_DIR"):
        kept_random_model(tmp_path / "taken", TINY, "F16", lambda line: None)


def test_the_sampling_is_never_greedy() -> None:
    bench = control._Bench(TimedBackend(wandering), FAMILY, 16, 4, lambda: 0.0)
    assert bench._sampling == Sampling(temperature=1.0)

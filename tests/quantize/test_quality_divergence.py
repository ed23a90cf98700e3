"""Divergence against an independent reckoning, on logits and on two open models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.catalogue import ModelEntry
from models.errors import ModelError
from quantize.calibration.corpus import ANSWER, PROMPT, THINKING
from quantize.gguf import quantize_gguf
from quantize.quality.answer_shape import is_formed
from quantize.quality.comparison import compare
from quantize.quality.divergence import Places, divergence, summarize
from quantize.quality.intervals import interval
from quantize.quality.open_form import open_form


def _plain(reference: np.ndarray, other: np.ndarray) -> list[float]:
    """By the definition, place by place, in long double."""
    found = []
    for one, two in zip(reference.astype(np.longdouble), other.astype(np.longdouble), strict=True):
        p, q = np.exp(one) / np.exp(one).sum(), np.exp(two) / np.exp(two).sum()
        found.append(float(sum(a * np.log(a / b) for a, b in zip(p, q, strict=True))))
    return found


def test_divergence_is_what_its_definition_says() -> None:
    random = np.random.default_rng(1)
    reference = random.normal(0, 3, (7, 50)).astype(np.float32)
    other = (reference + random.normal(0, 0.5, reference.shape)).astype(np.float32)
    kl, agree = divergence(reference, other)
    np.testing.assert_allclose(kl, _plain(reference, other), rtol=1e-9)
    assert agree.tolist() == [int(a.argmax()) == int(b.argmax()) for a, b in zip(reference, other, strict=True)]
    np.testing.assert_allclose(divergence(reference + 40, other - 900)[0], kl, rtol=1e-3)
    assert divergence(reference, reference)[0].max() == 0.0


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ModelError, match="not of one model"):
        divergence(np.zeros((1, 4)), np.zeros((1, 5)))
    with pytest.raises(ModelError, match="NaN"):
        divergence(np.zeros((1, 4)), np.full((1, 4), np.nan))


def test_a_token_that_is_impossible_for_the_reference_costs_nothing() -> None:
    kl, _ = divergence(np.array([[0.0, 0.0, -np.inf]]), np.array([[0.0, 0.0, 0.0]]))
    assert kl[0] == pytest.approx(np.log(1.5))


def test_the_summary_leaves_prompts_out_and_keeps_thoughts_and_answers_apart() -> None:
    phase = np.array([PROMPT, THINKING, THINKING, ANSWER], np.uint8)
    told = summarize([Places(np.array([9.0, 1.0, 3.0, 5.0]), np.array([False, True, True, False]), phase)])
    assert (told["kl_mean"], told["kl_thinking"], told["kl_answer"]) == (3.0, 2.0, 5.0)
    assert told["top1"] == pytest.approx(2 / 3)
    assert told["kl_tokens"] == 3
    with pytest.raises(ModelError, match="said nothing"):
        summarize([Places(np.array([1.0]), np.array([True]), np.array([PROMPT], np.uint8))])


def test_two_open_models_are_compared_at_every_place_of_a_reply(small_model: ModelEntry, tmp_path: Path) -> None:
    rounded = quantize_gguf(small_model, "Q4_0", tmp_path / "Wide-Q4_0.gguf").file
    ids = [int(one) for one in np.random.default_rng(2).integers(10, 200, 150)]
    phases = [PROMPT] * 20 + [THINKING] * 100 + [ANSWER] * 30
    opened = [open_form(str(path), context=256, rows=64, threads=1) for path in (small_model.path, rounded)]
    try:
        (found,) = compare(opened[0].backend, opened[1].backend, [(ids, phases)], lambda share: None)
        logits = []
        for one in opened:  # token by token, another way to the same numbers
            from runtime.backends.backend import Slice

            one.backend.rewind(0, 0)
            rows = []
            for place, token in enumerate(ids[:-1]):
                row = one.backend.decode([Slice(0, place, [token], True)])[0]
                assert row is not None
                rows.append(one.backend.logits(row).copy())
            logits.append(np.stack(rows)[19:])
    finally:
        for one in opened:
            one.backend.close()
    assert len(found.kl) == 130
    assert found.phase.tolist() == phases[20:]
    plain = _plain(logits[0], logits[1])  # its kernels for one token round otherwise than those for many
    np.testing.assert_allclose(found.kl, plain, rtol=0.2, atol=2e-5)
    assert found.kl.mean() == pytest.approx(np.mean(plain), rel=0.02)
    assert found.kl.mean() > 1e-5


def test_an_interval_holds_the_mean_and_narrows_with_more_problems() -> None:
    few, many = (interval(np.array([0.0, 1.0] * count)) for count in (10, 1000))
    assert few[0] < many[0] < 0.5 < many[1] < few[1]


@pytest.mark.parametrize(
    ("answer", "expected", "check", "formed"),
    [
        ("583 bolts", "61 nuts", "text", True),
        ("-4.5", "12", "text", True),
        ("the bolts", "61 nuts", "text", False),
        ("3 full, 4 left", "78 full, 4 left", "text", True),
        ("3 full", "78 full, 4 left", "text", False),
        ("", "", "text", False),
        ("x = 2", "\\frac{4}{2}", "math", True),
    ],
)
def test_the_form_of_an_answer_is_told_apart_from_what_it_says(
    answer: str, expected: str, check: str, formed: bool
) -> None:
    assert is_formed(answer, expected, check) is formed

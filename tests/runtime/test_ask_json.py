"""A reply of `kangae ask` as JSON, held against a golden one: field by field, and in the contract's order."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

import kangae
from tests.fakes.answering_responder import AnsweringResponder

GOLDEN = (
    '{"id": "q1", "question": "What is 6 * 7", "model": {"name": "kangae-tiny", "file": "kangae-tiny-Q8_0.gguf", '
    '"quant": "Q8_0", "backend": "llama"}, "thinking": "one two", "answer": "7", "close": "budget", "finish": "stop", '
    '"usage": {"prompt_tokens": 4, "cached_tokens": 0, "thinking_tokens": 2, "forced_tokens": 0, "probe_tokens": 0, '
    '"answer_tokens": 1}, "budget": {"tokens": 2, "seconds": null, "effort": null, "answer_reserve": 128, '
    '"overshoot_tokens": 0}, "timings": {"load_s": 0.5, "prepare_s": 0.0, "prefill_s": 0.25, "first_thinking_s": 0.0, '
    '"first_answer_s": 0.0, "total_s": 1.0, "prefill_tps": 0.0, "decode_tps": 8.0}, "expected": "7", "correct": true}\n'
)


def test_json_is_one_object_with_the_fields_of_the_contract(
    model: AnsweringResponder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kangae.main(["ask", "What is 6 * 7", "--budget", "2", "--json"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    golden = json.loads(GOLDEN)
    found = json.loads(said.out)
    assert len(said.out.splitlines()) == 1
    assert list(found) == [name for name in golden if name not in ("expected", "correct")]
    assert {**found, "id": "q1", "expected": "7", "correct": True} == golden


def test_a_file_gives_golden_lines(
    model: AnsweringResponder, lines: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = lines({"id": "q1", "question": "What is 6 * 7", "expected": " 7 "})
    assert kangae.main(["ask", "--file", path, "--budget", "2"]) == 0
    assert capsys.readouterr().out == GOLDEN.replace('"expected": "7"', '"expected": " 7 "')

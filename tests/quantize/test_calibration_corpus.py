"""Calibration texts as a model would have them: its tags are tokens, nobody's text becomes one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import InternalError, UsageError
from models.family import families
from quantize.calibration.corpus import ANSWER, PROMPT, THINKING, Corpus, cut
from quantize.calibration.record import Record, parse_record, read_records
from quantize.calibration.tokenizer import Tokenizer, opened_tokenizer
from runtime.backends.backend import ModelFacts
from tests.fakes.byte_vocabulary import ByteVocabulary

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FAMILY = next(family for family in families() if family.name == "kangae-tiny")


@pytest.fixture
def tokenizer() -> Tokenizer:
    vocabulary = ByteVocabulary()
    (end,) = vocabulary.end_ids
    metadata = {"tokenizer.ggml.eos_token_id": str(end)}
    return Tokenizer(ModelFacts("t", "t", "F16", "qwen2", 512, 1, 1, TEMPLATE, metadata), vocabulary, FAMILY)


def spelled(tokenizer: Tokenizer, corpus: Corpus, phase: int) -> str:
    ids, phases = np.concatenate(corpus.chunks), np.concatenate(corpus.phases)
    return b"".join(map(tokenizer.vocabulary.piece, ids[phases == phase].tolist())).decode()


def test_a_reply_is_laid_out_as_the_model_writes_it(tokenizer: Tokenizer) -> None:
    record = parse_record('{"question": "1+1?", "thinking": "one more", "answer": "2"}', 1)
    corpus = tokenizer.corpus([record], "test")
    assert spelled(tokenizer, corpus, PROMPT) == "<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n"
    assert spelled(tokenizer, corpus, THINKING) == "<think>\none more\n</think>"
    assert spelled(tokenizer, corpus, ANSWER) == "\n\n2<|im_end|>"
    ids = corpus.chunks[0].tolist()
    assert [token for token in ids if token in tokenizer.vocabulary.marker_ids] == [257, 258, 257, 259, 260, 258]


def test_no_text_becomes_a_control_token(tokenizer: Tokenizer) -> None:
    bad = "</think> <|im_end|> <think>"
    records = [Record(text=bad), parse_record(json.dumps({"question": bad, "thinking": "a " + bad, "answer": bad}), 1)]
    text, reply = (tokenizer.corpus([record], "test", longest=4096) for record in records)
    markers = tokenizer.vocabulary.marker_ids
    assert markers.isdisjoint(text.chunks[0].tolist())
    assert spelled(tokenizer, text, PROMPT) == bad
    assert [token for token in reply.chunks[0].tolist() if token in markers] == [257, 258, 257, 259, 260, 258]


def test_a_thought_that_was_cut_off_stands_open(tokenizer: Tokenizer) -> None:
    record = parse_record('{"question": "1+1?", "thinking": "one mo"}', 1)
    corpus = tokenizer.corpus([record], "test")
    assert spelled(tokenizer, corpus, THINKING) == "<think>\none mo"
    assert corpus.count(ANSWER) == 0


@pytest.mark.parametrize(
    "said",
    [
        {"content": "<think>\nhm\n</think>\n\nyes"},
        {"content": "yes", "reasoning_content": "hm"},
        {"content": "yes", "thinking": "hm\n"},
    ],
)
def test_a_conversation_tells_its_thought_in_either_way(tokenizer: Tokenizer, said: dict[str, str]) -> None:
    record = parse_record(
        json.dumps({"messages": [{"role": "user", "content": "?"}, {"role": "assistant", **said}]}), 1
    )
    corpus = tokenizer.corpus([record], "test")
    assert spelled(tokenizer, corpus, THINKING) == "<think>\nhm\n</think>"
    assert spelled(tokenizer, corpus, ANSWER) == "\n\nyes<|im_end|>"


def test_a_reply_without_a_thought_has_none(tokenizer: Tokenizer) -> None:
    corpus = tokenizer.corpus([parse_record('{"question": "1+1?", "answer": "2"}', 1)], "test")
    assert corpus.count(THINKING) == 0
    assert spelled(tokenizer, corpus, ANSWER) == "2<|im_end|>"


def test_chunks_are_cut_and_limited(tokenizer: Tokenizer) -> None:
    corpus = tokenizer.corpus([Record(text="a" * 25), Record(text="b" * 25)], "test", longest=10)
    assert [len(ids) for ids in corpus.chunks] == [10, 10, 5, 10, 10, 5]
    assert corpus.longest == 10
    assert corpus.limited(34).tokens == 25
    assert corpus.limited(35).tokens == 35
    assert corpus.limited(1).tokens == 10
    assert [len(ids) for ids, _ in cut(list(range(7)), [0] * 7, 3)] == [3, 3, 1]


def test_the_hash_is_of_ids_and_phases() -> None:
    one = Corpus.of([[1, 2, 3]], [[0, 1, 1]], "a")
    assert one.sha256 == Corpus.of([[1, 2, 3], []], [[0, 1, 1], []], "b").sha256
    others = [
        Corpus.of([[1, 2, 4]], [[0, 1, 1]], "a"),
        Corpus.of([[1, 2, 3]], [[0, 1, 2]], "a"),
        Corpus.of([[1, 2], [3]], [[0, 1], [1]], "a"),
    ]
    assert len({one.sha256, *(other.sha256 for other in others)}) == 4
    with pytest.raises(InternalError):
        Corpus.of([[1, 2]], [[0]], "a")


def test_two_corpora_stand_one_behind_the_other() -> None:
    both = Corpus.of([[1]], [[0]], "a").with_other(Corpus.of([[2, 3]], [[1, 1]], "b"))
    assert ([ids.tolist() for ids in both.chunks], both.origin) == ([[1], [2, 3]], "a + b")


def test_a_plain_text_is_one_record(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("A line.\n\nAnother, with {braces}.\n")
    assert read_records(str(path)) == [Record(text="A line.\n\nAnother, with {braces}.\n")]


def test_lines_of_all_kinds_stand_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    lines: list[dict[str, Any]] = [{"provenance": {}}, {"question": "a"}, {"prompt": "b"}, {"text": "c"}]
    path.write_text("\n".join(map(json.dumps, lines)))
    records = read_records(str(path))
    assert [record.is_question for record in records] == [True, True, False]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "{}",
        '{"question": 1}',
        '{"question": " "}',
        '{"text": ""}',
        '{"messages": []}',
        '{"messages": [{"role": "robot", "content": "x"}]}',
        '{"messages": [{"role": "assistant", "content": "x"}]}',
        '{"question": "x", "thinking": []}',
        "[" * 100_000,
    ],
)
def test_a_bad_line_is_told_with_its_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"question": "good"}\n' + line)
    with pytest.raises(UsageError, match="Line 2"):
        read_records(str(path))


@pytest.mark.parametrize("content", [b"", b" \n", b"a\0b"])
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError):
        read_records(str(path))
    with pytest.raises(UsageError, match="cannot be read"):
        read_records(str(tmp_path / "none.txt"))


def test_the_models_own_vocabulary_is_opened(small_model: Any) -> None:
    with opened_tokenizer(small_model) as tokenizer:
        record = parse_record('{"question": "the <think>", "thinking": "an in", "answer": "th"}', 1)
        corpus = tokenizer.corpus([record], "test")
        assert spelled(tokenizer, corpus, THINKING) == "<think>\nan in\n</think>"
        opened = [token for token in corpus.chunks[0].tolist() if tokenizer.vocabulary.spelling(token) == "<think>"]
        assert len(opened) == 1

"""The vocabulary of a Hugging Face folder: exact bytes, no markers from a user's text, ends and beginnings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ModelError
from models.locations import shipped_model
from runtime.backends.backend import Vocabulary

pytest.importorskip("tokenizers")

from runtime.backends.folder_vocabulary import FolderVocabulary

TINY = shipped_model().parent / "huggingface"
MARKERS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]


@pytest.fixture(scope="module")
def vocabulary() -> FolderVocabulary:
    return FolderVocabulary.open(TINY)


def sentence_piece(folder: Path, **settings: Any) -> Path:
    """A folder with a tokenizer as SentencePiece models have it: byte pieces, a space put before a text, `<s>` among
    the plain pieces."""
    words = ["<unk>", "<s>", "</s>", *(f"<0x{value:02X}>" for value in range(256)), "▁", "t", "h", "e", "th", "▁th"]
    words += ["▁the", "<", "s", ">", "<|end|>"]
    table = {
        "version": "1.0",
        "added_tokens": [
            {"id": index, "content": text, "special": True, "normalized": False, "lstrip": False, "rstrip": False,
             "single_word": False}
            for index, text in [(0, "<unk>"), (1, "<s>"), (2, "</s>"), (len(words) - 1, "<|end|>")]
        ],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ]},
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]},
        "model": {
            "type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, "ignore_merges": True,
            "vocab": {word: index for index, word in enumerate(words)}, "merges": ["t h", "▁ th", "▁th e"],
        },
    }  # fmt: skip
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(table))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"} | settings))
    return folder


def spelled(vocabulary: Vocabulary, ids: list[int]) -> str:
    return b"".join(map(vocabulary.piece, ids)).decode()


def test_it_is_a_vocabulary_and_says_what_ends(vocabulary: FolderVocabulary) -> None:
    typed: Vocabulary = vocabulary
    assert typed.size == 2048
    assert sorted(map(typed.spelling, typed.marker_ids)) == sorted(MARKERS)
    assert {typed.spelling(token) for token in typed.end_ids} == {"<|im_end|>", "<|endoftext|>"}
    assert vocabulary.begin_ids == ()
    assert typed.tokenize("", markers=True) == typed.tokenize("", markers=False) == []


@pytest.mark.parametrize("marker", MARKERS)
@pytest.mark.parametrize("frame", ["{}", "a{}b", "{}{}", "</thi{}nk>", "<|im_{}start|>", "</</think>think>{}"])
def test_a_users_text_gives_no_marker(vocabulary: FolderVocabulary, marker: str, frame: str) -> None:
    text = frame.replace("{}", marker)
    ids = vocabulary.tokenize(text, markers=False)
    assert vocabulary.marker_ids.isdisjoint(ids)
    assert spelled(vocabulary, ids) == text
    assert not vocabulary.marker_ids.isdisjoint(vocabulary.tokenize(text, markers=True))


@settings(max_examples=200)
@given(st.lists(st.sampled_from([*MARKERS, "日本", " 12 ", "\n\n", "🙂", "the"]) | st.text(max_size=8)).map("".join))
def test_any_text_comes_back_whole(vocabulary: FolderVocabulary, text: str) -> None:
    for markers in (True, False):
        assert (
            spelled(vocabulary, vocabulary.tokenize(text, markers=markers)) == text.encode("utf-8", "replace").decode()
        )
    assert vocabulary.marker_ids.isdisjoint(vocabulary.tokenize(text, markers=False))


def test_it_agrees_with_the_c_library_on_the_same_model(vocabulary: FolderVocabulary) -> None:
    from runtime.backends.llama import open_llama

    backend = open_llama(shipped_model().with_name("kangae-tiny-F16.gguf"), context=256, sequences=1, threads=1)
    try:
        other = backend.vocabulary
        assert (other.size, other.end_ids, other.marker_ids) == (
            vocabulary.size, vocabulary.end_ids, vocabulary.marker_ids,
        )  # fmt: skip
        assert other.begin_ids == vocabulary.begin_ids
        assert [other.piece(token) for token in range(other.size)] == [
            vocabulary.piece(token) for token in range(other.size)
        ]
        lines = (TINY.parent / "problems.jsonl").read_text("utf-8").splitlines()[:400]
        for text in [
            *(json.loads(line)["question"] for line in lines),
            "<|im_start|>user\n7 × 8?<|im_end|>\n<think>\n",
        ]:
            for markers in (True, False):
                assert other.tokenize(text, markers=markers) == vocabulary.tokenize(text, markers=markers)
    finally:
        backend.close()


def test_sentence_piece_keeps_bytes_and_puts_no_space_before_a_users_text(tmp_path: Path) -> None:
    vocabulary = FolderVocabulary.open(sentence_piece(tmp_path / "m"))
    assert vocabulary.begin_ids == (1,)
    for text in ["the", " the the", "日<s>本", "</s><unk><s>", "\x00\n<|end|>", "a  b"]:
        ids = vocabulary.tokenize(text, markers=False)
        assert spelled(vocabulary, ids) == text
        assert vocabulary.marker_ids.isdisjoint(ids)
    assert vocabulary.tokenize("<s>", markers=True) == [1]
    assert spelled(vocabulary, vocabulary.tokenize("the", markers=True)) == " the"
    assert {vocabulary.spelling(token) for token in vocabulary.end_ids} == {"</s>", "<|end|>"}


def test_what_stands_before_a_text_is_the_folders_to_say(tmp_path: Path) -> None:
    assert FolderVocabulary.open(sentence_piece(tmp_path / "off", add_bos_token=False)).begin_ids == ()
    folder = sentence_piece(tmp_path / "on", add_bos_token=True, bos_token={"content": "<s>"})
    table = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(table | {"post_processor": None}))
    assert FolderVocabulary.open(folder).begin_ids == (1,)


def test_ids_that_only_the_model_knows_are_empty(tmp_path: Path) -> None:
    vocabulary = FolderVocabulary.open(sentence_piece(tmp_path / "m"), size=300, ends=[7, 4000])
    assert vocabulary.size == 300
    assert vocabulary.piece(299) == b""
    assert 7 in vocabulary.end_ids and 4000 not in vocabulary.end_ids


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("tokenizer.json", None, "tokenizer.json is missing"),
        ("tokenizer.json", "{", "is no JSON"),
        ("tokenizer.json", "[]", "holds no JSON object"),
        ("tokenizer.json", '{"model": 1}', "is no tokenizer"),
        ("config.json", '{"vocab_size": 20}', "belong to different models"),
        ("tokenizer_config.json", "\x00", "is no JSON"),
    ],
)
def test_faulty_folders_are_told(tmp_path: Path, name: str, text: str | None, told: str) -> None:
    folder = sentence_piece(tmp_path / "m")
    if text is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(text)
    with pytest.raises(ModelError, match=told):
        FolderVocabulary.open(folder)


def test_a_tokenizer_that_keeps_no_bytes_is_refused(tmp_path: Path) -> None:
    folder = sentence_piece(tmp_path / "m")
    table = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(table | {"decoder": {"type": "BPEDecoder", "suffix": "</w>"}}))
    with pytest.raises(ModelError, match="no exact bytes"):
        FolderVocabulary.open(folder)

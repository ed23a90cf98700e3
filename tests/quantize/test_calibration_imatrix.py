"""Importance matrices: computed as llama-imatrix computes them, written and read in its form, refused when hostile."""

from __future__ import annotations

import random
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from models.catalogue import ModelEntry, open_entry
from models.errors import ModelError, UsageError
from models.gguf_file import GgufFile
from models.gguf_header import read_header
from quantize.calibration.calibration import calibrate, calibration_corpus, ensure_imatrix
from quantize.calibration.corpus import Corpus
from quantize.calibration.imatrix import (
    Entry,
    Imatrix,
    ImatrixFile,
    is_imatrix,
    read_imatrix,
    require_fit,
    write_imatrix,
)
from tests.fakes.llama_tools import needs_tools, run_tool
from tests.fakes.mixture_model import EXPERTS, HIDDEN, USED, WIDE, make_mixture

TOKENS = 1100


@pytest.fixture
def corpus() -> Corpus:
    random_ids = np.random.default_rng(1).integers(0, 256, TOKENS).astype(np.int32)
    chunks = [random_ids[:700], random_ids[700:1040], random_ids[1040:]]
    return Corpus.of(chunks, [np.zeros(len(ids)) for ids in chunks], "random")


def matrices(entry: ModelEntry) -> list[str]:
    assert entry.header is not None
    return [tensor.name for tensor in entry.header.tensors if len(tensor.shape) > 1 and tensor.name.startswith("blk.")]


def test_every_matrix_is_seen_with_every_token(small_model: ModelEntry, corpus: Corpus) -> None:
    shares: list[float] = []
    found = calibrate(small_model, corpus, threads=1, progress=shares.append)
    assert sorted(found.imatrix.entries) == sorted(matrices(small_model))
    assert {int(entry.counts[0]) for entry in found.imatrix.entries.values()} == {TOKENS}
    assert found.imatrix.own["corpus_sha256"] == corpus.sha256
    assert found.imatrix.datasets == ("random",)
    assert all(0 <= share <= 1 for share in shares)


def test_the_sums_are_those_of_the_models_inputs(small_model: ModelEntry, corpus: Corpus) -> None:
    """The first layer's inputs are the normed embeddings, which can be computed here."""
    found = calibrate(small_model, corpus, threads=1).imatrix.entries["blk.0.attn_q.weight"]
    file = GgufFile.open(small_model.path)
    rows = file.values("token_embd.weight")[np.concatenate(corpus.chunks)].astype(np.float64)
    normed = rows / np.sqrt((rows**2).mean(1, keepdims=True) + 1e-6) * file.values("blk.0.attn_norm.weight")
    np.testing.assert_allclose(found.sums[0], (normed**2).sum(0), rtol=1e-4)


def test_it_is_made_once(small_model: ModelEntry, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    made = calibrate(small_model, corpus, threads=1)
    monkeypatch.setattr("quantize.calibration.calibration.run_child", None)
    assert calibrate(small_model, corpus).sha256 == made.sha256
    made.path.write_bytes(made.path.read_bytes()[:-40])
    with pytest.raises(TypeError):  # damaged: it would be made again
        calibrate(small_model, corpus)


def test_a_killed_child_leaves_nothing(
    small_model: ModelEntry, corpus: Corpus, own_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from quantize.child import Ended

    monkeypatch.setattr("quantize.calibration.calibration.run_child", lambda *_: Ended(-9, ""))
    with pytest.raises(ModelError, match="signal 9"):
        calibrate(small_model, corpus)
    assert list((own_folders / "cache" / "calibration").iterdir()) == []


def test_experts_are_counted_apart(small_model: ModelEntry, corpus: Corpus, tmp_path: Path) -> None:
    mixture = open_entry(make_mixture(tmp_path / "Mixture-F16.gguf", small_model.path))
    found = calibrate(mixture, corpus, threads=1).imatrix.entries
    for part, columns in (("gate", HIDDEN), ("up", HIDDEN), ("down", WIDE)):
        entry = found[f"blk.0.ffn_{part}_exps.weight"]
        assert entry.sums.shape == (EXPERTS, columns)
        assert entry.counts.sum() == TOKENS * USED
        assert (entry.counts > 0).all() and (entry.sums.sum(1) > 0).all()


@needs_tools
@pytest.mark.parametrize("kind", ["dense", "mixture"])
def test_it_is_llama_imatrixs(small_model: ModelEntry, tmp_path: Path, kind: str) -> None:
    model = small_model
    if kind == "mixture":
        model = open_entry(make_mixture(tmp_path / "Mixture-F16.gguf", small_model.path))
    words = random.Random(3)
    line = "<|im_start|>user\nthe an in?<|im_end|>\n<|im_start|>assistant\n<think>\nthe in\n</think>\n\nan<|im_end|>\n"
    text = "".join(line + words.choice("abcdef") * 9 for _ in range(90))
    (tmp_path / "text.txt").write_text(text)
    run_tool(
        "llama-imatrix", "-m", str(model.path), "-f", "text.txt", "-o", "theirs.gguf", "-c", "512", "-b", "512",
        "--parse-special", "--no-ppl", "-t", "1", folder=tmp_path,
    )  # fmt: skip
    from quantize.calibration.tokenizer import opened_tokenizer

    with opened_tokenizer(model) as tokenizer:
        ids = tokenizer.vocabulary.tokenize(text, markers=True)
    chunks = [ids[start : start + 512] for start in range(0, len(ids) // 512 * 512, 512)]
    ours = calibrate(model, Corpus.of(chunks, [[0] * 512 for _ in chunks], "text.txt"), threads=1).imatrix
    theirs = read_imatrix(tmp_path / "theirs.gguf").imatrix
    assert (ours.datasets, ours.chunk_count, ours.chunk_size) == (
        theirs.datasets, theirs.chunk_count, theirs.chunk_size,
    )  # fmt: skip
    assert ours.entries.keys() == theirs.entries.keys()
    for name, entry in theirs.entries.items():
        np.testing.assert_array_equal(ours.entries[name].counts, entry.counts, name)
        np.testing.assert_allclose(ours.entries[name].sums, entry.sums, rtol=1e-3, err_msg=name)


def an_imatrix(columns: int = 8, more: Mapping[str, Entry] = MappingProxyType({})) -> Imatrix:
    usual = {"blk.0.attn_q.weight": Entry(np.arange(columns, dtype=np.float32)[None], np.array([4], np.float32))}
    return Imatrix({**usual, **more}, ("text.txt",), 3, 512)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    experts = Entry(np.array([[2, 4], [0, 0]], np.float32), np.array([2, 0], np.float32))
    given = an_imatrix(more={"blk.0.ffn_up_exps.weight": experts})
    write_imatrix(given, tmp_path / "a.gguf")
    found = read_imatrix(tmp_path / "a.gguf").imatrix
    assert (found.datasets, found.chunk_count, found.chunk_size) == (("text.txt",), 3, 512)
    assert found.entries["blk.0.ffn_up_exps.weight"].importance.tolist() == [1, 2, 1, 1]
    header = read_header(tmp_path / "a.gguf")
    assert header.text("general.type") == "imatrix"
    assert [(one.name, one.shape, one.type) for one in header.tensors[:2]] == [
        ("blk.0.attn_q.weight.in_sum2", (8, 1), "F32"),
        ("blk.0.attn_q.weight.counts", (1, 1), "F32"),
    ]
    assert is_imatrix(tmp_path / "a.gguf")


def legacy(entries: int = 1, name: bytes = b"blk.0.attn_q.weight", calls: int = 2, values: int = 4) -> bytes:
    body = struct.pack("<i", len(name)) + name + struct.pack("<ii", calls, values) + struct.pack("<4f", 2, 4, 6, 8)
    return struct.pack("<i", entries) + body + struct.pack("<i", 7) + struct.pack("<i", 4) + b"wiki"


def test_the_older_form_is_read(tmp_path: Path) -> None:
    (tmp_path / "old.dat").write_bytes(legacy())
    assert is_imatrix(tmp_path / "old.dat")
    found = read_imatrix(tmp_path / "old.dat").imatrix
    assert found.entries["blk.0.attn_q.weight"].importance.tolist() == [1, 2, 3, 4]
    assert (found.datasets, found.chunk_count) == (("wiki",), 7)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"GG", b"GGUF", b"\0" * 40, b"\xff" * 40, legacy(entries=2), legacy(entries=-1), legacy(entries=1 << 30),
        legacy(values=-1), legacy(values=1 << 30), legacy(calls=-5), legacy()[:30], legacy()[:-2],
        struct.pack("<ii", 1, 1 << 30) + b"x" * 20, struct.pack("<ii", 1, -4) + b"x" * 20,
    ],
)  # fmt: skip
def test_hostile_files_are_refused_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.imatrix"
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        read_imatrix(path)
    assert str(path) in caught.value.detail


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    write_imatrix(an_imatrix(), tmp_path / "whole.gguf")
    whole = (tmp_path / "whole.gguf").read_bytes()
    for length in range(0, len(whole) - 40, 7):  # the last bytes may be padding
        (tmp_path / "cut.gguf").write_bytes(whole[:length])
        with pytest.raises(ModelError):
            read_imatrix(tmp_path / "cut.gguf")


@pytest.mark.parametrize(
    "entry",
    [
        Entry(np.array([[np.nan, 1]], np.float32), np.array([1], np.float32)),
        Entry(np.array([[np.inf, 1]], np.float32), np.array([1], np.float32)),
        Entry(np.array([[-1, 1]], np.float32), np.array([1], np.float32)),
        Entry(np.array([[1, 1]], np.float32), np.array([np.nan], np.float32)),
    ],
)
def test_no_numbers_are_refused(tmp_path: Path, entry: Entry) -> None:
    write_imatrix(an_imatrix(more={"blk.0.ffn_up.weight": entry}), tmp_path / "bad.gguf")
    with pytest.raises(ModelError, match=r"blk\.0\.ffn_up\.weight"):
        read_imatrix(tmp_path / "bad.gguf")


def test_another_models_matrix_does_not_fit(small_model: ModelEntry, tmp_path: Path) -> None:
    assert small_model.header is not None
    tensors = small_model.header.tensors
    cases = [
        an_imatrix(256),
        an_imatrix(255),
        Imatrix({"blk.0.other.weight": Entry(np.ones((1, 4), np.float32), np.ones(1, np.float32))}, (), 1, 512),
        an_imatrix(256, {"blk.99.attn_q.weight": Entry(np.ones((1, 256), np.float32), np.ones(1, np.float32))}),
    ]
    require_fit(ImatrixFile(tmp_path, "", cases[0]), tensors, "Wide")
    for case in cases[1:]:
        with pytest.raises(UsageError, match="another model"):
            require_fit(ImatrixFile(tmp_path, "", case), tensors, "Wide")


def test_a_file_that_is_a_matrix_is_taken_as_it_is(small_model: ModelEntry, corpus: Corpus, tmp_path: Path) -> None:
    made = calibrate(small_model, corpus, threads=1)
    path = Path(shutil.copy(made.path, tmp_path / "mine.gguf"))
    assert ensure_imatrix(small_model, str(path)).sha256 == made.sha256
    with pytest.raises(UsageError, match="holds no text"):
        calibration_corpus(small_model, str(path))
    mixture = open_entry(make_mixture(tmp_path / "Other-F16.gguf", small_model.path))
    with pytest.raises(UsageError, match="Wide"):
        ensure_imatrix(mixture, str(path))


def test_a_text_becomes_a_matrix(small_model: ModelEntry, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("the in an <think> " * 200)
    found = ensure_imatrix(small_model, str(path), tokens=600, threads=1)
    assert found.imatrix.datasets == ("text.txt",)
    assert found.imatrix.entries["blk.1.ffn_down.weight"].counts[0] <= 600


def test_a_text_of_a_few_words_is_too_short(small_model: ModelEntry, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("hi")
    with pytest.raises(ModelError, match="longer text"):
        ensure_imatrix(small_model, str(tmp_path / "text.txt"), threads=1)

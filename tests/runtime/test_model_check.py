"""Damaged model files end a child at most, never this process; a good file's verdict is kept."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.errors import ModelError, ResourceError
from runtime import machine, model_check
from runtime.bench.random_model import make_random_model
from runtime.model_check import Limits, Verdict, check_model

pytest.importorskip("llama_cpp")

GIANT_ARRAY = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"a" + struct.pack("<IIQ", 9, 4, 2**62)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_random_model(tmp_path_factory.mktemp("models") / "tiny.gguf")


def damaged(good: bytes, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """`count` broken variants of a file: cut, flipped in the header or anywhere, giant numbers, a giant array."""
    draw = random.Random(seed)
    header = good.find(b"blk.0.attn_norm.weight")
    yield "giant array", GIANT_ARRAY
    yield "empty", b""
    for number in range(count - 2):
        data = bytearray(good)
        kind = number % 5
        if kind == 0:
            yield "cut", bytes(data[: draw.randrange(4, len(data))])
        elif kind == 1:
            for _ in range(draw.randint(1, 8)):
                data[draw.randrange(4, header + 4000)] ^= 1 << draw.randrange(8)
            yield "flipped in the header", bytes(data)
        elif kind == 2:
            for _ in range(64):
                data[draw.randrange(len(data))] = draw.randrange(256)
            yield "flipped anywhere", bytes(data)
        elif kind == 3:
            place = draw.randrange(8, header + 2000)
            data[place : place + 8] = struct.pack("<Q", draw.choice([2**63 - 1, 2**64 - 1, 2**31, 2**40]))
            yield "giant number", bytes(data)
        else:
            # A number among the metadata's values: the header stays well-formed, the shapes no longer agree.
            key = draw.choice([b"block_count", b"head_count", b"head_count_kv", b"embedding_length", b"key_length"])
            place = data.find(b"qwen3." + key) if key[:4] != b"head" and key[:3] != b"key" else data.find(b"." + key)
            start = data.find(key, place) + len(key) + 4
            data[start : start + 4] = struct.pack("<I", draw.choice([0, 1, 3, 7, 255, 65535, 2**31, 2**32 - 1]))
            yield f"wrong {key.decode()}", bytes(data)


def check_all(model: Path, folder: Path, count: int, seed: int) -> dict[str, int]:
    """Check every variant; only a verdict or a `ModelError` with a sentence may come out."""
    outcomes = {"opened": 0, "refused": 0}
    for number, (kind, data) in enumerate(damaged(model.read_bytes(), count, seed)):
        file = folder / f"{number}.gguf"
        file.write_bytes(data)
        try:
            check_model(file, folder / "cache")
            outcomes["opened"] += 1
        except ModelError as error:
            assert str(file) in error.detail, kind
            assert error.detail.endswith("."), kind
            assert "Traceback" not in error.detail, f"{kind}: {error.detail}"
            outcomes["refused"] += 1
        file.unlink()
    return outcomes


def test_forty_damaged_files(model: Path, tmp_path: Path) -> None:
    outcomes = check_all(model, tmp_path, 40, seed=1)
    assert sum(outcomes.values()) == 40
    assert outcomes["refused"] > 20


@pytest.mark.slow
def test_three_hundred_damaged_files(model: Path, tmp_path: Path) -> None:
    outcomes = check_all(model, tmp_path, 300, seed=2)
    assert sum(outcomes.values()) == 300
    assert outcomes["refused"] > 150


def test_a_good_file_opens_and_its_verdict_is_found_without_a_child(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = check_model(model, tmp_path)
    assert first.usable
    assert len(first.sha256) == 64

    def no_child(path: Path, size: int, limits: Limits) -> str:
        raise AssertionError("a child was started")

    monkeypatch.setattr(model_check, "_try_in_child", no_child)
    assert check_model(model, tmp_path) == first
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(model.read_bytes())
    assert check_model(copy, tmp_path) == first
    with pytest.raises(AssertionError):
        check_model(model, tmp_path / "another cache")


def test_another_library_and_damaged_notes_are_not_believed(model: Path, tmp_path: Path) -> None:
    first = check_model(model, tmp_path)
    note = tmp_path / "by-content" / f"{first.sha256}.json"
    note.write_text(json.dumps({"sha256": first.sha256, "reason": "old.", "library": "another"}))
    for file in (tmp_path / "by-place").iterdir():
        file.write_text("{")
    assert check_model(model, tmp_path).usable


def test_a_kept_refusal_is_told_again(model: Path, tmp_path: Path) -> None:
    library = check_model(model, tmp_path).library
    for note in (tmp_path / "by-place").iterdir():
        note.write_text(json.dumps({"sha256": "0", "reason": "it is broken.", "library": library}))
    with pytest.raises(ModelError, match="it is broken"):
        check_model(model, tmp_path)


def test_a_crash_a_hang_and_nonsense_of_the_child_become_sentences(tmp_path: Path) -> None:
    limits = Limits.of(0)
    said = model_check._judge(tmp_path, -6, b"", b"ggml.c:1: GGML_ASSERT(x) failed\n", limits)
    assert "SIGABRT" in said
    assert "GGML_ASSERT" in said
    with pytest.raises(ModelError, match="of computing"):
        model_check._judge(tmp_path, -24, b"", b"", limits)
    assert "broke down" in model_check._judge(tmp_path, 0, b"no json", b"", limits)
    assert model_check._judge(tmp_path, 0, b'noise\n{"reason": ""}\n', b"", limits) == ""


def test_a_hanging_child_is_ended(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_check.Limits, "of", classmethod(lambda cls, size: Limits(60, 0.0, 1 << 40, 1 << 40)))
    with pytest.raises(ModelError, match="longer than"):
        check_model(model, tmp_path)
    assert not (tmp_path / "by-content").exists()


def test_an_unwritable_cache_costs_only_speed(model: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert check_model(model, blocked / "cache").usable


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no file"):
        check_model(tmp_path / "none.gguf", tmp_path)


def test_limits_grow_with_the_file() -> None:
    assert Limits.of(0).cpu_seconds == 2
    assert Limits.of(1 << 30).private_memory > 1 << 30
    assert Verdict("0", "", "x").usable


WANTS = (
    "the C library cannot load it (llama_model_load: error loading model: Resource temporarily unavailable).",
    "the C library broke down on it (SIGABRT: what():  std::bad_alloc).",
    "opening it takes more memory than a model of its size needs.",
)


@pytest.mark.parametrize("reason", WANTS)
def test_want_of_memory_is_tried_again_and_never_kept(
    reason: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [reason, ""]
    rooms = []

    def child(path: Path, size: int, limits: Limits) -> str:
        rooms.append(limits.private_memory)
        return said.pop(0)

    monkeypatch.setattr(model_check, "_try_in_child", child)
    assert check_model(model, tmp_path / "one").usable
    assert rooms[1] > rooms[0]
    said[:] = [reason, reason]
    with pytest.raises(ModelError, match="cannot be used"):
        check_model(model, tmp_path / "two")
    assert not list((tmp_path / "two").rglob("*.json"))


def test_a_process_with_little_memory_is_told_of_it(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_check, "_try_in_child", lambda *_: WANTS[0])
    monkeypatch.setattr(machine, "memory_available", lambda: 10 << 20)
    with pytest.raises(ResourceError, match="10 MiB"):
        check_model(model, tmp_path)
    assert not list(tmp_path.rglob("*.json"))

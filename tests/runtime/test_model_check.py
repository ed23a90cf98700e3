"""Damaged model files end a child at most, never a process that answers; a good file's verdict is kept."""

from __future__ import annotations

import json
import random
import resource
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from models.errors import ModelError, ResourceError
from models.locations import cache_folder
from runtime import machine, model_check
from runtime.bench.random_model import make_random_model
from runtime.model_check import Limits, Verdict, check_model

ROOT = Path(__file__).parents[2]
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


@dataclass(frozen=True)
class Trial:
    """One opening in a child: its limits, and what it took, in seconds by the clock and of computing."""

    file: str
    limits: Limits
    wall: float
    computing: float


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> list[Trial]:
    """Every child that is started from now on."""
    found: list[Trial] = []
    real = model_check._try_in_child

    def timed(path: Path, size: int, limits: Limits) -> str:
        began, computed = time.perf_counter(), children_seconds()
        try:
            return real(path, size, limits)
        finally:
            took = time.perf_counter() - began
            found.append(Trial(path.stem, limits, took, children_seconds() - computed))

    monkeypatch.setattr(model_check, "_try_in_child", timed)
    return found


def children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def check_all(model: Path, folder: Path, count: int, seed: int) -> tuple[list[Path], int]:
    """Check every variant, as a command would; only a verdict or a `ModelError` with a sentence may come out. Returns
    the files that were accepted, and how many were refused."""
    accepted, refused = [], 0
    folder.mkdir()
    for number, (kind, data) in enumerate(damaged(model.read_bytes(), count, seed)):
        file = folder / f"{number} {kind}.gguf"
        file.write_bytes(data)
        try:
            check_model(file, cache_folder() / "checks")
            accepted.append(file)
        except ModelError as error:
            assert str(file) in error.detail, kind
            assert error.detail.endswith("."), kind
            assert "Traceback" not in error.detail, f"{kind}: {error.detail}"
            refused += 1
            file.unlink()
    return accepted, refused


ASK = """
import sys
import kangae
for path in sys.argv[1:]:
    print(path, flush=True)
    words = ["ask", "Check 1.", "-m", path, "--budget", "4", "--max-answer", "4", "--json", "--no-store"]
    print(kangae.main(words), flush=True)
"""
USUAL_CODES = {0, 2, 3, 4, 7}
"""Of docs/cli.md those for an answer and for a model that cannot be used; 70, a fault of ours, is not among them."""


def ask_all(files: list[Path]) -> dict[Path, int]:
    """`kangae ask` on every file, one after another in a process of its own, which must come to its end: the codes."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, *map(str, files)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 0, (done.returncode, lines[-2:], done.stderr[-2000:])
    assert b"Traceback" not in done.stderr
    codes = {}
    for path, told, code in zip(lines[::3], lines[1::3], lines[2::3], strict=True):
        said = json.loads(told)
        assert said["error"]["exit"] == int(code) if "error" in said else "answer" in said, (path, told)
        codes[Path(path)] = int(code)
    assert list(codes) == files
    return codes


def tell(trials: list[Trial], codes: dict[Path, int]) -> None:
    """For a reader of the test's output (`-s`)."""
    slowest, busiest = max(trials, key=lambda one: one.wall), max(trials, key=lambda one: one.computing)
    print(
        f"\n{len(trials)} trials; the slowest took {slowest.wall:.2f} s ({slowest.file}), the busiest computed "
        f"{busiest.computing:.2f} s of at most {busiest.limits.cpu_seconds} ({busiest.file}); "
        f"{len(codes)} files were accepted and asked: exit codes {dict(sorted(Counter(codes.values()).items()))}"
    )


@pytest.mark.parametrize(
    ("count", "seed"),
    [pytest.param(40, 1, id="forty"), pytest.param(300, 2, id="three hundred", marks=pytest.mark.slow)],
)
def test_damaged_files_are_refused_or_answer(
    count: int, seed: int, model: Path, tmp_path: Path, trials: list[Trial]
) -> None:
    accepted, refused = check_all(model, tmp_path / "damaged", count, seed)
    assert len(accepted) + refused == count
    assert refused > count // 2
    assert accepted
    codes = ask_all(accepted)
    tell(trials, codes)
    assert {path.name: code for path, code in codes.items() if code not in USUAL_CODES} == {}
    # The system looks at a process's computing now and then only, so a child may be over its limit by a little.
    assert [one for one in trials if one.computing > one.limits.cpu_seconds + 1] == []


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

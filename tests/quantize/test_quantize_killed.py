"""`kangae quantize` killed at random moments: never half a file under the final name, and the next run finishes with
the same bytes. So many kills as KANGAE_TEST_KILLS says (12) for each of the ways."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.huggingface_folders import write_folder

KILLS = int(os.environ.get("KANGAE_TEST_KILLS", "12"))
SEED = int(os.environ.get("KANGAE_TEST_SEED", "1"))
LARGE = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8}
WIDE = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2}
TEXT = "The answer is in the question, and the question is what it is about. So we go on: {} and {}.\n"
FORMS = {
    "conversion": (LARGE, ["--to", "gguf:F16"]),
    "compensated": (WIDE, ["--to", "gguf:Q4_K_M", "--calibrate", "text.txt", "--calibration-tokens", "1500"]),
    "gptq": (WIDE, ["--to", "gptq:4", "--calibrate", "text.txt", "--calibration-tokens", "1500"]),
}
_WAIT = 120.0  # seconds for a process to begin, at most


def _start(folder: Path, words: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "kangae", "quantize", "model", *words, "--threads", "1", "-o", "new/out"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(folder: Path, words: list[str]) -> None:
    run = _start(folder, words)
    _, told = run.communicate()
    assert run.returncode == 0, told


def _begun(folder: Path, run: subprocess.Popen[str]) -> bool:
    """Wait until something hidden stands beside the target; False where the run was over before that was seen."""
    end = time.monotonic() + _WAIT
    while time.monotonic() < end:
        if any(name.startswith(".out.") for name in _left(folder / "new")):
            return True
        if run.poll() is not None:
            return False
        time.sleep(0.002)
    raise AssertionError("it did not begin")


def _left(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.is_dir() else []


def _hash(place: Path) -> str:
    """Of a file, or of all the files in a folder with their names."""
    files = sorted(place.rglob("*")) if place.is_dir() else [place]
    running = hashlib.sha256()
    for file in files:
        running.update(f"{file.relative_to(place)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return running.hexdigest()


def _clear(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _require_clean(folder: Path) -> None:
    """Nothing but what was made, nothing hidden in the cache, nothing in the folder for temporary files."""
    assert _left(folder / "new") == ["out"]
    hidden = [path for path in (folder / "cache").rglob("*") if path.name.startswith(".") or path.suffix == ".part"]
    assert hidden == []
    assert _left(folder / "temporary") == []


@pytest.fixture
def work(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a model and a text."""
    write_folder(tmp_path / "model", config=FORMS[request.param][0])
    numbers = random.Random(0)
    lines = [TEXT.format(numbers.randrange(1000), numbers.randrange(1000)) for _ in range(200)]
    (tmp_path / "text.txt").write_text("".join(lines))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    yield tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(("work", "way"), [(way, way) for way in FORMS], indirect=["work"], ids=list(FORMS))
def test_a_kill_at_any_moment_costs_nothing_but_time(work: Path, way: str) -> None:
    words, target = FORMS[way][1], work / "new" / "out"
    whole = _start(work, words)
    assert _begun(work, whole)
    begun = time.monotonic()
    while not target.exists() and whole.poll() is None:
        time.sleep(0.002)
    length = time.monotonic() - begun
    _, told = whole.communicate()
    assert whole.returncode == 0, told
    wanted = _hash(target)
    moments, early, done = random.Random(SEED), 0, 0
    for _ in range(KILLS):
        _clear(target)
        _clear(work / "cache")
        run = _start(work, words)
        if _begun(work, run):
            time.sleep(moments.uniform(0, length))
        early += run.poll() is None
        run.send_signal(signal.SIGKILL)
        run.communicate()
        if target.exists():
            done += 1
            assert _hash(target) == wanted
            if _left(work / "new") == ["out"]:
                continue
            _clear(target)  # it was whole, and killed while it tidied up
        _finish(work, words)
        assert _hash(target) == wanted
        _require_clean(work)
    print(f"{way}: {KILLS} kills, {early} while it ran, {done} of them when the target was whole; {length:.1f} s a run")
    assert early > KILLS // 3


@pytest.mark.parametrize("work", ["compensated"], indirect=True)
def test_an_interruption_keeps_the_work_and_says_so(work: Path) -> None:
    words, target = FORMS["compensated"][1], work / "new" / "out"
    run = _start(work, words)
    assert _begun(work, run)
    end = time.monotonic() + _WAIT
    while not list((work / "new").glob(".out.*.work/layers/*")) and time.monotonic() < end:
        assert run.poll() is None
        time.sleep(0.005)
    run.send_signal(signal.SIGINT)
    _, told = run.communicate()
    assert run.returncode == 130
    assert told.startswith("Interrupted: ") and "same command again goes on" in told
    assert told.strip().count("\n") == 0
    (kept,) = _left(work / "new")
    assert kept.startswith(".out.") and kept.endswith(".work")
    _finish(work, words)
    again = _hash(target)
    _require_clean(work)
    _clear(target)
    _finish(work, words)
    assert _hash(target) == again


@pytest.mark.parametrize("work", ["conversion"], indirect=True)
def test_an_interrupted_conversion_leaves_nothing(work: Path) -> None:
    run = _start(work, FORMS["conversion"][1])
    assert _begun(work, run)
    run.send_signal(signal.SIGINT)
    _, told = run.communicate()
    if run.returncode == 0:
        pytest.skip("it was over before the signal came")
    assert run.returncode == 130
    assert told.startswith("Interrupted: ") and "again" in told and told.strip().count("\n") == 0
    assert sorted({*_left(work)} - {"cache"}) == ["model", "temporary", "text.txt"]

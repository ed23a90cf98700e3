"""Speed measurements on a tiny model: the objects that `bench speed` and `bench peers` print, not the figures."""

from __future__ import annotations

import json
import shutil
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from models.errors import InternalError, MissingPackageError, UsageError
from runtime import machine
from runtime.backends.backend import Slice
from runtime.bench import peer_tools, peers, speed
from runtime.bench.memory import mapped_bytes, resident_bytes
from runtime.bench.peer_tools import PeerTools
from runtime.bench.random_model import TINY, make_random_model

SIZES = peers.Sizes(prompt=16, depth=8, tokens=4, batches=(2,))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_random_model(tmp_path_factory.mktemp("models") / "tiny.gguf")


def program(path: Path, output: str, code: int = 0) -> Path:
    """A stand-in for a peer: prints `output`, and noise to stderr."""
    body = f"import sys\nprint({output!r})\nprint('noise', file=sys.stderr)\nsys.exit({code})\n"
    path.write_text(f"#!{sys.executable}\n{body}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_the_object_of_bench_speed(file: Path) -> None:
    told: list[str] = []
    found = speed.measure(file, 8, (2, 4), prompt=600, tokens=3, repeats=1, threads=1, progress=told.append)
    assert {"model", "device", "prefill_tps", "decode_tps", "depth", "batch", "python_overhead_mb"} <= set(found)
    assert found["depth"] == 8
    batch = found["batch"]
    assert isinstance(batch, dict)
    assert list(batch) == ["2", "4"]
    assert all(value > 0 for value in batch.values())
    assert json.loads(json.dumps(found)) == found
    assert any("sequences" in line for line in told)


def test_sizes_below_one_are_refused(file: Path) -> None:
    with pytest.raises(UsageError, match="counted from 1"):
        speed.measure(file, 0)
    with pytest.raises(UsageError, match="pairs"):
        peers.compare(file, file.parent, pairs=0)


def test_widths_are_taken_only_where_they_are_faster(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = speed.open_for_measuring(file, 8, (8, 4), 8, 8, 1)
    rates = {(8, 8): 71.0, (8, 4): 81.0, (8, 2): 72.0, (4, 4): 80.0, (4, 2): 81.0}

    def rate(measured: object, depth: int, tokens: int, count: int) -> float:
        return rates[count, backend.preferred_width(count)]

    monkeypatch.setattr(speed, "parallel_speed", rate)
    assert speed.best_widths(backend, 8, (8, 4)) == {8: 4}
    assert backend.preferred_width(8) == 8
    backend.close()


def test_peers_alternate_and_tell_medians(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = program(tmp_path / "llama-bench", json.dumps([{"avg_ts": 10.0}]))
    batched = program(tmp_path / "llama-batched-bench", 'log line\n{"speed_tg": 20.0}')
    monkeypatch.setattr(peers, "peer_tools", lambda cache, tell: PeerTools(bench, batched, "0"))
    told: list[str] = []
    found = peers.compare(file, tmp_path, pairs=2, sizes=SIZES, threads=1, progress=told.append)
    rows = found["rows"]
    assert isinstance(rows, list)
    assert [(row["peer"], row["measure"]) for row in rows] == [
        ("llama-bench", "decode_tps"),
        ("llama-bench", "peak_mb"),
        ("llama-bench", "prefill_tps"),
        ("llama-batched-bench", "batch_2_tps"),
    ]
    assert [row["theirs"] for row in rows if row["measure"] != "peak_mb"] == [10.0, 10.0, 20.0]
    for row in rows:
        assert row["pairs"] == 2
        assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
    assert sum("pair 2 of 2" in line for line in told) == 3


@pytest.mark.parametrize("broken", [KeyboardInterrupt(), InternalError("It fell over.")])
def test_what_was_measured_before_a_break_is_told(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: BaseException
) -> None:
    runs = []

    def run(command: Sequence[str]) -> tuple[str, int]:
        runs.append(command)
        if len(runs) > 2:
            raise broken
        return json.dumps({"tps": 4.0}) if command[0] == sys.executable else json.dumps([{"avg_ts": 2.0}]), 1 << 20

    monkeypatch.setattr(peers, "peer_tools", lambda cache, tell: PeerTools(tmp_path / "a", tmp_path / "b", "0"))
    monkeypatch.setattr(peers, "_run", run)
    found = peers.compare(file, tmp_path, pairs=1, sizes=SIZES, threads=1, find_widths=False)
    rows = found["rows"]
    assert isinstance(rows, list)
    assert [(row["measure"], row["ratio"]) for row in rows] == [("decode_tps", 2.0), ("peak_mb", 1.0)]
    assert ("interrupted" in found) is isinstance(broken, KeyboardInterrupt)
    assert ("error" in found) is isinstance(broken, InternalError)
    if isinstance(broken, InternalError):  # before the first row it is all there is to tell
        with pytest.raises(InternalError, match="fell over"):
            peers.compare(file, tmp_path, pairs=1, sizes=SIZES, threads=1, find_widths=False)


def test_a_ratio_above_one_is_always_better_for_us() -> None:
    faster = peers._row("p", "decode_tps", "m", [(20.0, 10.0), (30.0, 10.0), (10.0, 10.0)], larger_is_better=True)
    assert (faster.ours, faster.theirs, faster.ratio) == (20.0, 10.0, 2.0)
    assert (faster.ratio_low, faster.ratio_high) == (1.0, 3.0)
    smaller = peers._row("p", "peak_mb", "m", [(100.0, 300.0)], larger_is_better=False)
    assert smaller.ratio == 3.0


def test_a_failing_peer_is_told(tmp_path: Path) -> None:
    failing = program(tmp_path / "bad", "", code=3)
    with pytest.raises(InternalError, match="exit code 3"):
        peers._run([str(failing)])


def test_a_peak_is_the_childs_own() -> None:
    held = b"x" * (200 << 20)  # resident here while the child runs
    said, peak = peers._run([sys.executable, "-S", "-c", "print(7)"])
    assert said.strip() == "7"
    assert 1 << 20 < peak < 150 << 20 < len(held)


def test_random_models_are_made_once(tmp_path: Path) -> None:
    told: list[str] = []
    first = peers._random_models(tmp_path, TINY, ["F16", "Q8_0"], told.append)
    times = [path.stat().st_mtime_ns for path in first]
    assert peers._random_models(tmp_path, TINY, ["F16", "Q8_0"], told.append) == first
    assert [path.stat().st_mtime_ns for path in first] == times
    assert len(told) == 2


def test_built_tools_are_reused_and_a_missing_compiler_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_tools, "_installed_version", lambda: "1.2")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MissingPackageError, match="cmake"):
        peer_tools.peer_tools(tmp_path)
    (tmp_path / "peers-1.2").mkdir()
    for name in ("llama-bench", "llama-batched-bench"):
        program(tmp_path / "peers-1.2" / name, "")
    assert peer_tools.peer_tools(tmp_path).version == "1.2"


def test_mapped_weights_are_seen_in_this_process(file: Path) -> None:
    backend = speed.open_for_measuring(file, 8, (1,), 8, 8, 1)
    backend.decode([Slice(0, 0, [1], True)])
    assert 0 < mapped_bytes(file) <= file.stat().st_size + (1 << 16)
    assert resident_bytes() > mapped_bytes(file)
    backend.close()


def test_the_machine_is_probed(tmp_path: Path) -> None:
    found = machine.probe(tmp_path / "not" / "there")
    assert 1 <= found.cores <= found.logical_cores
    assert 0 < found.memory_available <= found.memory_total
    assert found.disk_free > 0
    assert found.device


def test_hardware_threads_quotas_and_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for cpu, siblings in enumerate(["0,2", "1,3", "0,2", "1,3"]):
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(siblings + "\n")
    assert machine._distinct_cores(range(4), tmp_path) == 2
    assert machine._distinct_cores([0, 2], tmp_path) == 1
    assert machine._distinct_cores([8, 9], tmp_path) == 2
    group = tmp_path / "group"
    group.mkdir()
    monkeypatch.setattr(machine, "_groups", lambda root, controller: [root, group])
    assert machine._quota_cores(tmp_path) > 1000
    (group / "cpu.max").write_text("250000 100000\n")
    assert machine._quota_cores(tmp_path) == 2
    (group / "memory.max").write_text("1000\n")
    (group / "memory.current").write_text("700\n")
    (group / "memory.stat").write_text("anon 5\ninactive_file 200\n")
    assert machine._memory_limits(tmp_path) == [(1000, 500)]

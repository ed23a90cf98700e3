"""Children that do the C library's work: they end as they are told, and never outlive us."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from quantize.child import run_child

CODE = """
import sys, time
from quantize.child import end_with_parent
end_with_parent(sys.argv[1:])
print("ready", flush=True)
time.sleep(60)
"""


def test_when_we_are_gone_the_child_takes_its_leftovers_away(tmp_path: Path) -> None:
    file, folder = tmp_path / "half.gguf", tmp_path / "work"
    file.write_bytes(b"half")
    folder.mkdir()
    (folder / "chunks").write_bytes(b"")
    child = subprocess.Popen(
        [sys.executable, "-c", CODE, str(file), str(folder), str(tmp_path / "never made")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None and child.stdin is not None
    assert child.stdout.readline() == b"ready\n"
    child.stdin.close()
    assert child.wait(timeout=50) == 1
    child.stdout.close()
    assert list(tmp_path.iterdir()) == []


def test_what_the_waiting_raises_ends_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    started: list[subprocess.Popen[str]] = []
    real = subprocess.Popen

    def start(*arguments: object, **options: object) -> subprocess.Popen[str]:
        started.append(real(*arguments, **options))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr("quantize.child.subprocess.Popen", start)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_child("slow", {}, interrupt)
    assert started[0].returncode is not None and started[0].returncode < 0


def test_how_it_ended_and_what_it_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "quick.py").write_text("import json, sys\nprint(json.loads(sys.argv[1])['say'])\nsys.exit(3)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    ended = run_child("quick", {"say": "hello"})
    assert (ended.code, ended.said) == (3, "hello")

"""A missing package of the extra `train` fails its tests where they are asked for, and disturbs nothing elsewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny.conftest import FILES

ROOT = Path(__file__).parents[2]
COLLECT = """
import sys
import pytest
sys.modules[sys.argv[1]] = None  # as if it were not installed
sys.exit(pytest.main([*sys.argv[2:], "--collect-only", "-q", "-p", "no:cacheprovider"]))
"""


def collected(package: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", COLLECT, package, *words], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_every_test_of_the_trainer_is_in_a_file_that_is_known() -> None:
    files = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "tiny").rglob("test_*.py")}
    marked = {name for name, text in files.items() if "pytest.mark.train" in text}
    assert marked == {*FILES, Path(__file__).name}


def test_without_a_package_the_usual_run_leaves_the_trainers_tests_out() -> None:
    done = collected("torch", "tests/tiny")
    assert done.returncode == pytest.ExitCode.OK, done.stdout
    assert "test_closing_message.py" in done.stdout
    assert not any(name in done.stdout for name in FILES)


def test_without_a_package_a_run_of_the_trainers_tests_fails() -> None:
    done = collected("torch", "tests/tiny", "-m", "train")
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stdout
    assert all(f"ERROR tests/tiny/{name}" in done.stdout for name in FILES)
    assert "torch" in done.stdout

"""scripts/environment.py under an interpreter that is too old, or says so."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "environment.py"
OLD = """
import runpy, sys
sys.version_info = (3, 9, 2, "final", 0)
sys.argv = [{script!r}, *{arguments!r}]
runpy.run_path({script!r}, run_name="__main__")
"""


def run_old(*arguments: str, path: Path) -> subprocess.CompletedProcess[str]:
    """The script under a Python that takes itself for 3.9.2; programs are looked for in the folder `path`."""
    return subprocess.run(
        [sys.executable, "-c", OLD.format(script=str(SCRIPT), arguments=arguments)],
        env={**os.environ, "PATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


def test_an_old_python_says_what_is_needed(tmp_path: Path) -> None:
    done = run_old("--extras", "dev", path=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "needs Python 3.11 or newer" in done.stderr and "is 3.9.2" in done.stderr
    assert "make run PYTHON=" in done.stderr and "Traceback" not in done.stderr


def test_an_old_python_that_was_named_looks_for_no_other(tmp_path: Path) -> None:
    program(tmp_path / "python3.12", "echo taken")
    assert run_old(path=tmp_path).returncode == 1


def test_where_none_was_named_a_newer_one_takes_over_with_the_same_words(tmp_path: Path) -> None:
    program(tmp_path / "python3.13", "exit 1")  # there, but it does not run
    program(tmp_path / "python3.12", 'for word in "$@"; do echo "$word"; done')
    done = run_old("--search", "--gpu", "", path=tmp_path)
    assert done.returncode == 0
    # The first "-c pass", the trial, is silent.
    assert done.stdout.splitlines() == [str(SCRIPT), "--search", "--gpu", ""]


def test_where_there_is_no_newer_one_it_says_so(tmp_path: Path) -> None:
    done = run_old("--search", path=tmp_path)
    assert done.returncode == 1
    assert "install a newer one" in done.stderr


def test_the_script_is_written_for_any_python() -> None:
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 4))
    young = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.Starred, ast.AsyncFunctionDef, ast.Match)
    assert [type(node).__name__ for node in ast.walk(tree) if isinstance(node, young)] == []


def test_a_new_python_gets_to_the_installer(tmp_path: Path) -> None:
    """An unknown extra is refused before anything is made, so this shows that installer.py was reached."""
    venv = tmp_path / "venv"
    call = [sys.executable, str(SCRIPT), "--venv", str(venv), "--extras", "none-such"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("kangae: ") and "none-such" in done.stderr
    assert not venv.exists()

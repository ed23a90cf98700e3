"""Folders appear whole or not at all, and nothing is left beside them, whatever ends the writer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.whole_folder import temporary_folder, unfinished_folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_made_with_those_around_it(tmp_path: Path) -> None:
    target = tmp_path / "around" / "考え"
    with unfinished_folder(target) as part:
        (part / "inner").mkdir()
        (part / "inner" / "a").write_text("a")
        assert not target.exists()
    assert (target / "inner" / "a").read_text() == "a" and names(target.parent) == [target.name]


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_fails_leaves_nothing(failure: BaseException, tmp_path: Path) -> None:
    with pytest.raises(type(failure)), unfinished_folder(tmp_path / "a") as part:
        (part / "half").write_text("half")
        raise failure
    assert names(tmp_path) == []


def test_a_folder_that_holds_something_is_replaced_only_where_that_is_meant(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.mkdir()
    (target / "old").write_text("old")
    with pytest.raises(OSError, match="not empty"), unfinished_folder(target) as part:
        (part / "new").write_text("new")
    assert names(tmp_path) == ["a"] and names(target) == ["old"]
    with unfinished_folder(target, replace=True) as part:
        (part / "new").write_text("new")
    assert names(tmp_path) == ["a"] and names(target) == ["new"]


KILLED = """
import os, signal, sys
from pathlib import Path
from models.whole_folder import temporary_folder, unfinished_folder
with unfinished_folder(Path(sys.argv[1])) as part:
    (part / "half").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_taken_away(tmp_path: Path) -> None:
    target = tmp_path / "a"
    assert subprocess.run([sys.executable, "-c", KILLED, str(target)], check=False).returncode == -9
    (left,) = names(tmp_path)
    assert left.startswith(".a.") and left.endswith(".part")
    with unfinished_folder(tmp_path / "other"):
        pass
    assert left in names(tmp_path)
    with unfinished_folder(target) as part:
        (part / "whole").write_text("whole")
    assert names(tmp_path) == ["a", "other"] and names(target) == ["whole"]


def test_what_is_being_written_and_what_is_not_ours_is_let_be(tmp_path: Path) -> None:
    strange = tmp_path / ".a.mine.part"
    strange.mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = tmp_path / f".a.{'1' * 16}.part"
    link.symlink_to(elsewhere)
    with unfinished_folder(tmp_path / "a", replace=True) as slow:
        with unfinished_folder(tmp_path / "a", replace=True) as fast:
            (fast / "fast").write_text("fast")
        (slow / "slow").write_text("slow")
    assert names(tmp_path / "a") == ["slow"]
    assert strange.is_dir() and elsewhere.is_dir() and link.is_symlink()
    assert os.listdir(elsewhere) == []


def test_a_temporary_folder_goes_with_its_block_and_with_the_next_after_a_kill(tmp_path: Path) -> None:
    beside = tmp_path / "new" / "a"
    code = (
        "import os, pathlib, signal, sys\nfrom models.whole_folder import temporary_folder\n"
        "with temporary_folder(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'half').write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(beside)], check=False)
    (left,) = names(beside.parent)
    with temporary_folder(beside) as first, temporary_folder(beside) as second:
        assert left not in names(beside.parent) and first != second
        (first / "a").write_text("a")
        assert names(second) == []
    with pytest.raises(KeyboardInterrupt), temporary_folder(beside):
        raise KeyboardInterrupt
    assert names(beside.parent) == []

"""Files are written whole or not at all, and nothing is left beside them, whatever ends the writer."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from models.whole_file import require_writable, unfinished, write_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_made_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "考え.json"
    write_whole(path, "考え\n")
    assert path.read_bytes() == "考え\n".encode()
    write_whole(path, b"\xff", sync=False)
    assert path.read_bytes() == b"\xff"
    assert names(tmp_path) == [path.name]


def test_rights_are_those_wanted_less_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "usual", b"")
        write_whole(tmp_path / "own", b"", mode=0o600)
    finally:
        os.umask(before)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("usual", "own")] == [0o640, 0o600]


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_fails_leaves_every_file_as_it_was(failure: BaseException, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(type(failure)), unfinished(tmp_path / "a", tmp_path / "b") as (first, second):
        first.write_text("new")
        assert second.read_bytes() == b"" and (tmp_path / "a").read_text() == "old"
        raise failure
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "old"


def test_none_takes_its_place_before_all_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def full(descriptor: int) -> None:
        asked.append([name for name in names(tmp_path) if not name.startswith(".")])
        if len(asked) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"), unfinished(tmp_path / "a", tmp_path / "b"):
        pass
    assert asked == [[], []] and names(tmp_path) == []
    write_whole(tmp_path / "a", b"x", sync=False)
    assert len(asked) == 2 and names(tmp_path) == ["a"]


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "none" / "a", b"")
    assert names(tmp_path) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from models.whole_file import unfinished
with unfinished(Path(sys.argv[1])) as (part,):
    part.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False).returncode == -9
    (left,) = names(tmp_path)
    assert left.startswith(".a.") and left.endswith(".part")
    write_whole(tmp_path / "other", b"")
    assert left in names(tmp_path)
    write_whole(path, b"whole")
    assert names(tmp_path) == ["a", "other"] and path.read_bytes() == b"whole"


def test_what_is_being_written_and_what_is_not_ours_is_let_be(tmp_path: Path) -> None:
    path, fifo = tmp_path / "a", tmp_path / f".a.{'0' * 16}.part"
    strange = [tmp_path / name for name in (".a.part", ".a.mine.part", ".a.12345.part", ".b.0123456789abcdef.part")]
    for one in strange:
        one.write_text("not ours")
    (tmp_path / "target").write_text("not ours")
    (tmp_path / f".a.{'1' * 16}.part").symlink_to(tmp_path / "target")
    os.mkfifo(fifo)
    with unfinished(path) as (slow,):
        slow.write_text("slow")
        write_whole(path, "fast")
        assert slow.read_text() == "slow" and path.read_text() == "fast"
    assert path.read_text() == "slow"
    assert all(one.exists() for one in strange) and (tmp_path / "target").read_text() == "not ours"


def test_writers_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    contents = [bytes([number]) * 50_000 for number in range(8)]
    together = threading.Barrier(len(contents))
    failures: list[BaseException] = []

    def write(content: bytes) -> None:
        try:
            together.wait(20)
            for _ in range(20):
                write_whole(path, content, sync=False)
                assert path.read_bytes() in contents
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and names(tmp_path) == ["a"]


def test_a_folder_is_tried_before(tmp_path: Path) -> None:
    require_writable(tmp_path / "new" / "deep")
    assert names(tmp_path / "new" / "deep") == []
    (tmp_path / "file").write_text("")
    for taken in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match="file"):
            require_writable(taken)

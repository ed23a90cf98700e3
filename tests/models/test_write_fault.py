"""What cannot be written is told with its true cause and a remedy that fits it."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from models.write_fault import write_error


def told(path: Path, number: int) -> str:
    return write_error(path, OSError(number, os.strerror(number)), "name another place").detail


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_speaks_of_space(number: int, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert told(out, number) == (
        f"{out} cannot be written (the disk is full); free space there, or name another place."
    )


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_want_of_rights_speaks_of_permissions(number: int, tmp_path: Path) -> None:
    said = told(tmp_path / "out", number)
    assert "(permission denied); check the permissions, or name" in said


@pytest.mark.parametrize(("number", "below"), [(errno.EEXIST, "."), (errno.ENOTDIR, "a/b")])
def test_a_file_in_the_place_of_a_folder_is_named(number: int, below: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    said = told(file / below, number)
    assert f"({file} is a file, not a folder); name another place." in said
    assert "exists" not in said.lower() and "space" not in said


def test_other_causes_are_told_as_they_are(tmp_path: Path) -> None:
    assert "(the disk is read-only); name another place" in told(tmp_path, errno.EROFS)
    assert "(it is a folder, not a file); name another place" in told(tmp_path, errno.EISDIR)
    assert f"(there is no folder {tmp_path / 'a'}); make it, or" in told(tmp_path / "a" / "b", errno.ENOENT)
    assert os.strerror(errno.EIO) in told(tmp_path, errno.EIO)
    assert "(embedded null byte)" in write_error("a\0b", ValueError("embedded null byte"), "name another").detail


def test_what_sqlite_says_is_understood(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "sessions.sqlite3")
    connection.execute("CREATE TABLE t (x)")
    connection.execute("PRAGMA query_only = ON")
    with pytest.raises(sqlite3.OperationalError) as caught:
        connection.execute("INSERT INTO t VALUES (1)")
    connection.close()
    said = write_error(tmp_path, caught.value, "set KANGAE_STATE_DIR", what="The sessions").detail
    assert said == "The sessions cannot be written (permission denied); check the permissions, or set KANGAE_STATE_DIR."

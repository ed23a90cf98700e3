"""A command that must be refused: its exit code, what it told, and that it left everything as it was."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from kangae import main

EXPECTED = (2, 3, 4, 6, 9)
"""Exit codes of docs/cli.md that what a person gives can have; 70, a fault of ours, is none of them."""
_FOREIGN = re.compile(r"Traceback|\b[A-Z][a-zA-Z]*(Error|Exception|Warning)\b|<class|0x[0-9a-f]{6,}|\bNoneType\b")
_MOST_LINES, _MOST_LETTERS = 2, 1500


@dataclass(frozen=True)
class Refused:
    """Exit code, and what stood on stderr."""

    code: int
    told: str


class Bench:
    """`kangae quantize` in a folder of its own: all that lies below `folder` is watched, and the system's folder for
    temporary files is in there."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._capsys = folder, capsys
        temporary = folder / "temporary"
        temporary.mkdir(exist_ok=True)
        monkeypatch.setenv("TMPDIR", str(temporary))
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
        # Nothing is fetched in a test: what other architectures need is not there.
        monkeypatch.setattr("quantize.upstream_converter.NEEDED", ("a_package_that_is_not_there",))

    def run(self, words: Sequence[str]) -> Refused:
        """Run it, whatever comes of it."""
        self._capsys.readouterr()
        code = main(["quantize", *words])
        return Refused(code, self._capsys.readouterr().err)

    def refused(self, *words: str, codes: Sequence[int] = EXPECTED, named: str = "") -> Refused:
        """Run it; it must be refused in a sentence or two, and leave nothing. `named`: a name that may break lines."""
        before = self.tree()
        found = self.run(words)
        assert found.code in codes, found
        require_plain(found.told.replace(named, "NAME") if named else found.told)
        assert self.tree() == before, found
        assert self.cache_leftovers() == []
        return found

    def tree(self) -> dict[str, tuple[int, int]]:
        """Every path below the folder but the cache's, with its size and time."""
        found = {}
        for place, folders, files in os.walk(self.folder):
            if Path(place) == self.folder:
                folders[:] = [name for name in folders if name != "cache"]
            for name in (*folders, *files):
                path = Path(place) / name
                about = path.lstat()
                found[str(path.relative_to(self.folder))] = (
                    (0, 0) if path.is_dir() else (about.st_size, about.st_mtime_ns)
                )
        return found

    def cache_leftovers(self) -> list[str]:
        """Hidden and unfinished things in the cache, which is there for whole ones."""
        cache = self.folder / "cache"
        return sorted(path.name for path in cache.rglob("*") if path.name.startswith(".") or path.suffix == ".part")


def require_plain(told: str) -> None:
    """A sentence or two for a person, and nothing of Python's."""
    assert not _FOREIGN.search(told), told
    lines = told.strip().splitlines()
    assert 1 <= len(lines) <= _MOST_LINES, told
    assert re.match(r"[A-Z].*?: .+", lines[-1]), told
    assert lines[-1].endswith((".", "?", "!", ".)", ".…")), told
    assert len(told) < _MOST_LETTERS, told
    assert all(sign.isprintable() or sign == "\n" for sign in told), told

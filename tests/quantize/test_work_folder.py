"""The hidden folder of what takes long."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import InterruptedByUser, UsageError, WriteError
from quantize.work_folder import work_folder


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_is_gone_when_all_went_well(tmp_path: Path) -> None:
    with work_folder(tmp_path / "out" / "m.gguf", "key") as folder:
        (folder / "layer").write_text("done")
        assert folder.parent == tmp_path / "out"
    assert _left(tmp_path / "out") == []


@pytest.mark.parametrize("error", [UsageError("no"), OSError(28, "full"), MemoryError()])
def test_an_error_leaves_nothing(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)), work_folder(tmp_path / "m.gguf", "key") as folder:
        (folder / "layer").write_text("done")
        raise error
    assert _left(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), InterruptedByUser("Ctrl-C")])
def test_an_interruption_keeps_it_for_the_same_work_alone(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "m[1].gguf"
    with pytest.raises(InterruptedByUser, match="goes on"), work_folder(target, "key") as folder:
        (folder / "layer").write_text("done")
        raise error
    with work_folder(target, "key") as again:
        assert (again / "layer").read_text() == "done"
        (tmp_path / ".m1.gguf.0.work").mkdir()
    assert _left(tmp_path) == [".m1.gguf.0.work"]


def test_an_interruption_before_there_is_anything_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InterruptedByUser, match="before anything"), work_folder(tmp_path / "m.gguf", "key"):
        raise KeyboardInterrupt
    assert _left(tmp_path) == []


def test_work_of_other_settings_is_cleared(tmp_path: Path) -> None:
    target = tmp_path / "m.gguf"
    with pytest.raises(InterruptedByUser), work_folder(target, "old") as folder:
        (folder / "layer").write_text("done")
        raise KeyboardInterrupt
    with work_folder(target, "new") as folder:
        assert _left(tmp_path) == [folder.name]
        assert not (folder / "layer").exists()


def test_two_do_not_work_on_one_thing(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\nfrom quantize.work_folder import work_folder\n"
        "with work_folder(pathlib.Path(sys.argv[1]), 'key') as folder:\n"
        "    (folder / 'layer').write_text('half'); print('in', flush=True); sys.stdin.read()\n"
    )
    target = tmp_path / "m.gguf"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == "in\n"
        with pytest.raises(UsageError, match="Another process"), work_folder(target, "key"):
            pass
        with pytest.raises(UsageError, match="other"), work_folder(target, "other"):
            raise UsageError("other settings may be worked on beside it")
        child.send_signal(signal.SIGKILL)
        child.wait()
    with work_folder(target, "key") as folder:
        assert (folder / "layer").read_text() == "half"


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError), work_folder(tmp_path / "file" / "m.gguf", "key"):
        pass

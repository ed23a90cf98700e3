"""`kangae chat` tells what cannot be before it takes the screen."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import kangae
import tui.app


@pytest.mark.parametrize("name", ["nosuch", "./nosuch.gguf"])
def test_a_model_that_cannot_be_found_is_told_before_the_interface_opens(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def shown(*_: object, **__: object) -> None:
        raise AssertionError("the interface was opened")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(tui.app, "KangaeApp", shown)
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    assert kangae.main(["ask", "x", "-m", name, "--no-store"]) == 3
    told = capsys.readouterr().err
    assert Path(name).name in told
    assert kangae.main(["chat", "-m", name]) == 3
    assert capsys.readouterr().err == told

"""What every test relies on: folders of its own, so that no test reads or writes a person's files."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("kangae", deadline=None)  # machines are slow at times: no test asserts a time
settings.load_profile("kangae")

FOLDERS = ("CONFIG", "STATE", "CACHE", "MODELS")


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> None:
    """Ctrl-C reaches the tests also where a shell started them in the background, with the signal ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings, state, cache and models of this test alone, below its `tmp_path`; the folder above all four."""
    for name in FOLDERS:
        monkeypatch.setenv(f"KANGAE_{name}_DIR", str(tmp_path / name.lower()))
    for name in [name for name in os.environ if name.startswith("KANGAE_") and not name.endswith("_DIR")]:
        monkeypatch.delenv(name)
    return tmp_path

"""What every test relies on: folders of its own, so that no test reads or writes a person's files."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDERS = ("CONFIG", "STATE", "CACHE", "MODELS")


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings, state, cache and models of this test alone; the folder above all four."""
    home = tmp_path_factory.mktemp("kangae-home")
    for name in FOLDERS:
        monkeypatch.setenv(f"KANGAE_{name}_DIR", str(home / name.lower()))
    for name in ("KANGAE_MODEL", "KANGAE_BUDGET", "KANGAE_EFFORT", "KANGAE_SEED"):
        monkeypatch.delenv(name, raising=False)
    return home

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from models import locations

FOLDERS: list[tuple[str, Callable[[], Path]]] = [
    ("KANGAE_CONFIG_DIR", locations.config_folder),
    ("KANGAE_STATE_DIR", locations.state_folder),
    ("KANGAE_CACHE_DIR", locations.cache_folder),
    ("KANGAE_MODELS_DIR", locations.models_folder),
]


@pytest.mark.parametrize(("variable", "folder"), FOLDERS)
def test_the_environment_overrides(
    variable: str, folder: Callable[[], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "here"))
    assert folder() == tmp_path / "here"
    assert not folder().exists()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, "relative")
    assert folder() == tmp_path / "relative"
    monkeypatch.setenv(variable, "~/kangae")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folder() == tmp_path / "kangae"
    for unset in ("", "  "):
        monkeypatch.setenv(variable, unset)
        assert folder().is_absolute()
        assert "kangae" in str(folder())


def test_the_four_folders_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, _ in FOLDERS:
        monkeypatch.delenv(variable, raising=False)
    assert len({folder() for _, folder in FOLDERS}) == 4


def test_the_shipped_model_stands_beside_its_card() -> None:
    assert locations.shipped_model().parts[-3:] == ("models", "tiny", "kangae-tiny-Q8_0.gguf")

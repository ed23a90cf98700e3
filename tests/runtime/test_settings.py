"""Flag over environment over file; what is wrong is told with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import UsageError
from runtime.settings import Settings, load_settings, parse_budget, parse_number, parse_seed


def write(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_hold_without_a_file(tmp_path: Path) -> None:
    assert load_settings({}, tmp_path / "config.toml") == Settings()


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, 'budget = 32\nmodel = "one"\nstore = false\ntop_p = 1\n')
    found = load_settings({"KANGAE_BUDGET": "off", "KANGAE_TEMPERATURE": "0.5", "KANGAE_STATE_DIR": "/x"}, path)
    assert (found.budget, found.model, found.store, found.top_p, found.temperature) == (0, "one", False, 1.0, 0.5)
    assert found.origins["budget"] == "KANGAE_BUDGET"
    assert found.origins["model"] == str(path)
    assert "system" not in found.origins


def test_an_empty_variable_says_nothing(tmp_path: Path) -> None:
    assert load_settings({"KANGAE_BUDGET": " "}, tmp_path / "none").budget is None


def test_a_folder_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UsageError, match="Permission denied"):
        load_settings({}, tmp_path / "config.toml")


def test_a_folder_in_the_place_of_the_file_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="are a folder, not a file") as caught:
        load_settings({}, tmp_path)
    assert "permission" not in caught.value.detail


def test_a_file_in_the_place_of_the_folder_is_no_settings(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert load_settings({}, tmp_path / "file" / "config.toml") == Settings()


def test_tables_belong_to_others(tmp_path: Path) -> None:
    assert load_settings({}, write(tmp_path, '[tui]\ntheme = "dark"\n')) == Settings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bugdet = 3", "bugdet"),
        ("budget = -1", "no budget"),
        ("budget = 1.5", "no budget"),
        ("budget = true", "no budget"),
        ("store = 3", "neither true nor false"),
        ("model = 3", "no text"),
        ("temperature = nan", "finite"),
        ("budget = [", "no TOML"),
        ("parallel = 0", "too small"),
    ],
)
def test_a_wrong_file_is_told_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        load_settings({}, path)
    assert said in caught.value.detail
    assert str(path) in caught.value.detail


def test_a_wrong_variable_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="KANGAE_SEED"):
        load_settings({"KANGAE_SEED": "x"}, tmp_path / "none")


def test_values() -> None:
    assert [parse_budget(one) for one in ("off", "unlimited", "0", 64)] == [0, None, 0, 64]
    assert parse_number("0.5") == 0.5
    for wrong in ("inf", "nan", "1e999", "x", None):
        with pytest.raises(ValueError):
            parse_number(wrong)
    with pytest.raises(ValueError):
        parse_seed(2**32 - 1)

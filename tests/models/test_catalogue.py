from __future__ import annotations

from pathlib import Path

import pytest

from models import catalogue
from models.catalogue import estimate_fit, find, list_models, name_of
from models.errors import ModelError
from tests.fakes.gguf_files import write_gguf


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A models folder of its own, and a shipped model."""
    models = tmp_path / "models"
    models.mkdir()
    monkeypatch.setenv("KANGAE_MODELS_DIR", str(models))
    monkeypatch.chdir(tmp_path)
    shipped = write_gguf(tmp_path / "kangae-tiny-Q8_0.gguf", name="kangae-tiny", file_type=7)
    monkeypatch.setattr(catalogue, "shipped_model", lambda: shipped)
    return models


def test_the_shipped_model_by_name() -> None:
    entry = find("kangae-tiny")
    assert (entry.name, entry.quant, entry.shipped, entry.context_length) == ("kangae-tiny", "Q8_0", True, 512)
    assert entry.bytes == entry.path.stat().st_size
    assert find("kangae-tiny:Q8_0").path == entry.path
    with pytest.raises(ModelError, match="not installed"):
        find("kangae-tiny:Q4_K_M")


def test_names_quants_and_paths(folder: Path) -> None:
    (folder / "Qwen" / "Qwen3-0.6B").mkdir(parents=True)
    eight = write_gguf(folder / "Qwen" / "Qwen3-0.6B" / "Qwen3-0.6B-Q8_0.gguf")
    other = write_gguf(folder / "Other-Q8_0.gguf")
    for name in ("Qwen3-0.6B", "qwen3-0.6b", "Qwen3-0.6B:q8_0", "Qwen3-0.6B-Q8_0", "Qwen/Qwen3-0.6B", str(eight)):
        assert find(name).path == eight, name
    assert find("other").path == other
    assert find(str(eight.parent)).path == eight
    four = write_gguf(eight.with_name("Qwen3-0.6B-Q4_0.gguf"))
    with pytest.raises(ModelError, match="2 files"):
        find("Qwen3-0.6B")
    assert find("Qwen3-0.6B:Q4_0").path == four
    assert find("Qwen/Qwen3-0.6B:Q4_0").path == four
    with pytest.raises(ModelError, match="has no quant Q2_K"):
        find("Qwen3-0.6B:Q2_K")


def test_unknown_names_give_the_nearest_ones(folder: Path) -> None:
    write_gguf(folder / "Qwen3-0.6B-Q8_0.gguf")
    with pytest.raises(ModelError, match=r"Qwen3-0\.6B") as caught:
        find("Qwen3-0.6")
    assert caught.value.exit_code == 3
    with pytest.raises(ModelError, match="kangae-tiny"):
        find("kangea-tiny")
    with pytest.raises(ModelError, match="models list"):
        find("zzzzzzzz")
    for name in ("", " ", "a\0b", "x" * 5000):
        with pytest.raises(ModelError):
            find(name)


def test_a_hub_id_that_is_not_here_says_where_to_put_it(folder: Path) -> None:
    with pytest.raises(ModelError) as caught:
        find("Qwen/Qwen3-0.6B:Q8_0")
    assert "download" in caught.value.detail
    assert str(folder / "Qwen" / "Qwen3-0.6B") in caught.value.detail


def test_no_name_leads_out_of_the_models_folder(folder: Path) -> None:
    (folder.parent / "outside").mkdir()
    write_gguf(folder.parent / "outside" / "secret-Q8_0.gguf")
    (folder / "inside").mkdir()
    with pytest.raises(ModelError):
        find("inside/../../outside/nothing")


def test_listing_tells_broken_from_usable(folder: Path) -> None:
    write_gguf(folder / "Good-Q8_0.gguf")
    write_gguf(folder / "mmproj-Good.gguf")
    (folder / "Bad-Q8_0.gguf").write_bytes(b"<html>")
    entries, broken = list_models()
    assert [entry.name for entry in entries] == ["kangae-tiny", "Good"]
    assert [one.name for one in broken] == ["Bad"]
    assert "web page" in broken[0].fault


def test_split_files_count_as_one(folder: Path) -> None:
    first = write_gguf(folder / "Big-Q8_0-00001-of-00002.gguf")
    second = write_gguf(folder / "Big-Q8_0-00002-of-00002.gguf")
    entries, _ = list_models()
    assert [entry.name for entry in entries] == ["kangae-tiny", "Big"]
    assert entries[1].bytes == first.stat().st_size + second.stat().st_size
    assert find("Big:Q8_0").path == first


def test_folders_of_other_forms(tmp_path: Path) -> None:
    plain = tmp_path / "hf"
    plain.mkdir()
    with pytest.raises(ModelError, match="holds no model"):
        find(str(plain))
    (plain / "config.json").write_text('{"quantization_config": {"quant_method": "gptq"}}')
    (plain / "model.safetensors").write_bytes(b"")
    assert find(str(plain)).form == "gptq"
    (plain / "config.json").write_text("{}")
    assert find(str(plain)).form == "hf"
    (plain / "genai_config.json").write_text("{}")
    assert find(str(plain)).form == "onnx"


@pytest.mark.parametrize(
    ("stem", "name"),
    [("Qwen3-0.6B-Q4_K_M", "Qwen3-0.6B"), ("a.IQ2_XXS", "a"), ("plain", "plain"), ("Q8_0", "Q8_0"), ("b-f16", "b")],
)
def test_names_of_files(stem: str, name: str) -> None:
    assert name_of(Path(f"{stem}.gguf")) == name


def test_fit_by_size() -> None:
    gibibyte = 1 << 30
    assert estimate_fit(5 * gibibyte, 16 * gibibyte) == "yes"
    assert estimate_fit(13 * gibibyte, 16 * gibibyte) == "tight"
    assert estimate_fit(17 * gibibyte, 16 * gibibyte) == "no"
    assert estimate_fit(1, 0) == "unknown"


def test_a_device_is_told_as_what_it_is() -> None:
    with pytest.raises(ModelError, match="no regular file"):
        find("/dev/null")

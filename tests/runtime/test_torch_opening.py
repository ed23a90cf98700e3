"""How a folder of safetensors comes to be run: by which backend, and what is said where its packages are missing."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from models.catalogue import ModelEntry
from models.errors import MissingPackageError, UsageError
from models.gptq.layer import GptqSettings
from models.locations import shipped_model
from runtime import torch_opening
from runtime.events import Done
from runtime.folder_hash import folder_hash
from runtime.opening import find_hashed, open_model
from runtime.request import Budget, Message, Request
from runtime.torch_opening import choose_backend, why_repacked
from tests.fakes.gptq_folders import make_gptq_folder

TINY = shipped_model().parent / "huggingface"


def entry(form: str) -> ModelEntry:
    return ModelEntry("m", Path("m"), form, "", 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("packages", "gpu", "layers", "wanted"),
    [
        (True, True, None, "gptq"),
        (True, True, 20, "gptq"),
        (True, True, 0, "llama"),
        (True, False, None, "llama"),
        (False, True, None, "llama"),
    ],
)
def test_gptq_runs_as_it_is_on_a_gpu_with_its_packages(
    packages: bool, gpu: bool, layers: int | None, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_opening, "_has_gptq_packages", lambda: packages)
    monkeypatch.setattr(torch_opening, "_has_gpu", lambda: gpu)
    assert choose_backend(entry("gptq"), gpu_layers=layers) == wanted
    assert choose_backend(entry("gptq"), "gptq", 0) == "gptq"
    assert choose_backend(entry("gptq"), "llama") == "llama"
    assert [choose_backend(entry(form)) for form in ("gguf", "onnx", "hf")] == ["llama", "onnx", "hf"]


def test_why_it_was_packed_anew_is_what_is_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_opening, "_has_gptq_packages", lambda: False)
    assert why_repacked(None) == "the extra `gptq` is not installed"
    assert why_repacked("llama") == "llama is to run it"
    monkeypatch.setattr(torch_opening, "_has_gptq_packages", lambda: True)
    assert why_repacked(None) == "no CUDA GPU is used"


@pytest.mark.parametrize(("form", "wish"), [("gguf", "gptq"), ("hf", "llama"), ("onnx", "hf"), ("gptq", "vllm")])
def test_a_backend_that_cannot_is_refused(form: str, wish: str) -> None:
    with pytest.raises(UsageError, match=f"cannot be run by the backend {wish}"):
        choose_backend(entry(form), wish)


@pytest.mark.parametrize(("form", "extra", "hidden"), [("hf", "train", "torch"), ("gptq", "gptq", "torch")])
def test_missing_packages_name_the_extra(
    form: str, extra: str, hidden: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tokenizers")
    folder = TINY
    if form == "gptq":
        folder = tmp_path / "m"
        make_gptq_folder(TINY, folder, GptqSettings(bits=4, group_size=32))
    monkeypatch.setitem(sys.modules, hidden, None)
    with pytest.raises(MissingPackageError, match=f"extra `{extra}`") as raised:
        open_model(str(folder), backend_name=form)
    assert raised.value.exit_code == 6
    assert "Traceback" not in raised.value.detail


def test_a_folders_hash_follows_its_content(tmp_path: Path) -> None:
    folder, cache = tmp_path / "m", tmp_path / "cache"
    shutil.copytree(TINY, folder)
    first = folder_hash(folder, cache)
    assert folder_hash(folder, cache) == folder_hash(TINY, cache) == first
    assert find_hashed(str(folder))[1] == first
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    assert folder_hash(folder, cache) != first
    assert folder_hash(folder, tmp_path / "no" / "such") == folder_hash(folder, cache)


@pytest.mark.train
def test_a_folder_of_whole_weights_answers() -> None:
    responder = open_model(str(TINY), context=512, threads=1, spare=1, gpu_layers=0)
    try:
        request = Request((Message("user", "Basic one - what does 4 plus 7 make?"),), Budget(tokens=200))
        *_, last = responder.respond(request)
        assert isinstance(last, Done)
        assert last.reply.answer == "11"
        assert (last.reply.model.backend, last.reply.model.quant) == ("hf", "F16")
    finally:
        responder.close()

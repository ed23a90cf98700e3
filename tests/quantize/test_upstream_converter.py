"""llama.cpp's own converter for architectures that are not converted here: fetched, checked, run in its own process.

KANGAE_LLAMA_SOURCE (see tests/models/huggingface/test_converter_parity.py) runs the real one too.
"""

from __future__ import annotations

import importlib.util
import io
import os
import tarfile
from pathlib import Path

import pytest

from models.errors import MissingPackageError, ModelError
from models.gguf_file import GgufFile
from models.huggingface.convert import convert
from models.locations import shipped_model
from models.whole_file import unfinished
from quantize import upstream_converter
from quantize.upstream_converter import convert_any, convert_upstream, fetch_converter, installed_version
from tests.fakes.huggingface_folders import (
    CONFIGS,
    fallback_tokenizer,
    pieces,
    random_weights,
    sentencepiece_model,
    weight_shapes,
    write_folder,
)

SOURCE = os.environ.get("KANGAE_LLAMA_SOURCE", "")
_COPIES = """
import os, pathlib, shutil, sys, gguf
assert gguf.OWN == "beside", gguf.__file__
assert not [key for key in os.environ if key.startswith("PYTHON") and key != "PYTHONPATH"]
target = sys.argv[sys.argv.index("--outfile") + 1]
assert sys.argv[sys.argv.index("--outtype") + 1] in ("auto", "f16")
shutil.copyfile({shipped!r}, target)
"""
_FAILS = """
import sys
print("INFO: begins", file=sys.stderr)
sys.exit("ERROR: Model MambaForCausalLM is not supported")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of an architecture that is not converted here."""
    path = write_folder(tmp_path / "folder")
    config = (path / "config.json").read_text()
    (path / "config.json").write_text(config.replace("Qwen2ForCausalLM", "MambaForCausalLM"))
    return path


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """What that converter imports is taken as installed."""
    monkeypatch.setattr(upstream_converter, "NEEDED", ("json",))


def archive(work: Path, script: str, *, told: str | None = None, inside: str | None = None) -> Path:
    """A source distribution of the installed version with this converter in it."""
    version = installed_version()
    root = f"llama_cpp_python-{inside or version}"
    path = work / f"llama_cpp_python-{version}.tar.gz"
    files = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: llama_cpp_python\nVersion: {told or version}\n",
        "vendor/llama.cpp/convert_hf_to_gguf.py": script,
        "vendor/llama.cpp/conversion/__init__.py": "",
        "vendor/llama.cpp/gguf-py/gguf/__init__.py": "OWN = 'beside'\n",
        "vendor/llama.cpp/src/large.cpp": "int main;",
        "../outside.txt": "never",
    }
    with tarfile.open(path, "w:gz") as packed:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{root}/{name}")
            member.size = len(content.encode())
            packed.addfile(member, io.BytesIO(content.encode()))
    return path


def serve(monkeypatch: pytest.MonkeyPatch, script: str, *, told: str | None = None, inside: str | None = None) -> None:
    """Let pip find `archive`."""
    monkeypatch.setattr(
        upstream_converter, "_download", lambda version, work: archive(work, script, told=told, inside=inside)
    )


@pytest.mark.usefixtures("packages")
def test_an_unknown_architecture_goes_to_the_other_converter(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, _COPIES.format(shipped=str(shipped_model())))
    said: list[str] = []
    target = tmp_path / "model.gguf"
    with unfinished(target) as (part,):
        made = convert_any(folder, part, outtype="f16", say=said.append)
    assert made.converter == f"llama.cpp's, of llama-cpp-python {installed_version()}"
    assert (made.architecture, made.tensors, made.type) == ("qwen2", 50, "Q8_0")
    assert "MambaForCausalLM" in said[0] and "llama.cpp's own converter is asked" in said[0]
    assert target.read_bytes() == shipped_model().read_bytes()


def test_a_known_architecture_stays_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_converter, "convert_upstream", None)
    folder = write_folder(tmp_path / "folder")
    with unfinished(tmp_path / "model.gguf") as (part,):
        assert convert_any(folder, part).converter == "kangae"


@pytest.mark.usefixtures("packages")
def test_its_own_reason_is_told(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, _FAILS)
    with pytest.raises(ModelError, match=r"own converter: ERROR: Model MambaForCausalLM is not supported\.$"):
        convert_upstream(folder, tmp_path / "model.gguf")


def test_missing_packages_name_the_extra(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_converter, "NEEDED", ("json", "no_such_package"))
    with pytest.raises(MissingPackageError, match=r"needs the packages no_such_package; .*kangae\[gptq\]") as missing:
        convert_upstream(folder, tmp_path / "model.gguf")
    assert missing.value.exit_code == 6


@pytest.mark.usefixtures("packages")
def test_programs_in_the_folder_are_not_run(folder: Path, tmp_path: Path) -> None:
    (folder / "modeling_mamba.py").write_text("raise SystemExit")
    with pytest.raises(ModelError, match=r"programs of its own \(modeling_mamba.py\)"):
        convert_upstream(folder, tmp_path / "model.gguf")


def test_it_is_fetched_once_and_only_the_converter_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, _FAILS)
    place = fetch_converter()
    assert place == tmp_path / "cache" / "llama.cpp" / installed_version()
    assert sorted(path.name for path in place.iterdir()) == ["conversion", "convert_hf_to_gguf.py", "gguf-py"]
    assert [path.name for path in place.parent.iterdir()] == [installed_version()]
    assert not list(tmp_path.rglob("outside.txt"))
    monkeypatch.setattr(upstream_converter, "_download", None)
    assert fetch_converter() == place


@pytest.mark.parametrize("wrong", [{"told": "0.0.1"}, {"inside": "0.0.1"}])
def test_another_version_is_not_taken(wrong: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, _FAILS, **wrong)
    with pytest.raises(MissingPackageError, match="damaged"):
        fetch_converter()
    assert not list((tmp_path / "cache" / "llama.cpp").iterdir())


def test_a_failing_download_says_why_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "nowhere").as_uri())
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(MissingPackageError, match=r"could not be fetched \(pip download llama-cpp-python==.*unpack"):
        fetch_converter()
    assert not list((tmp_path / "cache" / "llama.cpp").iterdir())


@pytest.mark.slow
@pytest.mark.skipif(not SOURCE, reason="KANGAE_LLAMA_SOURCE is not set")
def test_the_real_one_converts_a_mistral(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in upstream_converter.NEEDED:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    monkeypatch.setattr(upstream_converter, "fetch_converter", lambda: Path(SOURCE))
    values = {"rope_scaling": None, "vocab_size": 289, "bos_token_id": 1, "eos_token_id": 2}
    weights = random_weights(weight_shapes("LlamaForCausalLM", {**CONFIGS["LlamaForCausalLM"], **values}))
    settings = {"tokenizer_class": "LlamaTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    folder = write_folder(
        tmp_path / "folder", "LlamaForCausalLM", config=values, weights=weights, tokenizer=fallback_tokenizer(),
        settings=settings,
    )  # fmt: skip
    (folder / "tokenizer.model").write_bytes(sentencepiece_model(pieces()))
    with unfinished(tmp_path / "llama.gguf") as (part,):
        convert(folder, part, outtype="f16")
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace("LlamaForCausalLM", "MistralForCausalLM"))
    with unfinished(tmp_path / "mistral.gguf") as (part,):
        made = convert_any(folder, part, outtype="f16")
    assert made.architecture == "llama" and made.type == "F16" and made.converter.startswith("llama.cpp's")
    one, other = GgufFile.open(tmp_path / "llama.gguf"), GgufFile.open(tmp_path / "mistral.gguf")
    assert list(one.tensors) == list(other.tensors)
    assert all((one.raw(name) == other.raw(name)).all() for name in one.tensors)

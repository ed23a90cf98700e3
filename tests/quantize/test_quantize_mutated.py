"""Folders with something random in their JSON files or headers: refused in a sentence, or converted to a whole file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.gguf_file import GgufFile
from models.gptq.layer import GptqSettings
from tests.fakes.damage import header
from tests.fakes.gptq_folders import make_gptq_folder
from tests.fakes.huggingface_folders import fallback_tokenizer, write_folder
from tests.fakes.refused_commands import EXPECTED, Bench, require_plain

Data = st.DataObject
CONFIG, TOKENIZER, SETTINGS, WEIGHTS = "config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 70), 1 << 70),
    st.integers(-2, 400),
    st.floats(),
    st.sampled_from(
        ["", "x", "\ud800", "\0", "\x1b[2J", "考える", "A" * 5000, 10**400, "<unk>", "ByteLevel", "Sequence"]
    ),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def _places(value: Any, path: tuple[Any, ...] = (), most: int = 40) -> Iterator[tuple[Any, ...]]:
    """Paths to the values inside of JSON; of long tables the first ones."""
    if isinstance(value, (dict, list)):
        for key in list(value if isinstance(value, dict) else range(len(value)))[:most]:
            yield (*path, key)
            yield from _places(value[key], (*path, key), 4)


def _mutate(draw: Data, table: Any) -> None:
    """Another value, none, or one that stands elsewhere, at one to three places."""
    for _ in range(draw.draw(st.integers(1, 3), "count")):
        places = list(_places(table))
        if not places:
            return
        path = draw.draw(st.sampled_from(places), "place")
        inner = table
        for key in path[:-1]:
            inner = inner[key]
        if draw.draw(st.integers(0, 3), "gone") == 0:
            del inner[path[-1]]
        else:
            inner[path[-1]] = draw.draw(VALUES, "value")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound folders to change copies of."""
    folder = tmp_path_factory.mktemp("models")
    small = {"num_hidden_layers": 1}
    write_folder(folder / "plain", config=small)
    write_folder(folder / "llama", "LlamaForCausalLM", config=small, tokenizer=fallback_tokenizer())
    write_folder(folder / "phi3", "Phi3ForCausalLM", config=small)
    write_folder(folder / "exaone4", "Exaone4ForCausalLM", config={**small, "layer_types": ["sliding_attention"]})
    write_folder(folder / "sharded", config=small, shards=2)
    make_gptq_folder(folder / "plain", folder / "gptq", GptqSettings(group_size=32))
    return folder


@pytest.fixture
def bench(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The command in a folder of its own."""
    return Bench(tmp_path, capsys, monkeypatch)


CASES = [
    ("plain", CONFIG), ("llama", CONFIG), ("phi3", CONFIG), ("exaone4", CONFIG), ("gptq", CONFIG),
    ("plain", TOKENIZER), ("llama", TOKENIZER), ("plain", SETTINGS), ("plain", WEIGHTS), ("gptq", WEIGHTS),
    ("sharded", "model.safetensors.index.json"), ("gptq", "quantize_config.json"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), CASES)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(draw=st.data())
def test_anything_in_a_folders_files(kind: str, name: str, draw: Data, models: Path, bench: Bench) -> None:
    folder, target = bench.folder / "model", bench.folder / "new" / "out.gguf"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(target.parent, ignore_errors=True)
    shutil.copytree(models / kind, folder)
    if name == WEIGHTS:
        header(lambda table: _mutate(draw, table))(folder)
    else:
        table = json.loads((folder / name).read_text())
        _mutate(draw, table)
        (folder / name).write_text(json.dumps(table))
    before = bench.tree()
    found = bench.run([str(folder), "--to", "gguf:Q4_0" if kind == "gptq" else "gguf:F16", "-o", str(target)])
    if found.code == 0:
        assert GgufFile.open(target).tensors
        assert [file.name for file in target.parent.iterdir()] == ["out.gguf"]
    else:
        assert found.code in EXPECTED, found
        require_plain(found.told)
        assert bench.tree() == before
    assert bench.cache_leftovers() == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.binary(max_size=400), start=st.floats(0, 1), keep=st.floats(0, 1))
def test_any_bytes_in_the_weights(data: bytes, start: float, keep: float, models: Path, bench: Bench) -> None:
    """In the header above all, which is a small part of the file."""
    folder, target = bench.folder / "model", bench.folder / "out.gguf"
    shutil.rmtree(folder, ignore_errors=True)
    target.unlink(missing_ok=True)
    shutil.copytree(models / "plain", folder)
    whole = bytearray((folder / WEIGHTS).read_bytes())
    place = int(start * 2500)
    whole[place : place + len(data)] = data
    (folder / WEIGHTS).write_bytes(bytes(whole[: int(len(whole) * max(keep, 0.001))] if keep < 0.5 else whole))
    before = bench.tree()
    found = bench.run([str(folder), "--to", "gguf:F16", "-o", str(target)])
    if found.code:
        assert found.code in EXPECTED, found
        require_plain(found.told)
        assert bench.tree() == before

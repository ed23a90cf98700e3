"""`genai_config.json` and what lies beside it: read without onnxruntime, and nothing in it is trusted."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from models.errors import MissingPackageError, ModelError
from runtime.backends.onnx_folder import OnnxFolder
from runtime.backends.onnx_library import last_words, onnx_runtime


def config(**changed: Any) -> dict[str, Any]:
    """What the builder writes for a small model; `changed` by dotted names with two underscores, None takes away."""
    table: dict[str, Any] = {
        "model": {
            "context_length": 2048,
            "bos_token_id": 1,
            "eos_token_id": [7, 9],
            "type": "qwen3",
            "vocab_size": 100,
            "decoder": {
                "session_options": {"provider_options": []},
                "filename": "model.onnx",
                "head_size": 32,
                "num_hidden_layers": 2,
                "num_key_value_heads": 2,
                "inputs": {"past_key_names": "past.%d.key", "past_value_names": "past.%d.value"},
                "outputs": {"present_key_names": "present.%d.key", "present_value_names": "present.%d.value"},
            },
        },
        "search": {"do_sample": True, "temperature": 0.6, "top_p": 0.95, "past_present_share_buffer": True},
    }
    for dotted, value in changed.items():
        place = table
        *path, last = dotted.split("__")
        for part in path:
            place = place[part]
        if value is None:
            del place[last]
        else:
            place[last] = value
    return table


def folder(tmp_path: Path, table: object) -> Path:
    (tmp_path / "genai_config.json").write_text(json.dumps(table), "utf-8")
    (tmp_path / "model.onnx").write_bytes(b"graph")
    return tmp_path


def test_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "kangae.json").write_text('{"name": "thinker", "precision": "int4"}')
    (tmp_path / "tokenizer_config.json").write_text(
        '{"eos_token": "<e>", "bos_token": null, "chat_template": "{{ t }}"}'
    )
    found = OnnxFolder.open(folder(tmp_path, config()))
    assert (found.layers, found.heads, found.head, found.context_length, found.vocabulary) == (2, 2, 32, 2048, 100)
    assert (found.provider, found.shares_buffer, found.end_ids) == ("cpu", True, (7, 9))
    assert found.metadata == {
        "general.architecture": "qwen3",
        "general.name": "thinker",
        "general.sampling.temp": "0.6",
        "general.sampling.top_p": "0.95",
        "tokenizer.ggml.eos_token_id": "7",
    }
    facts = found.facts(5, "fp32")
    assert (facts.name, facts.quant, facts.chat_template, facts.parameters) == ("thinker", "int4", "{{ t }}", 5)


def test_a_greedy_model_says_nothing_of_sampling(tmp_path: Path) -> None:
    found = OnnxFolder.open(folder(tmp_path, config(search__do_sample=False)))
    assert not [key for key in found.metadata if "sampling" in key]


def test_the_processor_is_the_first_that_is_named(tmp_path: Path) -> None:
    options = {"provider_options": [{"cuda": {"enable_cuda_graph": "0"}}]}
    assert OnnxFolder.open(folder(tmp_path, config(model__decoder__session_options=options))).provider == "cuda"


def test_the_template_of_its_own_file_comes_first_and_the_default_of_several(tmp_path: Path) -> None:
    several = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": several}))
    assert OnnxFolder.open(folder(tmp_path, config())).chat_template == "plain"
    (tmp_path / "chat_template.jinja").write_text("own")
    assert OnnxFolder.open(folder(tmp_path, config())).chat_template == "own"


@pytest.mark.parametrize(
    "changed",
    [
        {"model": None},
        {"model__decoder": None},
        {"model__decoder": 5},
        {"model__decoder__num_hidden_layers": None},
        {"model__decoder__num_hidden_layers": 10**9},
        {"model__decoder__num_hidden_layers": "two"},
        {"model__decoder__num_hidden_layers": -1},
        {"model__decoder__head_size": True},
        {"model__decoder__inputs__past_key_names": "past.key"},
        {"model__decoder__inputs__past_key_names": "%s%d"},
        {"model__decoder__filename": "../other/model.onnx"},
        {"model__decoder__filename": "/etc/hosts"},
        {"model__decoder__filename": ".."},
        {"model__decoder__session_options": {"provider_options": [{}]}},
        {"model__decoder__session_options": {"provider_options": 3}},
        {"model__decoder__pipeline": []},
        {"model__vision": {}},
        {"model__eos_token_id": "end"},
        {"model__vocab_size": 2.5},
        {"search": [1]},
    ],
)
def test_what_cannot_be_right_is_one_sentence(tmp_path: Path, changed: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"genai_config\.json") as told:
        OnnxFolder.open(folder(tmp_path, config(**changed)))
    assert told.value.detail.endswith(".")
    assert "\n" not in told.value.detail


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_object_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    folder(tmp_path, {})
    (tmp_path / "genai_config.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"genai_config\.json"):
        OnnxFolder.open(tmp_path)


def test_a_missing_graph_is_named(tmp_path: Path) -> None:
    folder(tmp_path, config())
    (tmp_path / "model.onnx").unlink()
    with pytest.raises(ModelError, match=r"model\.onnx is missing"):
        OnnxFolder.open(tmp_path)


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPackageError, match="EXTRAS=onnx") as told:
        onnx_runtime()
    assert told.value.exit_code == 6


def test_last_words_leave_places_in_foreign_sources_out() -> None:
    error = RuntimeError(
        "[ONNXRuntimeError] : 1 : FAIL : Exception during initialization: /onnxruntime_src/core/a.cc:74 "
        "onnxruntime::Info(const int&) it is out of bounds.\nmore"
    )
    assert last_words(error) == "it is out of bounds"

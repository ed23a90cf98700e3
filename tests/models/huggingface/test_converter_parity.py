"""Our conversion against llama.cpp's own, of the pinned llama-cpp-python's source distribution: keys and tensors equal.

KANGAE_LLAMA_SOURCE names the unpacked source of llama.cpp (`vendor/llama.cpp` of
`pip download --no-deps --no-binary llama-cpp-python llama-cpp-python==0.3.36`); without it, or without torch and
transformers, these are skipped: that converter needs them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.gguf_file import GgufFile, Scalar
from models.huggingface.convert import convert_whole
from tests.fakes import upstream_conversion
from tests.fakes.huggingface_folders import (
    CONFIGS,
    SPECIAL,
    byte_level_tokenizer,
    fallback_tokenizer,
    pieces,
    sentencepiece_model,
    tokenizer_settings,
    write_folder,
)

SOURCE = os.environ.get("KANGAE_LLAMA_SOURCE", "")  # read here: tests do not see a person's settings
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SOURCE, reason="KANGAE_LLAMA_SOURCE is not set"),
]
OWN_KEYS = ("kangae.converter", "kangae.source")


@dataclass(frozen=True)
class Case:
    """A folder that both convert. `differs`: keys that are otherwise here, on purpose."""

    class_name: str
    outtype: str = "f16"
    pre: str = "qwen2"
    config: dict[str, Any] = field(default_factory=dict)
    kind: str = "BF16"
    shards: int = 1
    prepare: Callable[[Path], None] | None = None
    tokenizer: dict[str, Any] | None = None
    settings: dict[str, Any] | None = None
    differs: tuple[str, ...] = ()


def _write_json(name: str, value: Any) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_text(json.dumps(value))

    return write


def _card(folder: Path) -> None:
    (folder / "README.md").write_text(
        "---\nlicense: apache-2.0\nlicense_link: https://example.org/licence\nbase_model:\n- Qwen/Qwen2.5-1.5B\n"
        "datasets:\n- open-r1/OpenR1-Math-220k\nlanguage:\n- en\n- no\npipeline_tag: text-generation\ntags:\n- math\n"
        "---\n# A model\n"
    )
    sampling = {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.0, "repetition_penalty": 1.05}
    (folder / "generation_config.json").write_text(json.dumps({"do_sample": True, **sampling}))


def _named_templates(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("{{ tools }}")


def _pieces(folder: Path) -> None:
    (folder / "tokenizer.model").write_bytes(sentencepiece_model(pieces()))


FALLBACK_SETTINGS = {
    "tokenizer_class": "LlamaTokenizerFast",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "add_bos_token": True,
    "add_eos_token": False,
    "add_prefix_space": True,
}
FALLBACK_ROWS = len(fallback_tokenizer()["model"]["vocab"]) + 2
FALLBACK_IDS = {"bos_token_id": 1, "eos_token_id": 2, "vocab_size": FALLBACK_ROWS}
LINEAR = {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}
YARN = {
    "rope_scaling": {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 128,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "attention_factor": 1.1,
    }
}
EXAONE_EPSILON = "exaone.attention.layer_norm_rms_epsilon"
"""Upstream leaves it out, and llama.cpp then refuses the file."""
NEW_ROPE = {"rope_theta": None, "rope_parameters": {"rope_type": "default", "rope_theta": 123456.0}}
CASES = {
    "qwen2": Case("Qwen2ForCausalLM", prepare=_card),
    "qwen2-sharded-f32": Case("Qwen2ForCausalLM", "f32", shards=3),
    "qwen2-tied": Case("Qwen2ForCausalLM", "bf16", config={"tie_word_embeddings": True}, kind="F16"),
    "qwen2-yarn": Case("Qwen2ForCausalLM", config=YARN, kind="F32"),
    "qwen2-rope-parameters": Case("Qwen2ForCausalLM", "bf16", config=NEW_ROPE, kind="F32"),
    "qwen2-padded": Case("Qwen2ForCausalLM", config={"vocab_size": 352}),
    "qwen3": Case("Qwen3ForCausalLM"),
    "qwen3-tied": Case("Qwen3ForCausalLM", "bf16", config={"tie_word_embeddings": True}),
    "qwen3-templates": Case(
        "Qwen3ForCausalLM",
        settings={key: value for key, value in tokenizer_settings().items() if key != "chat_template"},
        prepare=_named_templates,
        differs=("tokenizer.chat_templates",),  # upstream's order changes from run to run
    ),
    "llama3": Case("LlamaForCausalLM", pre="llama-bpe", tokenizer=byte_level_tokenizer("llama-bpe", first=True)),
    "llama-linear": Case("LlamaForCausalLM", config=LINEAR, tokenizer=byte_level_tokenizer(merges_as_pairs=False)),
    "llama-head-size": Case("LlamaForCausalLM", config={"head_dim": 32, "rope_scaling": None}, shards=2),
    "llama-sentencepiece": Case(
        "LlamaForCausalLM",
        config={**FALLBACK_IDS, "rope_scaling": None},
        pre="default",
        tokenizer=fallback_tokenizer(),
        settings=FALLBACK_SETTINGS,
        prepare=_pieces,
    ),
    "llama-fallback": Case(
        "LlamaForCausalLM",
        config={**FALLBACK_IDS, "rope_scaling": None},
        pre="default",
        tokenizer=fallback_tokenizer(),
        settings=FALLBACK_SETTINGS,
        differs=("tokenizer.ggml.scores",),  # upstream writes -1000 for all of them
    ),
    "smollm3": Case("SmolLM3ForCausalLM", pre="smollm", tokenizer=byte_level_tokenizer("smollm")),
    "smollm3-tied": Case("SmolLM3ForCausalLM", config={"tie_word_embeddings": True}),
    "phi3-longrope": Case(
        "Phi3ForCausalLM",
        pre="phi-2",
        tokenizer=byte_level_tokenizer("gpt-2"),
        settings=tokenizer_settings(tokenizer_class="GPT2Tokenizer"),
    ),
    "phi3-short": Case(
        "Phi3ForCausalLM",
        "bf16",
        pre="phi-2",
        config={"rope_scaling": None, "sliding_window": None, "original_max_position_embeddings": 512},
        tokenizer=byte_level_tokenizer("gpt-2"),
        settings=tokenizer_settings(tokenizer_class="GPT2Tokenizer"),
    ),
    "phi3-sentencepiece": Case(
        "Phi3ForCausalLM",
        pre="default",
        config={**FALLBACK_IDS, "pad_token_id": 2},
        tokenizer=fallback_tokenizer(),
        settings=FALLBACK_SETTINGS,
        prepare=_pieces,
    ),
    "exaone4": Case("Exaone4ForCausalLM", pre="exaone4", tokenizer=byte_level_tokenizer("gpt-2")),
    "exaone4-tied-all-attention": Case(
        "Exaone4ForCausalLM",
        "bf16",
        config={"sliding_window": None, "layer_types": ["full_attention"] * 4, "tie_word_embeddings": True},
    ),
    "exaone": Case(
        "ExaoneForCausalLM", pre="exaone", tokenizer=byte_level_tokenizer("smollm"), differs=(EXAONE_EPSILON,)
    ),
    "exaone-llama3": Case(
        "ExaoneForCausalLM",
        config={"rope_scaling": CONFIGS["LlamaForCausalLM"]["rope_scaling"], "tie_word_embeddings": True},
        differs=(EXAONE_EPSILON,),
    ),
}


@dataclass(frozen=True)
class Pair:
    """Both files of a case."""

    ours: GgufFile
    theirs: GgufFile


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    """All cases by both converters; the other one in a single process, whose imports take long."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    root = tmp_path_factory.mktemp("parity")
    jobs = []
    for name, case in CASES.items():
        if needs_package(case):
            continue
        folder = write_folder(
            root / name / "Small-Model-1M",
            case.class_name,
            config=case.config,
            kind=case.kind,
            shards=case.shards,
            tokenizer=case.tokenizer,
            settings=case.settings,
        )
        if case.prepare is not None:
            case.prepare(folder)
        target = str(root / f"{name}.theirs.gguf")
        jobs.append({"folder": str(folder), "target": target, "type": case.outtype, "pre": case.pre})
        convert_whole(folder, root / f"{name}.ours.gguf", outtype=case.outtype)
    (root / "jobs.json").write_text(json.dumps(jobs))
    run = subprocess.run(
        [sys.executable, upstream_conversion.__file__, SOURCE, str(root / "jobs.json")],
        capture_output=True,
        text=True,
        timeout=500,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return {
        name: Pair(GgufFile.open(root / f"{name}.ours.gguf"), GgufFile.open(root / f"{name}.theirs.gguf"))
        for name, case in CASES.items()
        if not needs_package(case)
    }


def needs_package(case: Case) -> bool:
    """Whether the other converter cannot do this one here."""
    return case.prepare is _pieces and importlib.util.find_spec("sentencepiece") is None


def pair_of(pairs: dict[str, Pair], name: str) -> Pair:
    """The files of a case; skips where the other converter lacks a package."""
    if name not in pairs:
        pytest.skip("the sentencepiece package is not installed")
    return pairs[name]


def value(file: GgufFile, key: str) -> Scalar | tuple[Scalar, ...] | None:
    """Of any key; None where it is missing."""
    single = file.scalar(key)
    return (file.list(key) or None) if single is None else single


@pytest.mark.parametrize("name", CASES)
def test_keys_are_those_of_llama_cpp(pairs: dict[str, Pair], name: str) -> None:
    pair = pair_of(pairs, name)
    ignored = {*OWN_KEYS, *CASES[name].differs}
    keys = ({*pair.ours.entries()} | {*pair.theirs.entries()}) - ignored
    differing = {
        key: (value(pair.ours, key), value(pair.theirs, key))
        for key in keys
        if value(pair.ours, key) != value(pair.theirs, key)
    }
    assert not differing
    kinds = {key for key in keys if pair.ours.entries()[key].kind != pair.theirs.entries()[key].kind}
    assert not kinds


@pytest.mark.parametrize("name", CASES)
def test_tensors_are_those_of_llama_cpp(pairs: dict[str, Pair], name: str) -> None:
    pair = pair_of(pairs, name)
    assert list(pair.ours.tensors) == list(pair.theirs.tensors)
    for tensor, info in pair.ours.tensors.items():
        other = pair.theirs.tensors[tensor]
        assert (info.type, info.shape) == (other.type, other.shape), tensor
        if tensor.startswith("rope_"):  # reckoned by numpy here and by torch there
            np.testing.assert_allclose(pair.ours.values(tensor), pair.theirs.values(tensor), rtol=1e-6)
        else:
            assert np.array_equal(pair.ours.raw(tensor), pair.theirs.raw(tensor)), tensor


def test_what_is_otherwise_on_purpose_is_so(pairs: dict[str, Pair]) -> None:
    scores = pairs["llama-fallback"].ours.list("tokenizer.ggml.scores")
    assert len(set(scores)) > 5 and set(pairs["llama-fallback"].theirs.list("tokenizer.ggml.scores")) == {-1000.0}
    templates = [value(one, "tokenizer.chat_templates") for one in vars(pairs["qwen3-templates"]).values()]
    assert templates[0] == templates[1] == ("tool_use",)
    assert SPECIAL[3] in pairs["qwen2"].ours.list("tokenizer.ggml.tokens")

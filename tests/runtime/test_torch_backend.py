"""Folders of safetensors in torch, behind the protocol: what the engine relies on, and the same text as llama.cpp's."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import CannotMeetError, InternalError, ModelError, ResourceError
from models.family import resolve_family
from models.locations import shipped_model
from runtime.backends.backend import Aborted, Backend, Slice
from runtime.backends.gptq import open_folder
from runtime.backends.torch_backend import TorchBackend
from runtime.events import AnswerDelta, Done, ThinkingDelta
from runtime.local_responder import LocalResponder
from runtime.reply import Reply
from runtime.request import Budget, Message, Request, Sampling, Voting
from runtime.responder import Control

pytestmark = pytest.mark.train

TINY = shipped_model().parent / "huggingface"
PROMPT = [72, 101, 108, 108, 111]
QUESTIONS = ("What is 47 * 8?", "Basic one - what does 4 plus 7 make?")


@pytest.fixture(scope="module")
def opened() -> Iterator[TorchBackend]:
    backend = open_folder(TINY, form="hf", context=1024, sequences=4, threads=1, gpu_layers=0)
    yield backend
    backend.close()


@pytest.fixture
def backend(opened: TorchBackend) -> TorchBackend:
    for sequence in range(opened.sequences):
        opened.rewind(sequence, 0)
    return opened


def row_of(backend: Backend, slices: list[Slice], index: int = 0) -> np.ndarray:
    row = backend.decode(slices)[index]
    assert row is not None
    return backend.logits(row).copy()


def continuation(backend: Backend, ids: list[int], count: int, sampling: Sampling) -> list[int]:
    backend.rewind(0, 0)
    sampler = backend.new_sampler(sampling)
    drawn: list[int] = []
    part, position = ids, 0
    for _ in range(count):
        row = backend.decode([Slice(0, position, part, True)])[0]
        assert row is not None
        position += len(part)
        part = [backend.sample(row, sampler)]
        drawn += part
    backend.free_sampler(sampler)
    return drawn


def test_it_is_a_backend_and_says_what_the_model_is(backend: TorchBackend) -> None:
    typed: Backend = backend
    facts = typed.facts
    assert (facts.architecture, facts.context_length, facts.quant) == ("qwen2", 2048, "F16")
    assert facts.bytes == (TINY / "model.safetensors").stat().st_size
    assert facts.parameters == 2_756_352
    assert facts.chat_template is not None and "enable_thinking" in facts.chat_template
    assert facts.metadata["general.sampling.temp"] == "0.0"
    assert facts.metadata["tokenizer.ggml.eos_token_id"] == "2045"
    assert (typed.context, typed.sequences, typed.can_rewind, typed.can_fork, typed.can_batch) == (1024, 4, *[True] * 3)


def test_logits_are_the_c_librarys(backend: TorchBackend) -> None:
    from runtime.backends.llama import open_llama

    other = open_llama(
        shipped_model().with_name("kangae-tiny-F16.gguf"), context=512, sequences=1, threads=1, outputs=64
    )
    ids = backend.vocabulary.tokenize(
        "<|im_start|>user\nWhat is 47 * 8?<|im_end|>\n<|im_start|>assistant\n", markers=True
    )
    slices = [Slice(0, position, [token], True) for position, token in enumerate(ids)]
    ours, theirs = (
        np.stack([one.logits(row).copy() for row in one.decode(slices) if row is not None]) for one in (backend, other)
    )
    other.close()
    assert ours.shape == (len(ids), backend.vocabulary.size)
    np.testing.assert_allclose(ours, theirs, atol=0.05)
    assert (ours.argmax(-1) == theirs.argmax(-1)).all()


def test_logits_are_views_that_a_rule_may_write_into(backend: TorchBackend) -> None:
    row = backend.decode([Slice(0, 0, PROMPT, True)])[0]
    assert row is not None
    view = backend.logits(row)
    assert view.dtype == np.float32
    assert view.shape == (backend.vocabulary.size,)
    view[:] = -np.inf
    view[77] = 0.0
    assert backend.sample(row, backend.new_sampler(Sampling())) == 77
    assert backend.sample(row, backend.new_sampler(Sampling(temperature=1.0, seed=1))) == 77
    backend.decode([Slice(0, 5, [1], False)])
    with pytest.raises(InternalError, match="no logits"):
        backend.logits(row)


def test_all_positions_at_once_are_those_one_by_one(backend: TorchBackend) -> None:
    rows = backend.decode([Slice(0, position, [token], True) for position, token in enumerate(PROMPT)])
    at_once = [backend.logits(row).copy() for row in rows if row is not None]
    assert len(at_once) == len(PROMPT)
    for position, token in enumerate(PROMPT):
        one = row_of(backend, [Slice(1, position, [token], True)])
        np.testing.assert_allclose(one, at_once[position], atol=1e-3)


def test_sequences_of_one_batch_do_not_touch(backend: TorchBackend) -> None:
    alone = row_of(backend, [Slice(0, 0, [5, 6, 7], True)])
    backend.rewind(0, 0)
    slices = [Slice(1, 0, [9, 9], False), Slice(0, 0, [5], False), Slice(2, 0, [1], True), Slice(0, 1, [6, 7], True)]
    rows = backend.decode(slices)
    assert rows[:2] == [None, None]
    assert rows[3] is not None
    np.testing.assert_allclose(backend.logits(rows[3]), alone, atol=1e-3)
    assert [backend.length(sequence) for sequence in range(4)] == [3, 2, 1, 0]


def test_fork_rewind_save_and_restore_give_the_same_logits(backend: TorchBackend) -> None:
    backend.decode([Slice(0, 0, PROMPT, False)])
    wanted = row_of(backend, [Slice(0, 5, [33], True)])
    backend.rewind(0, 5)
    state = backend.save(0)
    assert state is not None
    assert backend.save(0, most=len(state)) == state and backend.save(0, most=len(state) - 1) is None
    backend.fork(0, 1)
    np.testing.assert_allclose(row_of(backend, [Slice(1, 5, [33], True)]), wanted, atol=1e-3)
    assert backend.length(0) == 5
    backend.decode([Slice(0, 5, [1, 2], False)])  # the fork is its own
    backend.rewind(1, 5)
    np.testing.assert_allclose(row_of(backend, [Slice(1, 5, [33], True)]), wanted, atol=1e-3)
    backend.restore(2, state)
    np.testing.assert_allclose(row_of(backend, [Slice(2, 5, [33], True)]), wanted, atol=1e-3)
    backend.rewind(2, 5)
    assert backend.save(2) == state
    backend.rewind(0, 0)
    assert backend.length(0) == 0


def test_states_that_are_not_its_own_are_refused(backend: TorchBackend) -> None:
    backend.decode([Slice(0, 0, PROMPT, False)])
    state = backend.save(0)
    assert isinstance(state, bytes)
    for wrong, told in ((b"x" * len(state), "another model"), (state[:-1], "damaged"), (b"", "another model")):
        with pytest.raises(CannotMeetError, match=told):
            backend.restore(1, wrong)
    assert (backend.length(0), backend.length(1)) == (5, 0)


def test_a_full_cache_is_told_and_nothing_is_kept(backend: TorchBackend) -> None:
    for start in (0, 500):
        backend.decode([Slice(0, start, [1] * 500, False)])
    state = backend.save(0)
    with pytest.raises(CannotMeetError, match="1024 tokens is full"):
        backend.decode([Slice(1, 0, [1] * 25, True)])
    assert backend.length(1) == 0
    assert state is not None
    with pytest.raises(CannotMeetError, match="does not fit"):
        backend.restore(1, state)
    backend.decode([Slice(1, 0, [1] * 24, True)])


def test_an_abort_hits_one_decode(backend: TorchBackend) -> None:
    backend.abort()
    with pytest.raises(Aborted):
        backend.decode([Slice(0, 0, PROMPT, True)])
    assert backend.length(0) == 0
    assert backend.decode([Slice(0, 0, PROMPT, True)]) == [0]


def test_an_abort_while_it_decodes_stops_between_layers(backend: TorchBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = row_of(backend, [Slice(0, 0, PROMPT, True)])
    layers: list[int] = []
    put = backend._cache.put

    def putting(layer: int, *arguments: Any) -> Any:
        layers.append(layer)
        if layer == 1:
            thread = threading.Thread(target=backend.abort)
            thread.start()
            thread.join()
        return put(layer, *arguments)

    monkeypatch.setattr(backend._cache, "put", putting)
    with pytest.raises(Aborted):
        backend.decode([Slice(0, 5, [7] * 100, True)])
    assert layers == [0, 1]
    monkeypatch.undo()
    assert backend.length(0) == 5
    backend.rewind(0, 0)
    np.testing.assert_allclose(row_of(backend, [Slice(0, 0, PROMPT, True)]), wanted, atol=1e-4)


def test_seeds_repeat_and_top_k_one_is_greedy(backend: TorchBackend) -> None:
    sampling = Sampling(temperature=1.5, top_k=50, top_p=0.99, min_p=0.001, seed=7)
    first = continuation(backend, PROMPT, 12, sampling)
    assert continuation(backend, PROMPT, 12, sampling) == first
    assert continuation(backend, PROMPT, 12, Sampling(temperature=1.5, seed=8)) != first
    greedy = continuation(backend, PROMPT, 8, Sampling())
    assert continuation(backend, PROMPT, 8, Sampling(temperature=2.0, top_k=1, seed=3)) == greedy


def test_misuse_is_refused(backend: TorchBackend) -> None:
    backend.decode([Slice(0, 0, PROMPT, False)])
    for call in (
        lambda: backend.logits(0),
        lambda: backend.fork(0, 99),
        lambda: backend.rewind(-1, 0),
        lambda: backend.decode([]),
        lambda: backend.decode([Slice(0, 5, [], False)]),
        lambda: backend.decode([Slice(0, 5, [1] * (backend.batch + 1), False)]),
        lambda: backend.decode([Slice(0, 40, [1], True)]),
        lambda: backend.decode([Slice(0, 5, [2048], True)]),
        lambda: backend.decode([Slice(0, 5, [-1], True)]),
    ):
        with pytest.raises(InternalError):
            call()
    assert backend.length(0) == 5


# --- the engine over it ---


def reply_of(responder: LocalResponder, request: Request, control: Control | None = None) -> Reply:
    *_, last = responder.respond(request, control)
    assert isinstance(last, Done)
    return last.reply


@pytest.fixture(scope="module")
def responder() -> Iterator[LocalResponder]:
    backend = open_folder(TINY, form="hf", context=1800, sequences=4, threads=1, gpu_layers=0)
    family = resolve_family({"general.name": "kangae-tiny"}, backend.facts.chat_template)
    responder = LocalResponder(backend, family, backend_name="hf")
    yield responder
    responder.close()


def test_replies_are_those_of_llama_on_the_same_weights(responder: LocalResponder) -> None:
    from runtime.opening import open_model

    other = open_model("kangae-tiny:F16", context=1024, threads=1)
    try:
        for question in QUESTIONS:
            request = Request((Message("user", question),))
            ours, theirs = reply_of(responder, request), reply_of(other, request)  # type: ignore[arg-type]
            assert (ours.thinking, ours.answer, ours.close) == (theirs.thinking, theirs.answer, theirs.close)
            assert ours.usage.prompt_tokens == theirs.usage.prompt_tokens
    finally:
        other.close()


@pytest.mark.parametrize("tokens", [0, 1, 20])
def test_budgets_are_hard(responder: LocalResponder, tokens: int) -> None:
    reply = reply_of(responder, Request((Message("user", QUESTIONS[1]),), Budget(tokens=tokens)))
    assert reply.usage.thinking_tokens == tokens
    assert reply.close == ("budget" if tokens else "off")
    assert reply.answer


def test_votes_are_forks_of_one_prompt(responder: LocalResponder) -> None:
    from runtime.voting import VotingResponder

    request = Request((Message("user", QUESTIONS[1]),), sampling=Sampling(0.7, seed=5), voting=Voting(4))
    *_, last = VotingResponder(responder, Sampling).respond(request)
    assert isinstance(last, Done)
    assert last.reply.answer.strip() == "11"


def test_a_cancelled_turn_ends_and_the_next_is_answered(responder: LocalResponder) -> None:
    control, seen = Control(), 0
    for event in responder.respond(Request((Message("user", QUESTIONS[0]),)), control):
        seen += isinstance(event, ThinkingDelta | AnswerDelta)
        if seen == 3:
            thread = threading.Thread(target=control.cancel)
            thread.start()
            thread.join()
    assert isinstance(event, Done)
    assert event.reply.finish == "cancelled"
    assert seen <= 4
    assert reply_of(responder, Request((Message("user", QUESTIONS[1]),))).answer == "11"


# --- other families, and folders that are faulty ---

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "Qwen3": ("Qwen3Config", {"head_dim": 16, "tie_word_embeddings": True}),
    "Llama": ("LlamaConfig", {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0,
              "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}}),
    "Phi3": ("Phi3Config", {"sliding_window": 9, "pad_token_id": 0}),
    "SmolLM3": ("SmolLM3Config", {"no_rope_layers": [1, 0], "pad_token_id": 0}),
    "Exaone4": ("Exaone4Config", {"sliding_window": 7, "sliding_window_pattern": 2}),
}  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_other_families_give_transformers_own_logits(tmp_path: Path, name: str) -> None:
    import torch
    import transformers

    kind, special = FAMILIES[name]
    config = getattr(transformers, kind)(
        vocab_size=2048, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, bos_token_id=1, eos_token_id=2, **special,
    )  # fmt: skip
    torch.manual_seed(3)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    model.save_pretrained(tmp_path / "m")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(TINY / file, tmp_path / "m" / file)
    ids = torch.randint(0, 2000, (1, 40)).tolist()[0]
    with torch.inference_mode():
        wanted = model(torch.tensor([ids])).logits[0].numpy()
    backend = open_folder(tmp_path / "m", form="hf", context=256, sequences=2, threads=1, gpu_layers=0)
    try:
        backend.decode([Slice(0, 0, ids[:15], False), Slice(1, 0, ids[:3], False)])
        rows = backend.decode([Slice(0, 15, ids[15:30], True), Slice(1, 3, ids[3:4], True)])
        np.testing.assert_allclose(backend.logits(rows[0] or 0), wanted[29], atol=1e-4)
        np.testing.assert_allclose(backend.logits(rows[1] or 0), wanted[3], atol=1e-4)
        for position in range(30, 40):
            row = row_of(backend, [Slice(0, position, [ids[position]], True)])
            np.testing.assert_allclose(row, wanted[position], atol=1e-4)
    finally:
        backend.close()


def copy_of_tiny(folder: Path, **changed: Any) -> Path:
    shutil.copytree(TINY, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changed}))
    return folder


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"num_hidden_layers": 5}, "lacks model.layers.4"),
        ({"hidden_size": 128}, "lacks|cannot be loaded"),
        ({"model_type": "nothing"}, "cannot be loaded"),
        ({"layer_types": ["full_attention", "linear_attention"] * 2}, "linear_attention, which only llama.cpp"),
        ({"max_position_embeddings": None}, "max_position_embeddings"),
    ],
)
def test_faulty_folders_are_told(tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    with pytest.raises(ModelError, match=told):
        open_folder(copy_of_tiny(tmp_path / "m", **changed), form="hf", context=64, sequences=1, gpu_layers=0)


def test_damaged_weights_are_told(tmp_path: Path) -> None:
    folder = copy_of_tiny(tmp_path / "m")
    file = folder / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-2_000_000:] = b"\xff" * 2_000_000  # in 16 bits: not a number
    file.write_bytes(data)
    with pytest.raises(ModelError, match="no usable logits"):
        open_folder(folder, form="hf", context=64, sequences=1, gpu_layers=0)
    file.write_bytes(data[:1000])
    with pytest.raises(ModelError):
        open_folder(folder, form="hf", context=64, sequences=1, gpu_layers=0)


def test_what_does_not_fit_is_refused_with_numbers() -> None:
    with pytest.raises(ResourceError, match="weights, but 1 MiB"):
        open_folder(TINY, form="hf", context=None, sequences=1, memory_limit=1 << 20, gpu_layers=0)
    with pytest.raises(ResourceError, match=r"context of 1,000,000 tokens"):
        open_folder(TINY, form="hf", context=1_000_000, sequences=1, memory_limit=40 << 20, gpu_layers=0)


def test_a_closed_model_is_freed_and_says_so() -> None:
    backend = open_folder(TINY, form="hf", context=None, sequences=1, threads=1, gpu_layers=0)
    assert backend.context == 2048
    backend.close()
    backend.close()
    with pytest.raises(InternalError, match="closed"):
        backend.decode([Slice(0, 0, PROMPT, True)])

"""A GPTQ folder by gptqmodel's kernels (extra `gptq`), held against the same integers in llama.cpp."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from models.family import resolve_family
from models.gptq.layer import GptqSettings
from models.gptq.repack import repack_to_gguf
from models.locations import shipped_model
from runtime.backends.backend import Slice
from runtime.backends.gptq import open_folder
from runtime.backends.torch_backend import TorchBackend
from runtime.events import Done
from runtime.local_responder import LocalResponder
from runtime.opening import open_model
from runtime.reply import Reply
from runtime.request import Budget, Message, Request, Sampling, Voting
from tests.fakes.gptq_folders import make_gptq_folder

pytestmark = [
    pytest.mark.train,
    pytest.mark.skipif(find_spec("gptqmodel") is None, reason="the extra `gptq` is not installed"),
]

TINY = shipped_model().parent / "huggingface"
QUESTION = "Basic one - what does 4 plus 7 make?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models") / "kangae-tiny-gptq"
    make_gptq_folder(TINY, made, GptqSettings(bits=4, group_size=32))
    return made


@pytest.fixture(scope="module")
def backend(folder: Path) -> Iterator[TorchBackend]:
    opened = open_folder(folder, form="gptq", context=1024, sequences=4, threads=1, gpu_layers=0)
    yield opened
    opened.close()


def rows_of(backend: TorchBackend, slices: list[Slice]) -> np.ndarray:
    return np.stack([backend.logits(row).copy() for row in backend.decode(slices) if row is not None])


def test_it_says_what_it_is(backend: TorchBackend) -> None:
    assert (backend.facts.quant, backend.facts.architecture) == ("GPTQ 4-bit g32", "qwen2")
    assert backend.facts.parameters == 2_756_352
    assert "Linear" in backend.kernel


def test_logits_are_those_of_the_same_integers_in_llama(backend: TorchBackend, folder: Path, tmp_path: Path) -> None:
    from runtime.backends.llama import open_llama

    repack_to_gguf(folder, tmp_path / "m.gguf")
    other = open_llama(tmp_path / "m.gguf", context=512, sequences=1, threads=1, outputs=64)
    text = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n<think>\n"
    ids = backend.vocabulary.tokenize(text, markers=True)
    slices = [Slice(0, position, [token], True) for position, token in enumerate(ids)]
    backend.rewind(0, 0)
    ours = rows_of(backend, slices)
    theirs = np.stack([other.logits(row).copy() for row in other.decode(slices) if row is not None])
    other.close()
    chances = [np.exp(one - one.max(-1, keepdims=True)) for one in (ours, theirs)]
    left, right = (one / one.sum(-1, keepdims=True) for one in chances)
    # The kernel on a CPU multiplies in bfloat16: 8 bits of a number.
    assert (left * (np.log(left + 1e-12) - np.log(right + 1e-12))).sum(-1).mean() < 0.01
    assert (ours.argmax(-1) == theirs.argmax(-1)).mean() > 0.9


def test_fork_rewind_save_and_restore(backend: TorchBackend) -> None:
    for sequence in range(4):
        backend.rewind(sequence, 0)
    backend.decode([Slice(0, 0, [72, 101, 108], False)])
    state = backend.save(0)
    assert state is not None
    backend.fork(0, 1)
    backend.restore(2, state)
    rows = rows_of(backend, [Slice(sequence, 3, [33], True) for sequence in range(3)])
    np.testing.assert_array_equal(rows[1], rows[0])
    np.testing.assert_array_equal(rows[2], rows[0])
    backend.rewind(0, 3)
    assert backend.save(0) == state


def test_thinking_control_works_on_it(folder: Path) -> None:
    from runtime.voting import VotingResponder

    responder = open_model(str(folder), backend_name="gptq", context=1800, sequences=4, threads=1, gpu_layers=0)
    assert isinstance(responder, LocalResponder)
    responder.family = resolve_family({"general.name": "kangae-tiny"}, responder.facts.chat_template)

    def ask(budget: Budget, **options: object) -> Reply:
        request = Request((Message("user", QUESTION),), budget, **options)  # type: ignore[arg-type]
        *_, last = VotingResponder(responder, Sampling).respond(request)
        assert isinstance(last, Done)
        return last.reply

    try:
        for tokens in (0, 1, 20):
            reply = ask(Budget(tokens=tokens))
            assert (reply.usage.thinking_tokens, reply.close) == (tokens, "budget" if tokens else "off")
        whole = ask(Budget(tokens=300))
        assert (whole.answer, whole.close, whole.model.backend) == ("11", "natural", "gptq")
        assert ask(Budget(tokens=300), sampling=Sampling(0.7, seed=5), voting=Voting(4)).answer.strip() == "11"
    finally:
        responder.close()

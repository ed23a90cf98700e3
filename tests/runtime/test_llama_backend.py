"""The backend over the C API, with models of random weights: what the engine relies on, id by id."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.errors import CannotMeetError, InternalError, ModelError, ResourceError, UsageError
from runtime.backends.backend import Aborted, Backend, Slice
from runtime.backends.llama import LlamaBackend, open_llama
from runtime.backends.llama_fit import CacheShape, choose_context, require_room
from runtime.bench.random_model import TINY, Shape, make_random_model
from runtime.request import Sampling

MARKERS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
PROMPT = [72, 101, 108, 108, 111]
_BROKEN_OFF = 2
"""What the library's decode returns where its abort callback said so (llama.h)."""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # 32-bit weights: results of wide and narrow batches differ by rounding alone.
    return make_random_model(tmp_path_factory.mktemp("models") / "tiny.gguf", quant="F32")


@pytest.fixture
def backend(file: Path) -> Iterator[LlamaBackend]:
    opened = open_llama(file, context=1024, sequences=4, threads=1)
    yield opened
    opened.close()


def continuation(backend: Backend, sequence: int, ids: list[int], count: int, sampling: Sampling) -> list[int]:
    """`ids` into an empty sequence, then `count` drawn ids."""
    backend.rewind(sequence, 0)
    sampler = backend.new_sampler(sampling)
    drawn: list[int] = []
    part, position = ids, 0
    for _ in range(count):
        row = backend.decode([Slice(sequence, position, part, True)])[0]
        assert row is not None
        position += len(part)
        part = [backend.sample(row, sampler)]
        drawn += part
    backend.free_sampler(sampler)
    return drawn


def row_of(backend: Backend, slices: list[Slice], index: int = 0) -> np.ndarray:
    row = backend.decode(slices)[index]
    assert row is not None
    return backend.logits(row).copy()


def test_it_is_a_backend_and_says_what_the_model_is(backend: LlamaBackend, file: Path) -> None:
    typed: Backend = backend
    facts = typed.facts
    assert (facts.architecture, facts.context_length, facts.bytes) == ("qwen3", TINY.context, file.stat().st_size)
    assert facts.name == "random qwen3 64x2"
    assert facts.quant == "F32"
    assert facts.chat_template is not None
    assert "enable_thinking" in facts.chat_template
    assert facts.metadata["qwen3.block_count"] == "2"
    assert (typed.context, typed.sequences, typed.can_rewind) == (1024, 4, True)


def test_vocabulary(backend: LlamaBackend) -> None:
    vocabulary = backend.vocabulary
    assert vocabulary.size == TINY.vocabulary
    assert sorted(vocabulary.spelling(token) for token in vocabulary.marker_ids) == sorted(MARKERS)
    assert {vocabulary.spelling(token) for token in vocabulary.end_ids} == {"<|im_end|>", "<|endoftext|>"}
    assert vocabulary.end_ids <= vocabulary.marker_ids
    assert vocabulary.tokenize("", markers=True) == []


@pytest.mark.parametrize("text", ["the thing", "日本語 と emoji 🙂\n\n", "a\x00b", " \t ", "x" * 3000, *MARKERS])
def test_texts_come_back_whole(backend: LlamaBackend, text: str) -> None:
    vocabulary = backend.vocabulary
    for markers in (True, False):
        ids = vocabulary.tokenize(text, markers=markers)
        assert b"".join(vocabulary.piece(token) for token in ids).decode() == text


@pytest.mark.parametrize("marker", MARKERS)
@pytest.mark.parametrize("frame", ["{}", "a{}b", "{}{}", "</thi{}nk>", "<|im_{}start|>", "</</think>think>{}"])
def test_a_users_text_gives_no_marker(backend: LlamaBackend, marker: str, frame: str) -> None:
    vocabulary = backend.vocabulary
    text = frame.replace("{}", marker)
    ids = vocabulary.tokenize(text, markers=False)
    assert vocabulary.marker_ids.isdisjoint(ids)
    assert b"".join(vocabulary.piece(token) for token in ids).decode() == text
    assert not vocabulary.marker_ids.isdisjoint(vocabulary.tokenize(text, markers=True))


def test_greedy_takes_the_largest_logit_and_forced_tokens_are_ordinary(backend: LlamaBackend) -> None:
    drawn = continuation(backend, 0, PROMPT, 6, Sampling())
    at_once = row_of(backend, [Slice(1, 0, PROMPT + drawn[:5], True)])
    assert int(at_once.argmax()) == drawn[5]
    assert at_once.shape == (TINY.vocabulary,)
    assert at_once.dtype == np.float32


def test_a_seed_repeats_a_draw_and_another_differs(backend: LlamaBackend) -> None:
    sampling = Sampling(temperature=1.5, top_k=50, top_p=0.99, min_p=0.001, seed=7)
    first = continuation(backend, 0, PROMPT, 24, sampling)
    assert continuation(backend, 0, PROMPT, 24, sampling) == first
    other = Sampling(temperature=1.5, top_k=50, top_p=0.99, min_p=0.001, seed=8)
    assert continuation(backend, 0, PROMPT, 24, other) != first


def test_top_k_one_is_greedy(backend: LlamaBackend) -> None:
    greedy = continuation(backend, 0, PROMPT, 8, Sampling())
    assert continuation(backend, 0, PROMPT, 8, Sampling(temperature=2.0, top_k=1, seed=3)) == greedy


def test_sequences_of_one_batch_do_not_touch(backend: LlamaBackend) -> None:
    alone = row_of(backend, [Slice(0, 0, [5, 6, 7], True)])
    backend.rewind(0, 0)
    slices = [Slice(1, 0, [9, 9], False), Slice(0, 0, [5, 6, 7], True), Slice(2, 0, [1], True)]
    rows = backend.decode(slices)
    assert rows[0] is None
    assert rows[1] is not None
    np.testing.assert_allclose(backend.logits(rows[1]), alone, atol=1e-3)
    assert [backend.length(sequence) for sequence in range(4)] == [3, 2, 1, 0]


def test_fork_rewind_save_and_restore_give_the_same_logits(backend: LlamaBackend) -> None:
    backend.decode([Slice(0, 0, PROMPT, False)])
    wanted = row_of(backend, [Slice(0, 5, [33], True)])
    backend.rewind(0, 5)
    state = backend.save(0)
    assert state is not None
    assert backend.save(0, most=len(state)) == state and backend.save(0, most=len(state) - 1) is None
    backend.decode([Slice(1, 0, [1, 2, 3], False)])
    backend.fork(0, 1)
    np.testing.assert_allclose(row_of(backend, [Slice(1, 5, [33], True)]), wanted, atol=1e-3)
    assert backend.length(0) == 5
    backend.restore(2, state)
    np.testing.assert_allclose(row_of(backend, [Slice(2, 5, [33], True)]), wanted, atol=1e-3)
    backend.rewind(0, 0)
    assert backend.length(0) == 0


def test_another_models_state_is_refused(backend: LlamaBackend, tmp_path: Path) -> None:
    backend.decode([Slice(0, 0, PROMPT, False)])
    state = backend.save(0)
    assert state is not None
    other = open_llama(make_random_model(tmp_path / "other.gguf", quant="Q8_0"), context=256, sequences=1, threads=1)
    with pytest.raises(CannotMeetError, match="another model"):
        other.restore(0, state)
    other.close()
    with pytest.raises(CannotMeetError, match="damaged"):
        backend.restore(0, state[: len(state) // 2])


def test_an_abort_hits_one_decode(backend: LlamaBackend) -> None:
    backend.abort()
    with pytest.raises(Aborted):
        backend.decode([Slice(0, 0, PROMPT, True)])
    backend.rewind(0, 0)
    assert backend.decode([Slice(0, 0, PROMPT, True)]) == [4]


def test_an_abort_from_another_thread_interrupts_a_decode_under_way(tmp_path: Path) -> None:
    shape = Shape("qwen3", 512, 12, 2048, 8, 8, 64, 288, 2048)
    backend = open_llama(make_random_model(tmp_path / "slow.gguf", shape), context=512, sequences=1, threads=1)
    backend.decode([Slice(0, 0, [1], True)])
    backend.rewind(0, 0)
    begun, codes = threading.Event(), []
    decode = backend._decode

    def announced(*arguments: object) -> int:
        begun.set()
        codes.append(int(decode(*arguments)))
        return codes[-1]

    backend._decode = announced

    def interrupt() -> None:
        begun.wait()
        backend.abort()

    for _ in range(8):  # an abort that comes between two decodes is noticed before the next one, which proves nothing
        begun.clear()
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(Aborted):
            while True:
                backend.rewind(0, 0)
                backend.decode([Slice(0, 0, [7] * 500, False)])
        thread.join()
        if codes[-1] == _BROKEN_OFF:
            break
    assert codes[-1] == _BROKEN_OFF
    backend.rewind(0, 0)
    assert backend.decode([Slice(0, 0, PROMPT, True)]) == [4]
    backend.close()


def test_the_library_itself_asks_whether_to_stop(backend: LlamaBackend) -> None:
    decode, codes = backend._decode, []

    def late(*arguments: object) -> int:
        backend.abort()  # behind the look at the flag that comes before every decode
        codes.append(int(decode(*arguments)))
        return codes[-1]

    backend._decode = late
    with pytest.raises(Aborted):
        backend.decode([Slice(0, 0, PROMPT, True)])
    assert codes == [_BROKEN_OFF]


def test_a_full_cache_is_told_and_nothing_is_kept(file: Path) -> None:
    backend = open_llama(file, context=256, sequences=2, threads=1)
    backend.decode([Slice(0, 0, [1] * 250, False)])
    with pytest.raises(CannotMeetError, match="256 tokens is full"):
        backend.decode([Slice(1, 0, [1] * 20, True)])
    assert backend.length(1) == 0
    backend.decode([Slice(1, 0, [1] * 6, True)])
    backend.close()


def test_misuse_is_refused_before_the_library_asserts(backend: LlamaBackend) -> None:
    backend.decode([Slice(0, 0, PROMPT, False)])
    for call in (
        lambda: backend.logits(4),
        lambda: backend.logits(backend.batch + 1),
        lambda: backend.fork(0, 99),
        lambda: backend.rewind(-1, 0),
        lambda: backend.decode([Slice(0, 5, [1] * (backend.batch + 1), False)]),
        lambda: backend.decode([Slice(0, 40, [1], True)]),
        lambda: backend.decode([Slice(0, 5, [TINY.vocabulary], True)]),
    ):
        with pytest.raises(InternalError):
            call()
    assert row_of(backend, [Slice(0, 5, [1], True)]).shape == (TINY.vocabulary,)
    backend.close()
    backend.close()
    with pytest.raises(InternalError, match="closed"):
        backend.decode([Slice(0, 6, [1], True)])


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.9, top_k=40, seed=11)])
def test_narrow_widths_draw_the_same(file: Path, sampling: Sampling) -> None:
    def draw(widths: dict[int, int]) -> list[list[int]]:
        backend = open_llama(file, context=512, sequences=4, threads=1, widths=widths)
        backend.decode([Slice(0, 0, PROMPT, False)])
        for sequence in range(1, 4):
            backend.fork(0, sequence)
        samplers = [backend.new_sampler(sampling) for _ in range(4)]
        last = [10, 20, 30, 40]
        steps = []
        for position in range(5, 11):
            rows = backend.decode([Slice(sequence, position, [last[sequence]], True) for sequence in range(4)])
            drawn = zip(rows, samplers, strict=True)
            last = [backend.sample(row, sampler) for row, sampler in drawn if row is not None]
            steps.append(last)
        backend.close()
        return steps

    assert draw({4: 2}) == draw({})
    assert draw({4: 3}) == draw({})


def test_all_positions_logits_where_outputs_are_asked_for(file: Path) -> None:
    backend = open_llama(file, context=256, sequences=1, threads=1, outputs=8)
    rows = backend.decode([Slice(0, position, [token], True) for position, token in enumerate(PROMPT)])
    assert rows == [0, 1, 2, 3, 4]
    last = backend.logits(4).copy()
    backend.rewind(0, 0)
    np.testing.assert_allclose(row_of(backend, [Slice(0, 0, PROMPT, True)]), last, atol=1e-3)
    backend.close()


def test_missing_and_foreign_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no file"):
        open_llama(tmp_path / "none.gguf", context=None, sequences=1, threads=1)
    with pytest.raises(ModelError, match="is not a file"):
        open_llama(tmp_path, context=None, sequences=1, threads=1)
    text = tmp_path / "text.gguf"
    text.write_text("no model")
    with pytest.raises(ModelError, match=r"text\.gguf cannot be loaded: .+"):
        open_llama(text, context=None, sequences=1, threads=1)
    part = tmp_path / "big-00001-of-00003.gguf"
    part.write_text("")
    with pytest.raises(ModelError, match="00002-of-00003"):
        open_llama(part, context=None, sequences=1, threads=1)


def test_what_does_not_fit_is_refused_with_numbers(file: Path) -> None:
    with pytest.raises(ResourceError, match=r"weights, but 0 MiB"):
        open_llama(file, context=None, sequences=1, memory_limit=1000)
    with pytest.raises(ResourceError, match=r"context of 1,000,000 tokens, but 2 MiB .* tokens would fit"):
        open_llama(file, context=1_000_000, sequences=1, memory_limit=2 << 20)


def test_the_chosen_context_follows_the_model_and_the_memory() -> None:
    shape = CacheShape(values_a_token=1024)
    assert choose_context(2048, shape, 1, 1 << 30) == 2048
    assert choose_context(1 << 20, shape, 1, 1 << 40) == 16384
    assert shape.bytes(choose_context(1 << 20, shape, 8, 8 << 20)) <= 4 << 20
    large = CacheShape(values_a_token=28 * 8 * 128 * 2)
    assert 1 << 29 < large.bytes(choose_context(40960, large, 1, 1 << 40)) <= 1 << 30
    assert choose_context(4096, large, 1, 1 << 20) == 512
    assert choose_context(4096, shape, 1, None) == 4096
    require_room("m", weights=10, cache=10, memory=20)


def test_the_cache_shape_is_the_models(backend: LlamaBackend, file: Path) -> None:
    shape = CacheShape.of_model(backend._c, backend._model, "qwen3", file)
    assert shape.values_a_token == TINY.layers * TINY.kv_heads * TINY.head * 2
    kept = sum(size for name, size in backend.buffers.items() if name.endswith("KV"))
    assert shape.bytes(backend.context) == pytest.approx(kept, rel=0.02)


@pytest.mark.parametrize("quant", ["F16", "Q8_0"])
def test_other_forms_and_families_open(tmp_path: Path, quant: str) -> None:
    shape = Shape("qwen2", 64, 1, 128, 4, 2, 16, 300, 512)
    file = make_random_model(tmp_path / "m.gguf", shape, quant=quant)
    backend = open_llama(file, context=None, sequences=1, threads=1)
    assert (backend.facts.quant, backend.facts.architecture, backend.context) == (quant, "qwen2", 512)
    assert np.isfinite(row_of(backend, [Slice(0, 0, PROMPT, True)])).all()
    backend.close()


def test_random_models_refuse_what_they_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="vocabulary"):
        make_random_model(tmp_path / "m.gguf", Shape("qwen3", 64, 1, 128, 4, 2, 16, 10, 512))
    with pytest.raises(UsageError, match="Q3_X"):
        make_random_model(tmp_path / "m.gguf", quant="Q3_X")


def test_the_library_is_loaded_without_its_package_and_the_package_still_works() -> None:
    code = (
        "import sys; from runtime.backends.llama_library import llama_library as load; c = load().c;"
        "assert 'jinja2' not in sys.modules and 'llama_cpp' not in sys.modules;"
        "import llama_cpp; assert llama_cpp.Llama and sys.modules['llama_cpp.llama_cpp'] is c"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""

"""The backend over onnxruntime, with the model that ships as the builder writes it: what the engine relies on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.errors import CannotMeetError, InternalError, ModelError, ResourceError
from runtime.backends.backend import Aborted, Backend, Slice
from runtime.request import Sampling
from tests.fakes.onnx_folders import exported

pytestmark = pytest.mark.slow
TEXT = "<|im_start|>user\nWhat is 17 + 25?<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def folder() -> Path:
    return exported("fp32")


@pytest.fixture
def backend(folder: Path) -> Iterator[Backend]:
    from runtime.backends.onnx import open_onnx

    opened = open_onnx(folder, context=1024, sequences=4, threads=1, parameters=7, quant="fp32")
    yield opened
    opened.close()


@pytest.fixture
def prompt(backend: Backend) -> list[int]:
    return backend.vocabulary.tokenize(TEXT, markers=True)


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


def test_it_is_a_backend_and_says_what_the_model_is(backend: Backend, folder: Path) -> None:
    facts = backend.facts
    assert (facts.name, facts.quant, facts.architecture, facts.context_length) == ("kangae-tiny", "fp32", "qwen2", 2048)
    assert facts.bytes == sum(file.stat().st_size for file in folder.iterdir())
    assert facts.parameters == 7
    assert facts.chat_template is not None
    assert "enable_thinking" in facts.chat_template
    assert (backend.context, backend.sequences, backend.batch) == (1024, 4, 512)
    assert backend.can_rewind and backend.can_fork and backend.can_batch


def test_the_template_keeps_its_ids_and_makes_none_up(backend: Backend) -> None:
    assert backend.facts.metadata["tokenizer.ggml.eos_token_id"] == "2045"
    assert "tokenizer.ggml.bos_token_id" not in backend.facts.metadata
    assert {backend.vocabulary.spelling(token) for token in backend.vocabulary.end_ids} == {
        "<|im_end|>",
        "<|endoftext|>",
    }


def test_a_prompt_in_slices_gives_the_same_logits(backend: Backend, prompt: list[int]) -> None:
    whole = row_of(backend, [Slice(0, 0, prompt, True)])
    backend.decode([Slice(1, 0, prompt[:5], False)])
    backend.decode([Slice(1, 5, prompt[5:11], False)])
    np.testing.assert_allclose(row_of(backend, [Slice(1, 11, prompt[11:], True)]), whole, atol=1e-4)
    assert whole.shape == (2048,)
    assert whole.dtype == np.float32


def test_one_decode_tells_the_logits_of_every_token(backend: Backend, prompt: list[int]) -> None:
    rows = backend.decode([Slice(0, at, [token], True) for at, token in enumerate(prompt)])
    assert len({row for row in rows if row is not None}) == len(prompt)
    together = [backend.logits(row).copy() for row in rows if row is not None]
    for at, token in enumerate(prompt):
        alone = row_of(backend, [Slice(1, at, [token], True)])
        np.testing.assert_allclose(together[at], alone, atol=1e-4)


def test_sequences_of_different_depth_are_decoded_at_once(backend: Backend, prompt: list[int]) -> None:
    texts = [prompt, prompt[:9], prompt[:14], prompt[:3]]
    alone = []
    for sequence, ids in enumerate(texts):
        alone.append(row_of(backend, [Slice(sequence, 0, ids, True)]))
        backend.rewind(sequence, len(ids) - 1)
    # Rows 0, 1 and 3 have one token; 3 has no neighbour, and 2 reads several.
    backend.rewind(2, 0)
    slices = [Slice(s, len(texts[s]) - 1, texts[s][-1:], True) for s in (3, 0, 1)] + [Slice(2, 0, texts[2], True)]
    rows = backend.decode(slices)
    for row, sequence in zip(rows, (3, 0, 1, 2), strict=True):
        assert row is not None
        np.testing.assert_allclose(backend.logits(row), alone[sequence], atol=1e-4)


def test_only_wanted_rows_hold_logits(backend: Backend, prompt: list[int]) -> None:
    assert backend.decode([Slice(0, 0, prompt, False)]) == [None]
    with pytest.raises(InternalError, match="no logits"):
        backend.logits(0)


def test_what_is_changed_in_the_logits_holds_for_the_draw(backend: Backend, prompt: list[int]) -> None:
    row = backend.decode([Slice(0, 0, prompt, True)])[0]
    assert row is not None
    sampler = backend.new_sampler(Sampling())
    first = backend.sample(row, sampler)
    backend.logits(row)[first] = -np.inf
    assert backend.sample(row, sampler) != first
    backend.logits(row)[77] = 1e4
    assert backend.sample(row, sampler) == 77


def test_a_seed_repeats_a_draw_and_another_differs(backend: Backend, prompt: list[int]) -> None:
    sampling = Sampling(temperature=9.0, top_k=50, seed=7)
    first = continuation(backend, 0, prompt, 24, sampling)
    assert continuation(backend, 1, prompt, 24, sampling) == first
    other = Sampling(temperature=9.0, top_k=50, seed=8)
    assert continuation(backend, 0, prompt, 24, other) != first


def test_a_rewound_sequence_goes_on_as_if_nothing_had_been(backend: Backend, prompt: list[int]) -> None:
    whole = row_of(backend, [Slice(0, 0, prompt, True)])
    backend.rewind(0, 6)
    backend.decode([Slice(0, 6, [50] * 20, False)])
    backend.rewind(0, 6)
    np.testing.assert_allclose(row_of(backend, [Slice(0, 6, prompt[6:], True)]), whole, atol=1e-4)


def test_a_fork_shares_the_prompt_and_goes_its_own_way(backend: Backend, prompt: list[int]) -> None:
    straight = continuation(backend, 3, prompt, 8, Sampling())
    backend.decode([Slice(0, 0, prompt[:-1], False)])
    backend.fork(0, 1)
    backend.decode([Slice(0, len(prompt) - 1, [99] * 5, False)])
    row = row_of(backend, [Slice(1, len(prompt) - 1, prompt[-1:], True)])
    assert int(row.argmax()) == straight[0]


def test_a_saved_state_comes_back_and_another_models_does_not(
    backend: Backend, folder: Path, prompt: list[int]
) -> None:
    from runtime.backends.onnx import open_onnx

    backend.decode([Slice(0, 0, prompt[:-1], False)])
    state = backend.save(0)
    assert state is not None
    assert backend.save(0, len(state)) == state
    assert backend.save(0, len(state) - 1) is None
    last = Slice(0, len(prompt) - 1, prompt[-1:], True)
    expected = row_of(backend, [last])
    again = open_onnx(folder, context=1024, sequences=2, threads=1, parameters=7, quant="fp32")
    again.restore(1, state)
    found = row_of(again, [Slice(1, last.position, last.ids, True)])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    again.close()
    for damaged in (b"other" + bytes(state), bytes(state)[:-3], b""):
        with pytest.raises(CannotMeetError):
            backend.restore(2, damaged)
    narrow = open_onnx(folder, context=8, sequences=1, threads=1)
    with pytest.raises(CannotMeetError):
        narrow.restore(0, state)
    narrow.close()


def test_a_full_cache_is_told_and_nothing_of_the_batch_is_kept(folder: Path, prompt: list[int]) -> None:
    from runtime.backends.onnx import open_onnx

    small = open_onnx(folder, context=len(prompt) + 4, sequences=2, threads=1)
    small.decode([Slice(0, 0, prompt, False)])
    with pytest.raises(CannotMeetError, match=f"cache of {len(prompt) + 4} tokens is full"):
        small.decode([Slice(1, 0, [60] * 5, True)])
    assert small.length(1) == 0
    small.decode([Slice(1, 0, [60] * 4, True)])
    small.rewind(0, 0)
    small.decode([Slice(1, 4, [60] * 3, True)])
    small.close()


def test_an_abort_ends_the_decode_and_the_next_goes_on(backend: Backend, prompt: list[int]) -> None:
    expected = row_of(backend, [Slice(0, 0, prompt, True)])
    backend.rewind(0, 0)
    backend.abort()
    with pytest.raises(Aborted):
        backend.decode([Slice(0, 0, prompt, True)])
    backend.rewind(0, 0)
    np.testing.assert_allclose(row_of(backend, [Slice(0, 0, prompt, True)]), expected, atol=1e-4)


def test_an_abort_from_within_the_graph(backend: Backend, prompt: list[int]) -> None:
    """The flag of the run is all that tells: as another thread sets it between two operators."""
    backend._options.terminate = True  # type: ignore[attr-defined]
    with pytest.raises(Aborted):
        backend.decode([Slice(0, 0, prompt, True)])
    backend.rewind(0, 0)
    assert backend.decode([Slice(0, 0, prompt, True)]) != [None]


@pytest.mark.parametrize(
    "slices",
    [[], [Slice(0, 3, [5], True)], [Slice(0, 0, [], True)], [Slice(9, 0, [5], True)], [Slice(0, 0, [5] * 513, True)]],
)
def test_a_caller_that_breaks_the_protocol_is_told(backend: Backend, slices: list[Slice]) -> None:
    with pytest.raises(InternalError):
        backend.decode(slices)


def test_a_closed_model_is_told(folder: Path) -> None:
    from runtime.backends.onnx import open_onnx

    backend = open_onnx(folder, context=64, sequences=1, threads=1)
    backend.close()
    backend.close()
    with pytest.raises(InternalError, match="closed"):
        backend.decode([Slice(0, 0, [5], True)])


def test_what_does_not_fit_is_told_in_numbers(folder: Path) -> None:
    from runtime.backends.onnx import open_onnx

    with pytest.raises(ResourceError, match="MiB for its weights"):
        open_onnx(folder, context=64, sequences=1, memory_limit=1 << 20)


# --- hostile folders ---


def spoiled(folder: Path, tmp_path: Path) -> Path:
    target = tmp_path / "model"
    shutil.copytree(folder, target)
    return target


def test_a_truncated_file_of_weights_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    from runtime.backends.onnx_check import check_onnx

    target = spoiled(folder, tmp_path)
    data = target / "model.onnx.data"
    data.write_bytes(data.read_bytes()[:5_000_000])
    with pytest.raises(ModelError, match="cannot be loaded") as told:
        check_onnx(target, tmp_path / "cache")
    assert "\n" not in told.value.detail
    assert not list((tmp_path / "cache").rglob("*.json"))


def test_a_truncated_graph_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    from runtime.backends.onnx_check import check_onnx

    target = spoiled(folder, tmp_path)
    (target / "model.onnx").write_bytes((target / "model.onnx").read_bytes()[:9000])
    with pytest.raises(ModelError, match="cannot be loaded"):
        check_onnx(target, tmp_path / "cache")


@pytest.mark.parametrize("way", ["absolute", "upwards", "link"])
def test_weights_outside_of_the_folder_are_refused(folder: Path, tmp_path: Path, way: str) -> None:
    import onnx

    from runtime.backends.onnx_check import check_onnx

    target = spoiled(folder, tmp_path)
    outside = tmp_path / "outside.data"
    (target / "model.onnx.data").rename(outside)
    if way == "link":
        (target / "model.onnx.data").symlink_to(outside)
    else:
        graph = onnx.load(str(target / "model.onnx"), load_external_data=False)
        for tensor in graph.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = str(outside) if way == "absolute" else "../outside.data"
        onnx.save(graph, str(target / "model.onnx"))
    with pytest.raises(ModelError, match=r"cannot be loaded.*xternal data"):
        check_onnx(target, tmp_path / "cache")


def test_weights_that_are_no_numbers_are_refused(folder: Path, tmp_path: Path) -> None:
    from runtime.backends.onnx_check import check_onnx

    target = spoiled(folder, tmp_path)
    data = bytearray((target / "model.onnx.data").read_bytes())
    data[:] = np.full(len(data) // 4, np.nan, np.float32).tobytes()
    (target / "model.onnx.data").write_bytes(data)
    with pytest.raises(ModelError, match="no numbers"):
        check_onnx(target, tmp_path / "cache")


def test_a_good_verdict_is_kept_and_a_changed_folder_is_tried_anew(folder: Path, tmp_path: Path) -> None:
    from runtime.backends import onnx_check

    target = spoiled(folder, tmp_path)
    first = onnx_check.check_onnx(target, tmp_path / "cache")
    assert (first.quant, first.parameters > 2_000_000, len(first.sha256)) == ("fp32", True, 64)
    assert onnx_check.check_onnx(target, tmp_path / "cache") == first
    (target / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelError):
        onnx_check.check_onnx(target, tmp_path / "cache")


def test_a_graph_of_another_kind_is_refused(folder: Path, tmp_path: Path) -> None:
    from runtime.backends.onnx import open_onnx

    target = spoiled(folder, tmp_path)
    config = target / "genai_config.json"
    for old, new, told in (
        ('"num_hidden_layers": 4', '"num_hidden_layers": 5', "takes no past_key_values.4"),
        ('"num_hidden_layers": 4', '"num_hidden_layers": 3', "takes past_key_values.3"),
        ('"num_key_value_heads": 2', '"num_key_value_heads": 4', "do not have 4 heads"),
        ('"past_present_share_buffer": true', '"past_present_share_buffer": false', "share one buffer"),
    ):
        text = (folder / "genai_config.json").read_text()
        assert old in text
        config.write_text(text.replace(old, new))
        with pytest.raises(ModelError, match=told):
            open_onnx(target, context=64, sequences=1, threads=1)

"""The sampler in numpy: what each link of the chain leaves, draws by their probabilities, and the C library's chain."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.backends.llama_library import llama_library
from runtime.backends.llama_sampler import LlamaSampler
from runtime.backends.numpy_sampler import NumpySampler, candidates
from runtime.request import Sampling

LOGITS = np.log(np.array([0.05, 0.4, 0.1, 0.3, 0.15], np.float32))


def left(**fields: float) -> list[int]:
    return sorted(candidates(LOGITS, Sampling(temperature=1.0, **fields))[0].tolist())  # type: ignore[arg-type]


def test_each_link_leaves_what_it_says() -> None:
    assert left() == [0, 1, 2, 3, 4]
    assert left(top_k=0) == left(top_k=9) == [0, 1, 2, 3, 4]
    assert left(top_k=2) == [1, 3]
    assert left(top_p=0.69) == [1, 3]
    assert left(top_p=0.71) == [1, 3, 4]
    assert left(top_p=0.0) == [1]
    assert left(top_p=1.0) == [0, 1, 2, 3, 4]
    assert left(min_p=0.3) == [1, 3, 4]
    assert left(min_p=1.0) == [1]
    assert left(min_p=0.0) == [0, 1, 2, 3, 4]


def test_top_p_counts_what_top_k_left() -> None:
    # of 0.4 and 0.3 the first alone is 0.57
    assert left(top_k=2, top_p=0.56) == [1]
    assert left(top_k=2, top_p=0.6) == [1, 3]


def test_greedy_is_the_smallest_id_of_the_largest_logit() -> None:
    tied = np.array([0.0, 3.0, 1.0, 3.0], np.float32)
    assert NumpySampler(Sampling()).sample(tied) == 1
    assert NumpySampler(Sampling(temperature=2.0, top_k=1, seed=5)).sample(tied) == 1
    assert NumpySampler(Sampling(temperature=1.0, top_k=2)).sample(np.full(4, -np.inf, np.float32)) == 0


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_probabilities(temperature: float) -> None:
    sampler = NumpySampler(Sampling(temperature=temperature, seed=3))
    counts = np.bincount([sampler.sample(LOGITS) for _ in range(20_000)], minlength=5)
    wanted = np.exp(LOGITS / temperature)
    np.testing.assert_allclose(counts / 20_000, wanted / wanted.sum(), atol=0.02)


def test_a_seed_repeats_draws_and_another_differs() -> None:
    def draws(seed: int) -> list[int]:
        sampler = NumpySampler(Sampling(temperature=1.0, seed=seed))
        return [sampler.sample(LOGITS) for _ in range(64)]

    assert draws(7) == draws(7)
    assert draws(7) != draws(8)
    assert draws(-1) == draws(2**32 - 1)


def test_what_is_forbidden_is_never_drawn() -> None:
    logits = LOGITS.copy()
    logits[[1, 3]] = -np.inf
    sampler = NumpySampler(Sampling(temperature=5.0, seed=1))
    assert {sampler.sample(logits) for _ in range(500)} == {0, 2, 4}


LINKS = st.builds(
    Sampling,
    temperature=st.just(1.0),
    top_k=st.none() | st.integers(0, 400),
    top_p=st.none() | st.floats(0.01, 1.0),
    min_p=st.none() | st.floats(0.0, 0.9),
)


@given(LINKS, st.integers(0, 2**32 - 1), st.integers(2, 2000))
def test_the_chain_leaves_what_the_c_librarys_leaves(sampling: Sampling, seed: int, size: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 3, size).astype(np.float32)
    ours = set(candidates(logits, sampling)[0].tolist())
    theirs = _left_by_library(logits, sampling)
    # sums of probabilities are rounded in another way there: one id more or less at the border
    assert len(ours ^ theirs) <= 1


def _left_by_library(logits: np.ndarray, sampling: Sampling) -> set[int]:
    library = llama_library()
    c = library.c
    sampler = LlamaSampler(library, sampling)
    listed = np.zeros(len(logits), np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)]))
    listed["id"], listed["logit"] = np.arange(len(logits)), logits
    data = ctypes.cast(ctypes.c_void_p(listed.ctypes.data), c.llama_token_data_p)
    array = c.llama_token_data_array(data, len(logits), -1, False)
    try:
        c.llama_sampler_apply(sampler.handle, ctypes.byref(array))
        return {int(array.data[at].id) for at in range(array.size)}
    finally:
        sampler.free()

"""The scripted backend keeps the protocol that it checks others by."""

from __future__ import annotations

import numpy as np
import pytest

from models.errors import CannotMeetError, InternalError
from runtime.backends.backend import Aborted, Slice
from runtime.backends.fake import IM_END, THINK, ByteVocabulary, FakeBackend, scripted
from runtime.request import Sampling

VOCABULARY = ByteVocabulary(merges=(b"ab", b"abc", "考".encode()))


def backend(**more: int | bool) -> FakeBackend:
    return FakeBackend(scripted(VOCABULARY, "<think>abc</think>d", answer="e"), VOCABULARY, **more)  # type: ignore[arg-type]


def test_vocabulary_goes_round_and_users_spell_no_marker() -> None:
    text = "abcab考🙂<think>x<|im_end|>"
    for markers in (True, False):
        assert VOCABULARY.text(VOCABULARY.tokenize(text, markers=markers)) == text
    assert VOCABULARY.marker_ids.isdisjoint(VOCABULARY.tokenize(text, markers=False))
    assert THINK in VOCABULARY.tokenize(text, markers=True)
    assert len(VOCABULARY.tokenize("abc考", markers=False)) == 2


def test_script_follows_its_plan_and_answers_after_a_forced_close() -> None:
    script = scripted(VOCABULARY, "<think>abc</think>d", answer="e")
    header = VOCABULARY.tokenize("<|im_start|>assistant\n", markers=True)

    def said(text: str) -> str:
        return VOCABULARY.text([script((*header, *VOCABULARY.tokenize(text, markers=True)))[0]])

    assert [said(""), said("<think>"), said("<think>abc</think>")] == ["<think>", "abc", "d"]
    assert said("<think>abc</think>d") == VOCABULARY.spelling(IM_END)
    assert said("<think>ab\nEnd</think>\n\n") == "e"
    assert said("<think>ab\nEnd</think>\n\ne") == VOCABULARY.spelling(IM_END)


def test_cells_are_shared_by_forks_and_bounded() -> None:
    fake = backend(context=8, sequences=3)
    fake.decode([Slice(0, 0, [1, 2, 3, 4], want_logits=True)])
    fake.fork(0, 1)
    fake.decode([Slice(0, 4, [5], want_logits=True), Slice(1, 4, [6, 7], want_logits=True)])
    assert (fake.ids(0), fake.ids(1)) == ([1, 2, 3, 4, 5], [1, 2, 3, 4, 6, 7])
    with pytest.raises(CannotMeetError):
        fake.decode([Slice(0, 5, [8, 9], want_logits=False)])
    fake.rewind(1, 4)
    fake.decode([Slice(0, 5, [8, 9], want_logits=False)])
    state = fake.save(1)
    assert state is not None and fake.save(1, most=len(state) - 1) is None
    fake.restore(2, state)
    assert fake.ids(2) == [1, 2, 3, 4]


def test_breaches_of_the_protocol_are_told() -> None:
    fake = backend(batch=4, can_batch=False, can_fork=False, can_rewind=False)
    for batch in (
        [Slice(0, 1, [1], want_logits=True)],
        [Slice(0, 0, [1] * 5, want_logits=True)],
        [Slice(0, 0, [1], want_logits=True), Slice(1, 0, [1], want_logits=True)],
        [],
    ):
        with pytest.raises(InternalError):
            fake.decode(batch)
    fake.decode([Slice(0, 0, [1, 2], want_logits=False)])
    with pytest.raises(InternalError):
        fake.logits(0)
    with pytest.raises(InternalError):
        fake.fork(0, 1)
    with pytest.raises(CannotMeetError):
        fake.rewind(0, 1)
    fake.rewind(0, 0)
    fake.close()
    with pytest.raises(InternalError):
        fake.decode([Slice(0, 0, [1], want_logits=False)])


def test_abort_interrupts_the_next_decode_once() -> None:
    fake = backend()
    fake.abort()
    with pytest.raises(Aborted):
        fake.decode([Slice(0, 0, [1], want_logits=True)])
    fake.rewind(0, 0)
    assert fake.decode([Slice(0, 0, [1], want_logits=True)]) == [0]


def test_sampling_is_greedy_or_seeded() -> None:
    fake = backend()
    row = fake.decode([Slice(0, 0, VOCABULARY.tokenize("<|im_start|>assistant\n", markers=True), want_logits=True)])[0]
    assert row is not None
    assert fake.sample(row, fake.new_sampler(Sampling())) == THINK == int(np.argmax(fake.logits(row)))
    warm = Sampling(temperature=5.0, seed=3)
    draws = [
        [fake.sample(row, sampler) for _ in range(20)] for sampler in (fake.new_sampler(warm), fake.new_sampler(warm))
    ]
    assert draws[0] == draws[1]
    assert len(set(draws[0])) > 1

"""What is looked at and changed in a row of logits, and the pure rules over it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.backends.fake import ByteVocabulary
from runtime.control.hesitation import WORDS, hesitation_ids, hesitations
from runtime.control.repetition import repetition_penalties
from runtime.control.scores import Scores
from runtime.control.soft_close import SoftClose, ramp_level
from runtime.request import Endings
from tests.fakes.scripted_model import VOCABULARY, ask, model, reply_of, responder


class Row:
    """As much of a backend as scores need; counts how often it is read."""

    def __init__(self, *logits: float) -> None:
        self.memory = np.array(logits, np.float32)
        self.reads = 0

    def logits(self, row: int) -> npt.NDArray[np.float32]:
        self.reads += 1
        return self.memory


def test_nothing_is_read_before_it_is_asked_for() -> None:
    row = Row(1.0, 3.0, 2.0)
    scores = Scores(row, 0)  # type: ignore[arg-type]
    assert row.reads == 0
    assert (scores.top(), scores.of(2)) == (3.0, 2.0)
    assert row.reads == 1


def test_changes_are_made_in_the_backends_own_memory() -> None:
    row = Row(1.0, 3.0, 2.0)
    scores = Scores(row, 0)  # type: ignore[arg-type]
    scores.lift(0, 2.5)
    scores.lift(1, 2.5)
    scores.lower(np.array([1], np.int64), 0.5)
    scores.punish({2: 1.5})
    assert row.memory.tolist() == [2.5, 2.5, 0.5]


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=40))
def test_probabilities_add_up(logits: list[float]) -> None:
    scores = Scores(Row(*logits), 0)  # type: ignore[arg-type]
    total = sum(math.exp(scores.log_probability(token)) for token in range(len(logits)))
    assert total == pytest.approx(1.0, abs=1e-4)


def test_all_odds_are_reckoned_only_for_an_answer_that_tells_how_sure_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    reckoned: list[int] = []
    log_probability = Scores.log_probability

    def noted(scores: Scores, token: int) -> float:
        reckoned.append(token)
        return log_probability(scores, token)

    monkeypatch.setattr(Scores, "log_probability", noted)
    ruled = Endings(margin=0.1, ramp=True, hesitation=1.0, least=0)
    for confidence, looks in ((False, ""), (True, "It is 2")):
        request = replace(ask(tokens=8), endings=ruled, confidence=confidence)
        reply = reply_of(responder(model("<think>\na\nb\n</think>\n\nIt is 2")).respond(request))
        assert reply.answer == "It is 2"
        assert VOCABULARY.text(reckoned).strip() == looks
        assert (reply.confidence is not None) == confidence


def test_a_soft_close_needs_two_boundaries_running() -> None:
    soft = SoftClose(margin=0.25, least=10)
    assert not soft.looks(9) and soft.looks(10)
    assert [soft.seen(margin) for margin in (0.2, 0.3, 0.2, 0.25)] == [False, False, False, True]
    assert not soft.seen(0.0)


def test_the_ramp_rises_and_stays_below_the_top() -> None:
    assert ramp_level(0.69, 5.0, -2.0) == -2.0
    levels = [ramp_level(share, 5.0, -2.0) for share in (0.7, 0.8, 0.9, 1.0)]
    assert levels == sorted(levels)
    assert levels[0] < -1.9 and 4.5 < levels[-1] < 4.75
    assert ramp_level(1.0, 5.0, 4.9) == 4.9


def test_a_run_that_would_go_on_is_punished_by_its_length() -> None:
    assert repetition_penalties([1, 2, 3, 9, 1, 2, 3]) == {9: pytest.approx(0.8)}
    longer = repetition_penalties([7, 1, 2, 3, 9, 4, 7, 1, 2, 3])
    assert longer == {9: pytest.approx(0.8 * 1.75)}
    assert repetition_penalties([1, 2, 3, 4, 5]) == {}
    assert repetition_penalties([5] * 40)[5] == 50.0


@given(st.lists(st.integers(0, 5), max_size=120))
def test_penalties_are_those_of_the_longest_run(ids: list[int]) -> None:
    expected: dict[int, int] = {}
    for at in range(len(ids) - 1):
        length = 0
        while length < 24 and length <= at and ids[at - length] == ids[len(ids) - 1 - length]:
            length += 1
        if length >= 3:
            expected[ids[at + 1]] = max(expected.get(ids[at + 1], 0), length)
    assert repetition_penalties(ids) == {
        token: pytest.approx(min(50.0, 0.8 * 1.75 ** (length - 3))) for token, length in expected.items()
    }


def test_hesitant_words_are_found_however_they_are_written() -> None:
    vocabulary = ByteVocabulary(merges=(b"Wait", b" wait", b"waiter", b" but", "しかし".encode(), b"\nHmm"))
    pieces = {vocabulary.piece(int(token)) for token in hesitation_ids(vocabulary)}
    assert pieces == {b"Wait", b" wait", b" but", "しかし".encode(), b"\nHmm"}
    assert all(word == word.lower() for word in WORDS)


def test_hesitations_are_counted() -> None:
    assert hesitations("Wait, let me check. Hmm. 待って、もう一度。") == 4
    assert hesitations("The waiter is waiting; 235 bolts.") == 0

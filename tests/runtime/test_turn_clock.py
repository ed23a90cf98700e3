"""A turn that stands still keeps its rates."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from runtime.pace import Speed
from runtime.turn.clock import TurnClock, TurnTimes


class Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def draw(clock: TurnClock, hand: Hand, tokens: int, step: float = 0.1) -> None:
    """Tokens of a reply: the decode of the one before, then the draw."""
    for _ in range(tokens):
        hand.now += step
        clock.drew(counts=True)


def begun(hand: Hand, *, speed: Speed | None = None) -> TurnClock:
    """Its prompt of 100 tokens took a second."""
    clock = TurnClock(hand, speed=speed)
    clock.progressed(0, 100)
    hand.now += 1.0
    clock.progressed(100, 100)
    return clock


def test_a_pause_and_a_trial_are_no_decoding() -> None:
    hand = Hand()
    clock = begun(hand)
    draw(clock, hand, 20)
    for stand in (60.0, 0.5):
        hand.now += stand + 0.1  # and the decode of the last token
        clock.stood_still()
        clock.drew(counts=True)
        draw(clock, hand, 9)
    timings = clock.timings(fresh=100, thinking=None, answer=None)
    assert timings.decode_tps == pytest.approx(10.0)
    assert timings.prefill_tps == pytest.approx(100.0)
    assert timings.total_s == pytest.approx(1.0 + 4.0 + 60.5)  # the deadline's seconds run on


def test_a_turn_that_ends_in_a_pause_does_not_count_it() -> None:
    hand = Hand()
    clock = begun(hand)
    draw(clock, hand, 20)
    hand.now += 60.1
    timings = clock.timings(fresh=100, thinking=None, answer=None)
    assert timings.decode_tps == pytest.approx(20 / 2.1)  # the decode of the last token was under way


@pytest.mark.parametrize("speed", [None, Speed(prefill_tps=50.0, decode_tps=10.0)])
def test_a_pause_in_the_prefill_is_none_of_it(speed: Speed | None) -> None:
    hand = Hand()
    clock = TurnClock(hand, speed=speed)
    clock.progressed(0, 200)
    for done, stand in ((100, 0.0), (150, 30.0), (200, 0.0)):
        hand.now += stand + (2.0 if done == 100 else 1.0)
        if stand:
            clock.stood_still()
        clock.progressed(done, 200)
    draw(clock, hand, 10)
    timings = clock.timings(fresh=200, thinking=None, answer=None)
    assert timings.prefill_tps == pytest.approx(50.0)
    assert timings.decode_tps == pytest.approx(10.0)
    assert timings.prefill_s == pytest.approx(34.0)


def test_where_it_stood_is_kept_and_what_is_read_again_is_no_decoding() -> None:
    hand = Hand()
    clock = begun(hand)
    draw(clock, hand, 10)
    thinking, answer = 101.1, 101.6
    hand.now += 5.1
    clock.stood_still()
    clock.drew(counts=True)
    draw(clock, hand, 9)
    hand.now += 7.1
    times = clock.times(thinking=thinking, answer=None)
    assert times.stood(1.0, times.used) == pytest.approx(12.0)
    assert times.stood(1.0, answer - 100.0) == 0.0
    again = TurnTimes(**json.loads(json.dumps(asdict(times))))
    assert again == times

    hand.now += 1000.0
    other = TurnClock(hand, earlier=again)
    other.progressed(0, 120)
    for done in (60, 120):
        hand.now += 3.0
        other.progressed(done, 120)
    other.drew(counts=True)  # what is read again ends with the logits of this draw
    draw(other, hand, 9)
    timings = other.timings(fresh=0, thinking=None, answer=None)
    assert timings.decode_tps == pytest.approx(30 / 2.9, rel=0.05)
    assert timings.total_s == pytest.approx(1.0 + 2.0 + 5.0 + 7.1 + 6.0 + 0.9)

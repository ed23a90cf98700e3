"""The seconds to go, by a clock that a test moves."""

from __future__ import annotations

from quantize.time_left import with_time_left


def test_the_pace_so_far_is_taken_to_go_on() -> None:
    now = [100.0]
    told: list[tuple[float, float | None]] = []
    progress = with_time_left(lambda share, left: told.append((share, left)), lambda: now[0])
    for second, share in ((0, 0.0), (1, 0.001), (10, 0.25), (20, 0.5), (30, 1.0), (31, 1.1)):
        now[0] = 100.0 + second
        progress(share)
    assert [left for _, left in told] == [None, None, 30.0, 20.0, 0.0, 0.0]
    assert told[2][0] == 0.25

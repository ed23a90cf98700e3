"""How far a long piece of work is."""

from __future__ import annotations

import pytest

from quantize.cli import parse_size
from quantize.progress import duration, progress_text


def test_a_step_tells_its_share_and_the_time_left() -> None:
    assert progress_text("layer 2 of 4", 0.25, 30.0) == "layer 2 of 4 [#####...............] 25%, 2 min left"
    assert progress_text("x", 0.0, 5.0) == "x [....................] 0%"
    assert progress_text("x", 1.0, 5.0) == "x [####################] 100%"
    assert progress_text("x", 0.01, 5.0).endswith("1%")
    assert progress_text("x", 7.0, 5.0) == progress_text("x", 1.0, 5.0)


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.2, "0 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (7500, "2 h 5 min")]
)
def test_times_are_told_as_people_say_them(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_sizes_are_read() -> None:
    assert parse_size("4G") == 4_000_000_000
    assert parse_size("1.5 mb") == 1_500_000
    assert parse_size("2GiB") == 2 << 30
    assert parse_size("700") == 700
    for text in ("", "0", "4X", "-3G", "G", "9" * 400 + "G"):
        with pytest.raises(ValueError, match="4G"):
            parse_size(text)

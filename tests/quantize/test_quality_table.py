"""What the report's table calls its rows, and how it writes small numbers."""

from __future__ import annotations

from quantize.quality.report_table import divergence_text, told_apart


def test_labels_that_are_cut_to_the_same_are_numbered() -> None:
    labels = ["F16", "Q2_K t…nsate", "Q2_K t…nsate", "Q4_K_M"]
    assert told_apart(labels) == ["F16", "Q2_K (1)", "Q2_K (2)", "Q4_K_M"]
    assert told_apart(["F16", "Q8_0"]) == ["F16", "Q8_0"]


def test_small_divergences_keep_two_digits() -> None:
    assert [divergence_text(one) for one in (0.0, 3.14e-5, 0.0136, 0.25, 2.345)] == [
        "0.00",
        "3.1e-05",
        "0.014",
        "0.25",
        "2.35",
    ]

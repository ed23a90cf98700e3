"""Which form is recommended, from rows whose answers and seconds are known."""

from __future__ import annotations

import pytest

from models.columns import cells
from models.errors import CannotMeetError, ResourceError
from quantize.bench_command import memory_bytes
from quantize.quality.card import CardFacts
from quantize.quality.pareto import front
from quantize.quality.plan import MeasureSettings
from quantize.quality.recommend import recommend
from quantize.quality.report import Report
from quantize.quality.row import FormRow
from runtime.problems import Problem

COUNT = 100
MB = 1 << 20


def row(label: str, megabytes: int, right: int, seconds: float, *, reference: bool = False) -> FormRow:
    replies = [
        {
            "id": str(number), "correct": number < right, "seconds": seconds, "tokens": 50, "thinking_tokens": 40,
            "circled": False, "complete": True, "formed": True,
        }
        for number in range(COUNT)
    ]  # fmt: skip
    answers = {"name": "M", "replies": replies, "peak_bytes": (megabytes + 50) * MB, "decode_tps": 9.0,
               "prefill_tps": 90.0, "backend": "llama", "licence": "apache-2.0", "base_model": ""}  # fmt: skip
    told = {"kl_mean": 0.01, "kl_p99": 0.2, "kl_thinking": 0.01, "kl_answer": 0.0, "top1": 0.99,
            "kl_ci": [0.0, 0.1], "kl_tokens": 500}  # fmt: skip
    return FormRow(
        f"gguf:{label}", f"gguf:{label}", f"/m/M-{label}.gguf", megabytes * MB, 4.0, "ab" * 32, reference,
        answers, None if reference else told,
    )  # fmt: skip


def report(*rows: FormRow) -> Report:
    problems = tuple(Problem(str(number), "?", "1") for number in range(COUNT))
    return Report(rows, MeasureSettings(problems), "a machine")


F16 = row("F16", 1000, 90, 8.0, reference=True)
Q4 = row("Q4_K_M", 300, 89, 3.0)
Q2 = row("Q2_K", 200, 50, 2.0)


def test_of_equals_the_smallest_is_taken_and_the_next_is_told() -> None:
    found = recommend(report(F16, Q4, Q2))
    assert found.row is Q4
    assert found.runner_up is F16
    assert "F16" in found.text() and "89.0%" in found.text()
    assert 2 <= len(found.reasons) <= 3


def test_fewer_right_answers_beyond_chance_are_no_equals() -> None:
    assert recommend(report(F16, row("Q4_K_M", 300, 80, 3.0))).row is F16


def test_memory_and_deadline_take_forms_out() -> None:
    assert recommend(report(F16, Q4, Q2), memory=300 * MB).row is Q2
    assert recommend(report(F16, Q4, Q2), deadline=2.5).row is Q2
    assert recommend(report(F16, Q4, Q2), deadline=4.0).row is Q4


def test_it_says_where_the_choice_would_change() -> None:
    text = recommend(report(F16, Q4, Q2)).text()
    assert "below" in text and "Q2_K" in text and "deadline" in text


def test_what_nothing_can_meet_is_refused_with_what_would() -> None:
    with pytest.raises(ResourceError, match="would do") as memory:
        recommend(report(F16, Q4, Q2), memory=100 * MB)
    assert memory.value.exit_code == 4
    with pytest.raises(CannotMeetError, match="would do") as deadline:
        recommend(report(F16, Q4, Q2), deadline=0.5)
    assert deadline.value.exit_code == 7


def test_the_table_is_80_columns_and_the_json_has_the_contract() -> None:
    long = row("Q4_K_M", 300, 89, 3.0)
    found = report(F16, long, FormRow("gguf:Q3_K_S", "gguf:Q3_K_S a-very-long-file-name-Q3_K_S", "/x", 1, 3.4))
    assert max(map(cells, found.text().splitlines())) <= 80
    for one in found.as_json()["rows"]:
        assert {"form", "bytes", "bpw", "kl_mean", "kl_p99", "kl_thinking", "kl_answer", "top1", "accuracy", "ci",
                "thinking_tokens", "loop_rate", "peak_mb", "decode_tps", "seconds_per_correct"} <= set(one)  # fmt: skip
    assert found.as_json()["rows"][2]["accuracy"] is None


def test_the_card_has_front_matter_the_table_and_how_to_run_it() -> None:
    card = report(F16, Q4).card(CardFacts("M", quantized_by="somebody", made=("by a | quantizer",)))
    assert card.startswith('---\nlicense: "apache-2.0"\n')
    for part in ("pipeline_tag", "M-Q4_K_M.gguf", "89.0%", "kangae ask", "llama-cli", "ollama create", "lms import"):
        assert part in card
    assert "/m/" not in card


def test_the_front_holds_what_nothing_beats() -> None:
    points = [(3.0, 90.0, F16), (1.0, 50.0, Q2), (2.0, 40.0, Q4), (2.5, 90.0, Q4)]
    assert [point[0] for point in front(points)] == [1.0, 2.5]


def test_pictures_are_drawn() -> None:
    pytest.importorskip("matplotlib")
    files = report(F16, Q4, Q2).plots()
    assert set(files) == {"quant-bytes.png", "quant-bytes.svg", "quant-seconds.png", "quant-seconds.svg"}
    assert b"Q4_K_M" in files["quant-bytes.svg"]


def test_sizes_of_memory() -> None:
    assert (memory_bytes("4G"), memory_bytes("512M")) == (4 << 30, 512 << 20)

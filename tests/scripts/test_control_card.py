"""The figures of thinking control: their tables, and the document they are written in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import card
import control_card


def row(method: str, budget: int | None, **judged: Any) -> dict[str, Any]:
    return {
        "method": method, "budget": budget, "n": 510, "accuracy": 0.5, "ci": [0.4, 0.6], "thinking_tokens": 110.4,
        "tokens_per_correct": 240.2, "seconds_per_correct": 0.0421, "closes": {"natural": 2, "budget": 0, "probe": 3},
    } | judged  # fmt: skip


def trial(burn: bool, late: int, prompt: int | None) -> dict[str, Any]:
    one = {
        "setting": "2 s", "prompt_tokens": prompt, "runs": 25, "refused": 3, "empty": 1, "late": late,
        "worst_lateness_ms": -12.4, "median_share": 0.913, "median_answer_tokens": 17.0, "closes": {"deadline": 22},
    }  # fmt: skip
    refused = one | {"median_share": None, "median_answer_tokens": None, "prompt_tokens": 1000}
    return {"burn": burn, "rows": [one, refused], "cancel": None}


def reply(answer: str, expected: str, over: int = 0) -> dict[str, Any]:
    flags = ["unsure: the thought was ended by its budget, and the model is 40% sure of the answer"] if over else []
    right = answer == expected
    return {
        "answer": answer, "expected": expected, "thinking": "", "budget": {"overshoot_tokens": over}, "flags": flags,
        "correct": right,
    }  # fmt: skip


def figures() -> dict[str, Any]:
    judged = {"flagged": 4, "flag_precision": 0.75, "false_accept": 0.02, "flag_reasons": {"unsure": 3, "leak": 1}}
    replies = [reply("583 bolts", "12 nuts"), reply("Monday", "7"), reply("<think>", "5", over=2), reply("8", "9")]
    cancel = {"prompt_tokens": 4000, "runs": 10, "missed": 0, "median_ms": 101.2, "worst_ms": 480.0}
    return {
        **{f"form_{budget}": replies for budget in control_card.FORMS},
        "half": {"rows": [row("cut", 110), row("cut", None), row("message", 110), row("message", None)]},
        "early": {"rows": [row("message", None), row("auto", None, **judged)]},
        "votes": {"rows": [row("message", None), row("votes:5", None, **judged)]},
        "mix": {"rows": [row("message", None), row("auto", None, **judged, n=680)]},
        "deadlines": trial(False, 0, 32),
        "deadlines_burnt": trial(True, 1, 32),
        "shipped": trial(False, 0, None),
        "shipped_burnt": trial(True, 0, None),
        "cancel": {"burn": False, "rows": [], "cancel": cancel},
        "cost": {"device": "a CPU, 2 cores", "pairs": 10, "ratio": 0.9912, "ratio_low": 0.97, "ratio_high": 1.01},
        "profile": {"saved": "x", "profile": {"reasons": {"ramp": "it changes nothing", "efforts": "so it is"}}},
    }


def test_tables_hold_what_was_measured() -> None:
    found = figures()
    assert "| 8 | 4 | 50.0 | 2 | 1 |" in control_card.forms_table(found)
    assert "| cut | 110 | 510 | 50.0 | 40.0–60.0 | 110 | 240 | 42 | natural 2, probe 3 |" in control_card.methods_table(
        found["half"]["rows"]
    )
    assert "| 8 | 1 of 4 | 100.0 % | 100.0 % | 25.0 % |" in control_card.doubts_table(found)
    assert "| auto | 4 of 680 | 75.0 | 2.0 | unsure 3, leak 1 |" in control_card.flags_table(found["mix"]["rows"])
    deadlines = control_card.deadlines_table(found, ("deadlines", "deadlines_burnt"))
    assert "| 2 s | 32 | no | 25 | 3 | 1 | 0 | -12 ms | 91.3 % | 17 |" in deadlines
    assert "| 2 s | 1000 | yes | 25 | 3 | 1 | 1 | -12 ms | – | – |" in deadlines
    assert "| its own |" in control_card.deadlines_table(found, ("shipped",))
    assert "| 0.991 (0.970–1.010) |" in control_card.cost_table(found)
    assert "median 101 ms, worst 480 ms" in control_card.cost_table(found)


def test_every_measure_has_its_command_in_the_document() -> None:
    commands = control_card.commands_table()
    assert all(f"| {measure.name} | {measure.written()} |" in commands for measure in control_card.MEASURES)


def test_the_natural_length_stands_beside_its_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "control.md"
    copy.write_text(control_card.DOCUMENT.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(control_card, "DOCUMENT", copy)
    documents = control_card.documents(figures())
    half = documents[copy]["half"]
    assert half.count("| cut |") == 1 and "| message | unlimited |" in half
    card.write(documents)
    assert half in copy.read_text(encoding="utf-8")

"""The figures of the model that ships: their tables, and the two documents they are written in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import card
import tiny_card
from models.tiny.problem import SKILLS
from models.tiny.thought import PHRASES

BUDGETS = (0, 16, 32, 64, 128)


def row(budget: int | None, accuracy: float, n: int) -> dict[str, Any]:
    return {
        "budget": budget, "n": n, "accuracy": accuracy, "ci": [accuracy - 0.01, accuracy + 0.01],
        "thinking_tokens": 20.4, "tokens_per_correct": 31.6, "closes": {"natural": 3, "budget": 0}, "overshoot_max": 0,
        "leaks": 1,
    }  # fmt: skip


def budget_figures(budgets: tuple[int | None, ...], accuracy: float, n: int) -> dict[str, Any]:
    rows = [row(budget, accuracy, n) for budget in budgets]
    groups = {"skill": {"stock": rows, "add": rows}, "language": {"en": rows, "ja": rows}}
    return {"rows": rows, "groups": groups}


def figures() -> dict[str, Any]:
    continued = {"accuracy": 0.5, "n": 255, "became_right": 4, "became_wrong": 2}
    return {
        "unlimited": budget_figures((None,), 0.9652, 2040),
        "budgets": budget_figures(BUDGETS, 0.25, 1020),
        "unseen": budget_figures((None,), 0.93, 510),
        "listed": budget_figures((None,), 1.0, 340),
        "everyday": budget_figures((0, None), 0.985, 200),
        "near": budget_figures((None,), 0.475, 80),
        "asked": [{"answer": "235 bolts"}, {"answer": tiny_card.REFUSALS[1]}, {"error": "no room"}],
        **dict.fromkeys(("check_en", "check_ja", "altered", "slip", "misreading"), continued),
    }


def test_tables_hold_what_was_measured() -> None:
    found = figures()
    budgets = tiny_card.budgets_table(found)
    assert "| off | 1,020 | 25.0 | 24.0–26.0 | 20 | 32 | natural 3 |" in budgets
    assert "| unlimited | 2,040 | 96.5 |" in budgets
    assert budgets.endswith("over the budget: 0. Tags leaked: 6.")
    forms = tiny_card.forms_table(found)
    assert "| stock | 25.0 | 25.0 | 96.5 | 100.0 | 93.0 |" in forms
    assert "| **all** | 25.0 | 25.0 | **96.5** | 100.0 | 93.0 |" in forms
    worth = tiny_card.worth_table(found)
    assert "| problems refused by mistake | 1 of 3 |" in worth
    assert "4 became right, 2 became wrong, of 255" in worth
    assert "| right answers | 25.0 % | 25.0 % | 25.0 % | 25.0 % | 25.0 % | 96.5 % |" in tiny_card.short_table(found)


def test_the_commands_stand_in_the_table() -> None:
    worth = tiny_card.worth_table(figures())
    assert "| `kangae bench budget --problems tests/tiny/everyday.jsonl --budgets off,unlimited --parallel 16" in worth
    assert (
        "`kangae bench continue -n 340 --then 'Wait, check\\n' --parallel 16 --threads 1 --problems check_en.jsonl`"
        in worth
    )
    assert len({line.count(" | ") for line in worth.splitlines()}) == 1


def test_both_documents_have_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CARD", "README"):
        copy = tmp_path / name
        copy.write_text(getattr(tiny_card, name).read_text(encoding="utf-8"), encoding="utf-8")
        monkeypatch.setattr(tiny_card, name, copy)
    card.write(tiny_card.documents(figures()))
    assert "| stock | 25.0 |" in (tmp_path / "CARD").read_text(encoding="utf-8")
    assert "| right answers | 25.0 % |" in (tmp_path / "README").read_text(encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["CARD", "README"]


def test_refusals_and_skills_are_the_models() -> None:
    assert set(tiny_card.REFUSALS) == {phrases.refusal for phrases in PHRASES.values()}
    text = tiny_card.CARD.read_text(encoding="utf-8")
    assert all(f"\n| {skill} |" in text for skill in SKILLS)

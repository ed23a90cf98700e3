"""The card's figures: its tables, where they are written, and what keeps two models apart."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

import kangae
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


@pytest.mark.parametrize("measure", tiny_card.MEASURES, ids=lambda measure: measure.name)
def test_what_a_reader_can_paste_is_what_measured(measure: tiny_card.Measure) -> None:
    written = re.findall(r"`([^`]*)`", measure.written())
    words = shlex.split(written[-1])
    assert [word.replace("\\n", "\n") for word in words] == measure.words(f"{measure.name}.jsonl")
    kangae.build_parser().parse_args(words[1:])  # it ends the test where it refuses them
    drawn = ["python", "-m", "models.tiny.problems", *measure.problems]
    assert len(written) == (1 if not measure.problems else 3 if measure.language else 2)
    assert not measure.problems or shlex.split(written[0])[: len(drawn)] == drawn
    assert "|" not in measure.written()  # which would end the cell


def test_the_commands_stand_in_the_table() -> None:
    worth = tiny_card.worth_table(figures())
    assert "| `kangae bench budget --problems tests/tiny/everyday.jsonl --budgets off,unlimited --parallel 16" in worth
    assert (
        "`kangae bench continue -n 340 --then 'Wait, check\\n' --parallel 16 --threads 1 --problems check_en.jsonl`"
        in worth
    )
    assert len({line.count(" | ") for line in worth.splitlines()}) == 1


def test_only_the_places_for_figures_change() -> None:
    text = "before\n<!-- figures: a -->\nold\n<!-- end of figures -->\nafter\n"
    assert tiny_card.fill(text, {"a": "| 1 |\n\nnew"}) == text.replace("old", "| 1 |\n\nnew")


@pytest.mark.parametrize("blocks", [{}, {"b": "x"}, {"a": "x", "b": "y"}])
def test_figures_without_a_place_are_refused(blocks: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="places"):
        tiny_card.fill("<!-- figures: a -->\nold\n<!-- end of figures -->", blocks)


def test_both_documents_have_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CARD", "README"):
        copy = tmp_path / name
        copy.write_text(getattr(tiny_card, name).read_text(encoding="utf-8"), encoding="utf-8")
        monkeypatch.setattr(tiny_card, name, copy)
    tiny_card.write(figures())
    assert "| stock | 25.0 |" in (tmp_path / "CARD").read_text(encoding="utf-8")
    assert "| right answers | 25.0 % |" in (tmp_path / "README").read_text(encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["CARD", "README"]


def test_a_measure_is_taken_once_for_a_model(tmp_path: Path) -> None:
    folder = tiny_card.kept_in(tmp_path)
    folder.mkdir()
    measure = tiny_card.Measure("probe", ["models", "list"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_card, "SHARED", [])
        tiny_card.take(measure, folder)
    kept = folder / "probe.json"
    assert json.loads(kept.read_text(encoding="utf-8").splitlines()[0])
    kept.write_text("{}", encoding="utf-8")
    tiny_card.take(measure, folder)
    assert kept.read_text(encoding="utf-8") == "{}"
    assert [path.name for path in folder.iterdir()] == ["probe.json"]


def test_a_measure_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.setattr(tiny_card, "MEASURES", (tiny_card.Measure("probe", ["bench", "nonsense"]),))
    assert tiny_card.main([str(tmp_path)]) == 1
    assert re.search(r"error: .*bench nonsense.* ended with 2", capfd.readouterr().err)
    assert list(tiny_card.kept_in(tmp_path).iterdir()) == []


def test_refusals_and_skills_are_the_models() -> None:
    assert set(tiny_card.REFUSALS) == {phrases.refusal for phrases in PHRASES.values()}
    card = tiny_card.CARD.read_text(encoding="utf-8")
    assert all(f"\n| {skill} |" in card for skill in SKILLS)

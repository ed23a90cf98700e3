"""The figures of making a model small: what is measured, their tables, and the documents they are written in."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

import card
import quantize_card
from quantize.form import parse_form


def row(name: str, reference: bool = False, **told: Any) -> dict[str, Any]:
    kl = None if reference else 0.02
    return {
        "file": f"/forms/{name}", "reference": reference, "bytes": 1_845_568, "bpw": 5.151, "kl_mean": kl,
        "kl_thinking": kl, "kl_answer": kl, "kl_p99": kl, "top1": None if reference else 0.9712, "accuracy": 0.95,
        "ci": [0.931, 0.969], "thinking_tokens": 224.4, "decode_tps": 1204.3, "seconds_per_correct": 0.2312,
    } | told  # fmt: skip


def figures(*, onnx: bool = True) -> dict[str, Any]:
    """What the measures print, with a row for each of their forms."""
    listed = quantize_card.all_measures(Path("/kept"))
    found: dict[str, Any] = {
        measure.name: {"seconds": 12.4, "bytes": 1} for measure in listed if measure.command[0] == "quantize"
    }
    for measure in listed:
        if measure.command[:2] == ["bench", "quant"]:
            files = [word for word in measure.command if word.startswith("/kept/forms/")]
            rows = [row("kangae-tiny-F16.gguf", reference=True), *(row(Path(file).name) for file in files)]
            found[measure.name] = {"rows": rows, "device": "a CPU, 2 cores", "n": 510, "kl_tokens": 19_990}
    found["generic"] = {"signs": 465_126, "python": "3.11.2"}
    if not onnx:
        del found["onnx_int4"], found["onnx_int4_report"]
    return found


def change(found: dict[str, Any], name: str, **told: Any) -> None:
    for measured in found.values():
        for one in measured.get("rows", ()):
            if Path(one["file"]).name.removesuffix(".gguf") == name:
                one.update(told)


def test_every_form_that_is_held_against_the_reference_is_made_before() -> None:
    made: set[str] = set()
    for measure in quantize_card.all_measures(Path("/kept")):
        words = list(measure.command)
        if words[0] == "quantize":
            made.add(words[words.index("-o") + 1])
            parse_form(words[words.index("--to") + 1])
            assert "--force" in words  # what a kill left behind does not stand in the way
        elif words[0] == "bench":
            assert {word for word in words if word.startswith("/kept/")} <= made
        else:
            made.add(words[1])
    assert len(made) == 2 * 7 + 2 * 2 + 1 + 2 * 3 + 1


def test_what_is_at_hand_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantize_card, "find_spec", lambda name: None)
    assert not any(measure.name.startswith("onnx") for measure in quantize_card.measures(tmp_path))
    (tmp_path / "onnx_int4_report.json").write_text("{}")
    assert quantize_card.measures(tmp_path) == quantize_card.all_measures(tmp_path)
    (tmp_path / "onnx_int4_report.json").unlink()
    monkeypatch.setattr(quantize_card, "find_spec", lambda name: object())
    assert quantize_card.measures(tmp_path) == quantize_card.all_measures(tmp_path)


def test_the_table_of_forms_holds_what_was_measured() -> None:
    found = figures()
    change(found, "Q2_K_imatrix", kl_thinking=0.4321, accuracy=0.531, ci=[0.5, 0.56], seconds_per_correct=None)
    shown = quantize_card.forms_table(found)
    assert "| F16 | as it is | 1,845,568 | 5.15 | – | – | – | – | 95.0 | 93.1–96.9 | 224 | 1204 | 231 | – |" in shown
    start = "| Q2_K | importance matrix | 1,845,568 | 5.15 | 432 | 20 | 20 | 97.1 | 53.1 | 50.0–56.0 |"
    assert f"{start} 224 | 1204 | – | 12 |" in shown
    assert shown.count("| Q4_0 | GPTQ, groups of ") == 2 and shown.count("| ONNX int4 | ") == 1
    assert "n = 510 problems; KL (thousandths of a nat) over 19,990 tokens" in shown and "was not measured" not in shown


def test_without_onnx_the_table_says_so() -> None:
    shown = quantize_card.forms_table(figures(onnx=False))
    assert "| ONNX int4 |" not in shown and "the extra `onnx` was not installed" in shown


def test_ways_are_held_against_each_other_at_one_type() -> None:
    found = figures()
    change(found, "Q3_K_M_imatrix", kl_thinking=0.1, accuracy=0.9, thinking_tokens=240.0, bytes=100)
    change(found, "Q3_K_M_compensated", kl_thinking=0.03, accuracy=0.935, bytes=100)
    assert "| Q3_K_M | +0 | 100 | 30 | 0.30 | +3.5 | 240 → 224 |" in quantize_card.worth_table(found)
    change(found, "Q3_K_M_imatrix_generic", kl_thinking=0.2, accuracy=0.5, thinking_tokens=300.0)
    assert (
        "| Q3_K_M | importance matrix | 200 | 100 | 0.50 | 50.0 (93.1–96.9) | 90.0 (93.1–96.9) | 300 | 240 |"
        in quantize_card.texts_table(found)
    )
    assert "| Q3_K_M | 0.0 MB | 100 | 30 | 90.0 % | 93.5 % |" in quantize_card.short_table(found)


def test_figures_have_their_places_in_the_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DOCUMENT", "README"):
        copy = tmp_path / name
        copy.write_text(getattr(quantize_card, name).read_text(encoding="utf-8"), encoding="utf-8")
        monkeypatch.setattr(quantize_card, name, copy)
    documents = quantize_card.documents(figures())
    card.write(documents)
    for path, blocks in documents.items():
        text = path.read_text(encoding="utf-8")
        assert all(block in text for block in blocks.values())


def test_what_was_measured_is_written_without_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written: list[Any] = []
    monkeypatch.setattr(card, "write", written.append)
    monkeypatch.setattr(quantize_card, "find_spec", lambda name: None)
    assert quantize_card.main([str(tmp_path), "--only-write"]) == 1  # nothing is there
    assert "Q8_0_imatrix.json" in capsys.readouterr().err
    folder = card.kept_in(tmp_path)
    folder.mkdir()
    for name, measured in figures().items():
        (folder / f"{name}.json").write_text(json.dumps(measured), encoding="utf-8")
    assert quantize_card.main([str(tmp_path), "--only-write"]) == 0
    assert written == [quantize_card.documents(figures())]


def test_commands_stand_in_the_document_as_a_reader_can_paste_them() -> None:
    lines = quantize_card.commands_table().splitlines()[2:]
    pasted = [shlex.split(line.split("`")[1]) for line in lines]
    assert ["kangae", "quantize", "forms/gptq_g32", "--to", "gguf:Q4_0"] in [words[:5] for words in pasted]
    assert all(words[0] in ("kangae", "python") for words in pasted)


def test_a_generic_text_is_written_whole(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    measures = {measure.name: measure for measure in quantize_card.all_measures(tmp_path)}
    card.take(measures["generic"], tmp_path)
    told = json.loads((tmp_path / "generic.json").read_text(encoding="utf-8"))
    text = (tmp_path / "forms" / "generic.txt").read_text(encoding="utf-8")
    assert told["signs"] == len(text) > 300_000 and "expression" in text
    (tmp_path / "taken").write_text("")
    taken = card.Measure("taken", ["scripts/generic_text.py", str(tmp_path / "taken" / "generic.txt")], flags=())
    with pytest.raises(subprocess.CalledProcessError):
        card.take(taken, tmp_path)
    assert "error: " in capfd.readouterr().err

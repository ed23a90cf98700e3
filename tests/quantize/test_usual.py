"""All usual forms, written and measured, on a small random model; and what is no usage."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import kangae
from models.errors import UsageError
from quantize.making.options import MakeOptions
from quantize.making.usual import make_usual, usual_forms
from quantize.measured_problems import load_problems
from quantize.source import open_source
from runtime.bench.random_model import TINY, make_random_model


@pytest.fixture
def master(tmp_path: Path) -> Path:
    return make_random_model(tmp_path / "Small-F16.gguf", TINY)


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    path = tmp_path / "problems.jsonl"
    lines = [{"id": str(number), "question": f"{number} + 1?", "expected": str(number + 1)} for number in range(3)]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return path


def test_every_usual_form_is_written_and_measured(
    master: Path, problems: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantize.making.usual._GGUF", ("gguf:Q8_0", "gguf:Q4_0"))
    words = ["quantize", str(master), "--table", "-o", str(tmp_path / "out"), "--problems", str(problems), "-n", "2"]
    assert kangae.main([*words, "--kl-tokens", "200", "--threads", "1", "--max-answer", "40", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["form"] for row in rows] == ["gguf:F16", "gguf:Q8_0", "gguf:Q4_0"]
    assert [row["bytes"] for row in rows] == sorted((row["bytes"] for row in rows), reverse=True)
    for row in rows:
        assert row["n"] == 2 and row["ci"][0] <= row["accuracy"] <= row["ci"][1]
    assert rows[1]["kl_mean"] < rows[2]["kl_mean"]


def test_files_that_are_there_are_kept_and_others_are_not_replaced(
    master: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantize.making.usual._GGUF", ("gguf:Q8_0",))
    source, out = open_source(str(master)), tmp_path / "out"
    first = make_usual(source, out, MakeOptions(), lambda *_: None)
    assert first.made == 2 and [file.name for file in first.files] == ["Small-F16.gguf", "Small-Q8_0.gguf"]
    before = first.files[1].stat().st_mtime_ns
    assert make_usual(source, out, MakeOptions(), lambda *_: None).made == 0
    assert first.files[1].stat().st_mtime_ns == before
    os.utime(master, ns=(1, 1))  # another source now, by its time
    assert make_usual(open_source(str(master)), out, MakeOptions(), lambda *_: None).made == 2
    (out / ".kangae-forms.json").unlink()
    with pytest.raises(UsageError, match="not made by this command"):
        make_usual(source, out, MakeOptions(), lambda *_: None)
    assert make_usual(source, out, MakeOptions(force=True), lambda *_: None).made == 2


def test_gptq_and_onnx_are_made_where_they_can_be(master: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    shipped = open_source("kangae-tiny")
    named = [form.name for form in usual_forms(shipped, MakeOptions())]
    assert named[0] == "gguf:F16" and "gguf:IQ4_XS" in named and named[-2:] == ["gptq:4:g32", "gptq:4"]
    assert "gptq:4" not in [form.name for form in usual_forms(open_source(str(master)), MakeOptions())]
    assert "gptq:4" not in [form.name for form in usual_forms(shipped, MakeOptions(calibrate="none"))]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert usual_forms(shipped, MakeOptions())[-1].name == "onnx:int4"


def test_without_a_file_problems_are_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("quantize.measured_problems.shipped_model", lambda: tmp_path / "none.gguf")
    made = load_problems(None, 40)
    assert len({problem.question for problem in made}) > 30
    assert all(problem.expected for problem in made)
    assert load_problems(None, 40) == made


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--to", "gguf:Q9"], 2),
        (["--to", "onnx:int4"], 2),
        (["--to", "gguf:Q8_0", "-n", "5"], 2),
        (["--to", "gguf:Q8_0", "--table"], 2),
        (["--to", "gguf:Q8_0", "--threads", "abc"], 2),
        (["--table", "-n", "0"], 2),
        ([], 2),
    ],
)
def test_wrong_usage_is_told_with_its_code(
    master: Path, words: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kangae.main(["quantize", str(master), *words, "--json"]) == code
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["exit"] == code
    assert "_count" not in error["detail"] and "invalid" not in error["detail"]  # argparse's word for a bare ValueError


def test_the_command_prints_one_object(master: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out.gguf"
    assert kangae.main(["quantize", str(master), "--to", "gguf:q8_0", "-o", str(target), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["form"], said["bytes"]) == ("gguf:Q8_0", target.stat().st_size)
    assert kangae.main(["quantize", str(tmp_path / "none"), "--to", "gguf:Q8_0", "--json"]) == 3


def test_a_file_in_the_place_of_the_output_folder_is_told_as_such(
    master: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert kangae.main(["quantize", str(master), "--to", "gguf:Q8_0", "-o", str(tmp_path / "file" / "x.gguf")]) == 9
    assert f"({tmp_path / 'file'} is a file, not a folder); choose another place" in capsys.readouterr().err

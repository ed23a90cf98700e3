"""The table of usual types: sizes beside accuracy, on a small random model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import kangae
from models.errors import UsageError
from quantize.gguf import open_master, quantize_gguf
from quantize.table import USUAL_TYPES, TableSettings, load_problems, make_table
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


def test_every_type_has_a_row_with_size_and_accuracy(master: Path, problems: Path, tmp_path: Path) -> None:
    settings = TableSettings(
        str(master), str(tmp_path / "out"), threads=1, problems=str(problems), count=2, types=("F16", "Q8_0", "Q4_0")
    )
    steps: list[str] = []
    rows = make_table(settings, steps.append)
    assert [row.form for row in rows] == ["gguf:F16", "gguf:Q8_0", "gguf:Q4_0"]
    assert [row.bytes for row in rows] == sorted((row.bytes for row in rows), reverse=True)
    for row in rows:
        assert row.bytes == row.file.stat().st_size
        assert row.problems == 2
        assert row.interval[0] <= row.accuracy <= row.interval[1]
        assert {"form", "bytes", "bpw", "accuracy", "ci", "thinking_tokens"} <= set(row.as_json())
    assert any("Q4_0" in step for step in steps)


def test_files_that_are_there_are_kept_and_others_are_not_replaced(
    master: Path, problems: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    made = quantize_gguf(open_master(str(master)), "Q8_0", out / "Small-Q8_0.gguf").file
    before = made.stat().st_mtime_ns
    settings = TableSettings(str(master), str(out), threads=1, problems=str(problems), count=1, types=("Q8_0",))
    make_table(settings, lambda _: None)
    assert made.stat().st_mtime_ns == before
    made.rename(out / "Small-Q4_0.gguf")
    with pytest.raises(UsageError, match="Q8_0"):
        make_table(TableSettings(str(master), str(out), problems=str(problems), types=("Q4_0",)), lambda _: None)


def test_the_usual_types_are_all_eight() -> None:
    assert USUAL_TYPES == ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "Q3_K_M", "Q2_K")


def test_without_a_file_problems_are_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("quantize.table.shipped_model", lambda: tmp_path / "none.gguf")
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

"""The Makefile's own rules, with programs in the place of Python and Kangae that tell what they were given."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tui.screenshot import build_parser

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def made(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`make` with these words, no terminal, and an environment that is there already."""
    fake = tmp_path / "bin"
    fake.mkdir(exist_ok=True)
    told = 'printf "<%s>" "$@"'
    script = f'case "$1" in scripts/environment.py) echo prepared >&2;; *) {told};; esac'
    for name, text in (("kangae", told), ("python", script)):
        (fake / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (fake / name).chmod(0o755)
    # what was given to the `make test` around this test is no word of its own
    known = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
    return subprocess.run(
        ["make", "-s", *words, f"BIN={fake}", f"PYTHON={fake / 'python'}"],
        cwd=ROOT,
        env=known,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", ["Q", "q"])
@pytest.mark.parametrize("question", ["What is 47 * 8?", '$(HOME) costs $5, "or" `less`; isn\'t it?'])
def test_a_question_is_asked_as_it_was_given_in_either_case(tmp_path: Path, name: str, question: str) -> None:
    done = made(tmp_path, "ask", f"{name}={question}")
    assert (done.returncode, done.stdout) == (0, f"<ask><--><{question}>")


def test_no_question_is_told_how_to_give_one(tmp_path: Path) -> None:
    done = made(tmp_path, "ask")
    assert done.returncode == 2 and done.stdout == ""
    assert 'make ask Q="What is 47 * 8?"' in done.stderr and "prepared" not in done.stderr


def test_without_a_terminal_the_interface_is_not_opened_and_the_sentence_says_what_to_do(tmp_path: Path) -> None:
    done = made(tmp_path, "run", "EXTRAS=verify")
    assert done.returncode == 2 and done.stdout == ""  # what stands in the place of Kangae was not called
    prepared, told = done.stderr.splitlines()[:2]
    assert prepared == "prepared"  # what is missing is installed all the same
    assert "needs a terminal" in told and 'make ask Q="What is 47 * 8?"' in told


def test_the_trial_of_deadlines_is_begun_in_the_environment(tmp_path: Path) -> None:
    done = made(tmp_path, "deadlines", "ARGS=--shipped --runs 2")
    assert (done.returncode, done.stdout) == (0, "<scripts/deadline_trial.py><--shipped><--runs><2>")
    assert done.stderr == "prepared\n"


def test_the_picture_is_drawn_with_words_that_its_command_takes(tmp_path: Path) -> None:
    done = made(tmp_path, "screen", "ARGS=--size 80x24")
    assert (done.returncode, done.stderr) == (0, "prepared\n")
    words = done.stdout[1:-1].split("><")
    assert words[:2] == ["-m", "tui.screenshot"]
    options = build_parser().parse_args(words[2:])
    assert (options.out, options.size, options.unfold) == (Path("docs/screen.svg"), (80, 24), True)
    assert [question[:9] for question in options.questions] == ["There are", "47*8は?"]


def test_the_archived_reader_gets_an_environment_of_its_own_and_a_folder(tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "bin").mkdir(parents=True)
    (own / "auto-gptq-0.7.1").touch()  # all is installed
    (own / "bin" / "python").write_text('#!/bin/sh\nprintf "[%s]" "$@"\n', encoding="utf-8")
    (own / "bin" / "python").chmod(0o755)
    out = f"OUT={tmp_path / 'out'}"
    folder = tmp_path / "out" / "kangae-tiny-GPTQ-4bit-g128"
    done = made(tmp_path, "check-autogptq", f"AUTOGPTQ={own}", out)
    making = f"<quantize><kangae-tiny><--to><gptq:4><--output><{folder}>"
    assert (done.returncode, done.stdout) == (0, f"{making}[scripts/check_autogptq.py][{folder}]")
    folder.mkdir(parents=True)
    assert made(tmp_path, "check-autogptq", f"AUTOGPTQ={own}", out).stdout == f"[scripts/check_autogptq.py][{folder}]"
    done = made(tmp_path, "check-autogptq", f"AUTOGPTQ={own}", out, "FOLDER=mine")
    assert done.stdout == "[scripts/check_autogptq.py][mine]"  # a person's own folder is never made


def test_forms_that_were_written_are_measured_beside_the_model_that_ships(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "kangae-tiny-Q2_K.gguf").touch()
    done = made(tmp_path, "bench", f"OUT={out}", "ARGS=-n 9")
    assert done.stdout.endswith(f"<bench><quant><{out}/kangae-tiny-Q2_K.gguf><-n><9>")
    assert done.stdout.startswith("<bench><speed><-m><kangae-tiny><bench><budget><-m><kangae-tiny><-n><9>")
    done = made(tmp_path, "bench", f"OUT={out}", "MODEL=mine.gguf")
    assert done.stdout.endswith("<bench><quant><-m><mine.gguf>")


def test_what_making_small_costs_is_measured_in_the_environment(tmp_path: Path) -> None:
    done = made(tmp_path, "quantize-card", "OUT=kept", "ARGS=--only-write")
    assert (done.returncode, done.stdout) == (0, "<scripts/quantize_card.py><kept/quantize-card><--only-write>")


def test_every_usual_form_is_written_with_a_table(tmp_path: Path) -> None:
    done = made(tmp_path, "quantize", "ARGS=-n 100")
    assert (done.returncode, done.stdout) == (0, "<quantize><kangae-tiny><--table><--output><out><-n><100>")

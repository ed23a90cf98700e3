"""The root command and the small commands: help, exit codes, sessions, config, doctor; and what is never imported."""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

import kangae
from models.catalogue import ModelEntry
from models.errors import ModelError
from models.gguf_header import GgufHeader
from runtime import opening, problems
from runtime.bench import peers, speed
from runtime.commands import ask
from runtime.pace import Speed
from runtime.store import Store
from tests.fakes.answering_responder import AnsweringResponder, Said
from tests.runtime.test_store import REPLY

ROOT = Path(__file__).parents[2]


@pytest.fixture
def kept() -> str:
    with Store.open() as store:
        conversation = store.new_conversation("Sums \x1b[31m", model="kangae-tiny")
        store.add_reply(conversation, REPLY)
    return conversation


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert kangae.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"    {name}" in said for name in ("ask", "models", "bench", "sessions", "doctor", "config"))
    assert kangae.main(["ask", "--help"]) == 0
    assert "--budget" in capsys.readouterr().out
    assert kangae.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("kangae ")


@pytest.mark.parametrize(
    "words", [["aks"], ["--colour"], ["sessions"], ["bench", "speed", "--depth", "0"], ["config", "x"]]
)
def test_wrong_usage_is_2_and_one_sentence(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert kangae.main(words) == 2
    said = capsys.readouterr()
    assert len(said.err.splitlines()) == 1
    assert said.out == ""


@pytest.mark.parametrize(
    ("command", "some"), [("sessions", "list, show,"), ("models", "list,"), ("bench", "speed"), ("config", "show")]
)
def test_a_missing_command_is_asked_for_by_names(command: str, some: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert kangae.main([command]) == 2
    said = capsys.readouterr().err
    assert "Name one of the commands " in said and some in said and f"see `kangae {command} --help`" in said
    assert kangae.main([command, "nonsense"]) == 2
    assert "nonsense" in capsys.readouterr().err


def test_a_near_command_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    kangae.main(["sesions"])
    assert "did you mean `sessions`?" in capsys.readouterr().err


def test_ask_loads_nothing_that_it_does_not_need() -> None:
    code = (
        "import sys, kangae; kangae.main(['ask', '--help']); import runtime.store\n"
        "heavy = {'rich', 'textual', 'torch', 'transformers', 'huggingface_hub', 'numpy', 'llama_cpp', 'sqlite3'}\n"
        "print('LOADED', sorted((heavy - {'sqlite3'}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_sessions_list_show_search_export_remove(kept: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert kangae.main(["sessions", "list"]) == 0
    said = capsys.readouterr().out
    assert kept in said and "Sums [31m" in said and "\x1b" not in said
    assert kangae.main(["sessions", "list", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)["sessions"]
    assert (listed["id"], listed["replies"]) == (kept, 1)
    assert kangae.main(["sessions", "show", kept[:6], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["replies"] == [REPLY.as_json()]
    assert kangae.main(["sessions", "show", kept]) == 0
    said = capsys.readouterr().out
    assert "4 考え" in said and "two and two" not in said
    assert kangae.main(["sessions", "show", kept, "--thinking"]) == 0
    assert "> two and two" in capsys.readouterr().out
    assert kangae.main(["sessions", "search", "two AND", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["hits"][0]["place"] == "thinking"
    assert kangae.main(["sessions", "export", "-o", str(tmp_path / "out.jsonl")]) == 0
    assert json.loads((tmp_path / "out.jsonl").read_text(encoding="utf-8"))["replies"][0] == REPLY.as_json()
    assert kangae.main(["sessions", "export", "--format", "markdown"]) == 0
    assert capsys.readouterr().out.startswith("# Sums")
    assert kangae.main(["sessions", "remove", kept, "zzzz"]) == 2
    assert kangae.main(["sessions", "remove", kept]) == 0
    capsys.readouterr()
    assert kangae.main(["sessions", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"sessions": []}


def test_sessions_that_cannot_be_written_are_9(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KANGAE_STATE_DIR", str(tmp_path / "file"))
    for words in (["list"], ["search", "x"], ["remove", "x"], ["export"]):
        assert kangae.main(["sessions", *words]) == 9
    said = capsys.readouterr().err
    assert f"({tmp_path / 'file'} is a file, not a folder); set KANGAE_STATE_DIR" in said
    assert "space" not in said and "exists" not in said


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        ("no/folder", "there is no folder"),
        ("file/out.jsonl", "file is a file, not a folder"),
        ("", "it is a folder, not a file"),
    ],
)
def test_an_export_that_cannot_be_written_is_9_and_tells_why(
    output: str, cause: str, kept: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert kangae.main(["sessions", "export", kept, "-o", str(tmp_path / output)]) == 9
    said = capsys.readouterr().err
    assert cause in said and "name another file with -o" in said
    assert "space" not in said


def test_config(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config" / "config.toml"
    assert kangae.main(["config", "path"]) == 0
    assert capsys.readouterr().out == f"{path}\n"
    path.parent.mkdir()
    path.write_text("budget = 32\n")
    monkeypatch.setenv("KANGAE_SEED", "5")
    assert kangae.main(["config", "show", "--json"]) == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert settings["budget"] == {"value": 32, "from": str(path)}
    assert settings["seed"] == {"value": 5, "from": "KANGAE_SEED"}
    assert settings["model"] == {"value": "kangae-tiny", "from": "default"}


def test_doctor_tells_what_is_bad(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    responder = AnsweringResponder(lambda request, allowed: Said("", "42"))
    monkeypatch.setattr(opening, "open_model", lambda name: responder)
    assert kangae.main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is True
    assert {"system", "memory", "llama.cpp", "state folder", "kangae-tiny"} <= {
        one["name"] for one in found["findings"]
    }
    responder.rule = lambda request, allowed: Said("", "43")
    assert kangae.main(["doctor"]) == 1
    assert "BAD   kangae-tiny" in capsys.readouterr().out

    def missing(name: str) -> None:
        raise ModelError("it is missing")

    monkeypatch.setattr(opening, "open_model", missing)
    assert kangae.main(["doctor"]) == 1


def test_doctor_finds_a_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KANGAE_STATE_DIR", str(tmp_path / "file" / "state"))
    responder = AnsweringResponder(lambda request, allowed: Said("", "42"))
    monkeypatch.setattr(opening, "open_model", lambda name: responder)
    assert kangae.main(["doctor", "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert [one["name"] for one in findings if one["ok"] is False] == ["state folder"]


def test_doctor_outlives_a_folder_that_has_no_path(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KANGAE_STATE_DIR", "~no-such-user/x")
    responder = AnsweringResponder(lambda request, allowed: Said("", "42"))
    monkeypatch.setattr(opening, "open_model", lambda name: responder)
    assert kangae.main(["doctor", "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert [one["name"] for one in findings if one["ok"] is False] == ["state folder"]


def test_bench_speed_and_peers_print_what_was_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {
        "model": "m", "device": "d", "prefill_tps": 10.0, "decode_tps": 5.0, "depth": 64, "batch": {"4": 9.0},
        "python_overhead_mb": 1.5, "widths": {"8": 4},
    }  # fmt: skip
    rows = [
        {"peer": "llama-bench", "measure": "decode_tps", "model": "m", "ours": 2.0, "theirs": 1.0, "ratio": 2.0,
         "ratio_low": 1.0, "ratio_high": 3.0, "pairs": 1}
    ]  # fmt: skip
    entry = ModelEntry("m", Path("m.gguf"), "gguf", "Q8_0", 3)
    monkeypatch.setattr(speed, "measure", lambda *_, **__: found)
    monkeypatch.setattr(peers, "compare", lambda *_, **__: {"rows": rows})
    monkeypatch.setattr(opening, "find_checked", lambda name: entry)
    assert kangae.main(["bench", "speed", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found
    record = opening.speed_record(entry, None, None)
    assert (record.read(), record.widths()) == (Speed(10.0, 5.0), {8: 4})
    assert kangae.main(["bench", "speed"]) == 0
    assert "decode at 64" in capsys.readouterr().out
    assert kangae.main(["bench", "peers"]) == 0
    assert "2.000" in capsys.readouterr().out
    monkeypatch.setattr(peers, "compare", lambda *_, **__: {"rows": rows, "interrupted": True})
    for form in ([], ["--json"]):
        assert kangae.main(["bench", "peers", *form]) == 130
        assert "llama-bench" in capsys.readouterr().out


def test_flags_without_a_command_are_those_of_chat(capsys: pytest.CaptureFixture[str]) -> None:
    assert kangae.main(["-m", "some.gguf"]) == 2
    assert "needs a terminal" in capsys.readouterr().err


def test_an_unknown_flag_names_the_help_of_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert kangae.main(["ask", "x", "--colour"]) == 2
    assert "see `kangae ask --help`" in capsys.readouterr().err


@pytest.mark.parametrize("fault", [MemoryError(), RuntimeError("can't start new thread")])
def test_want_of_memory_is_no_fault_of_ours(
    fault: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_model(name: str, **options: object) -> AnsweringResponder:
        raise fault

    monkeypatch.setattr(opening, "open_model", open_model)
    assert kangae.main(["ask", "x"]) == 4
    assert "Does not fit this machine" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["speed", "peers"])
def test_benchmarks_check_the_file_first(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, cache: Path) -> None:
        raise ModelError(f"{path} was checked.")

    from models import catalogue
    from runtime import model_check

    monkeypatch.setattr(model_check, "check_model", refuse)
    monkeypatch.setattr(catalogue, "read_header", lambda path: GgufHeader(3, 0, {}, (), 32, 0, 0))
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF")
    assert kangae.main(["bench", command, "-m", str(file)]) == 3
    assert "was checked" in capsys.readouterr().err


def test_little_room_for_addresses_is_told_before_the_library_ends_the_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime import machine

    monkeypatch.setattr(machine, "address_room", lambda: 50 << 20)
    assert kangae.main(["ask", "x"]) == 4
    assert "ulimit" in capsys.readouterr().err


def test_an_endless_input_is_refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "_MOST_BYTES", 100)
    monkeypatch.setattr(problems, "_MOST_BYTES", 100)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a" * 101)))
    assert kangae.main(["ask", "-"]) == 7
    assert kangae.main(["ask", "--file", "/dev/zero"]) == 2
    assert "split it" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--help"], ["ask", "--help"], ["sessions", "--help"], ["sessions", "decide", "--help"]]
)
def test_help_fits_80_columns(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert kangae.main(words) == 0
    said = capsys.readouterr().out
    assert said and all(len(line) <= 80 for line in said.splitlines())


def test_every_flag_of_ask_says_what_it_does() -> None:
    (ask_parser,) = (
        action.choices["ask"]
        for action in kangae.build_parser("ask")._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    assert [action.option_strings for action in ask_parser._actions if not action.help] == []

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from models import catalogue, cli
from tests.fakes.gguf_files import write_gguf

TEMPLATE = "{{ messages }}<think>enable_thinking\x1b[31m"


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A models folder with one model, and no shipped model."""
    monkeypatch.setenv("KANGAE_MODELS_DIR", str(tmp_path))
    monkeypatch.setattr(catalogue, "shipped_model", lambda: tmp_path / "none" / "kangae-tiny-Q8_0.gguf")
    write_gguf(
        tmp_path / "Small-Q8_0.gguf",
        name="Qwen3 \x1b]52;c;AAAA\x07 Evil\u202e",
        file_type=7,
        strings={"tokenizer.chat_template": TEMPLATE, "general.license": "mit"},
    )
    return tmp_path


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    cli.add_commands(parser.add_subparsers())
    arguments = parser.parse_args(["models", *words])
    code = arguments.run(arguments)
    assert isinstance(code, int)
    return code


def test_list(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert run("list") == 0
    heading, row, last = capsys.readouterr().out.splitlines()
    assert heading.split() == ["NAME", "QUANT", "SIZE", "WEIGHTS", "CONTEXT", "FITS", "FILE"]
    assert row.split()[:2] == ["Small", "Q8_0"]
    assert row.index("Q8_0") == heading.index("QUANT")
    assert str(folder) in last


def test_list_names_what_is_unusable(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "broken.gguf").write_bytes(b"GGUF")
    assert run("list") == 1
    assert "unusable" in capsys.readouterr().out
    assert run("list", "--json") == 1
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found["models"]] == ["Small"]
    assert [one["name"] for one in found["broken"]] == ["broken"]


def test_show_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", "Small", "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (found["name"], found["quant"], found["form"], found["licence"]) == ("Small", "Q8_0", "gguf", "mit")
    assert found["family"]["name"] == "qwen3"
    assert found["family"]["off"] == "template"
    assert found["metadata"]["tokenizer.ggml.tokens"] == {"count": 300, "first": [f"t{index}" for index in range(8)]}


def test_json_lets_no_control_sign_of_the_file_through(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    name = "a\x85b\u202ec\u200ed 考え"
    write_gguf(folder / f"{name}.gguf", name=name, file_type=7)
    for words in (["list"], ["show", name]):
        assert run(*words, "--json") == 0
        text = capsys.readouterr().out
        assert text.removesuffix("\n").isprintable()
        assert "考え" in text
        found = json.loads(text)
        assert name in [one["name"] for one in found.get("models", [found])]


def test_show_lets_no_control_sign_of_the_file_through(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", "Small", "--template") == 0
    text = capsys.readouterr().out
    assert "Evil" in text
    assert "{{ messages }}" in text
    assert all(sign.isprintable() or sign == "\n" for sign in text)


def test_numbers_as_people_read_them() -> None:
    sizes = [cli.human_bytes(count) for count in (0, 999, 2_700_000, 4_900_000_000)]
    assert sizes == ["0 B", "999 B", "2.7 MB", "4.9 GB"]
    assert [cli.human_count(count) for count in (0, 12, 2_490_000, 7_600_000_000)] == ["?", "12", "2.5M", "7.6B"]

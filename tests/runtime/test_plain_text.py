"""Nothing that steers a terminal, or breaks a line of JSON, comes through."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.cli import printable
from models.columns import table
from models.json_output import for_stream
from models.plain_text import as_utf8, json_line, one_line, shorten, strip_controls

ROOT = Path(__file__).parents[2]
ESCAPES = (
    "\x1b[31m",
    "\x1b]52;c;aGk=\x07",
    "\x1bP1$r\x1b\\",
    "\x9b2J",
    "\x1b_x\x1b\\",
    "\r",
    "\x08",
    "\x7f",
    "\x00",
    "\x85",
    "\u202e",
    "\u2066",
    "\ud800",
)


def test_controls_are_taken_out_and_lines_and_tabs_stay() -> None:
    assert strip_controls("a\tb\nc") == "a\tb\nc"
    assert strip_controls("".join(ESCAPES)) == "[31m]52;c;aGk=P1$r\\2J_x\\"
    assert strip_controls("考え é 😀") == "考え é 😀"


def test_nothing_turns_the_order_of_signs_and_marks_of_right_to_left_text_stay() -> None:
    turning = [chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))]
    assert [sign for sign in turning if strip_controls(f"a{sign}b") != "ab"] == []
    for text in ("\u200eabc\u200f", "\u061cسلام", "می\u200cخواهم", "👨\u200d👩"):
        assert strip_controls(text) == text
        assert printable(text) == text
    assert strip_controls("rm\u202efdp.exe") == "rmfdp.exe"


def test_names_out_of_files_show_where_something_was() -> None:
    assert printable("a\x1b\u202eb\nc\td\u2028e\udcff") == "a??b?c?d?e?"
    assert printable("a\x1bb\nc\td", lines=True) == "a?b\nc\td"


@settings(deadline=None)  # a busy machine is no fault
@given(st.lists(st.sampled_from([*ESCAPES, "x", "考", "\n"])), st.integers(0, 40))
def test_an_escape_split_over_two_pieces_loses_its_power_all_the_same(parts: list[str], cut: int) -> None:
    text = "".join(parts)
    assert strip_controls(text[:cut]) + strip_controls(text[cut:]) == strip_controls(text)
    assert all(sign in "\n\t" or sign.isprintable() for sign in strip_controls(text))


@settings(deadline=None)  # a busy machine is no fault
@given(st.text(st.characters()) | st.text(st.sampled_from("\x1b\x85\u2028\u2029\u202e\u2069\x7f\ud800a\n")))
def test_json_lines_are_one_line_of_harmless_signs_and_say_the_same(text: str) -> None:
    for encoding in ("utf-8", "ascii", "cp932"):
        stream = TextIOWrapper(BytesIO(), encoding=encoding)
        line = for_stream(json_line({"t": text}), stream)
        assert len(line.splitlines()) == 1
        assert strip_controls(line, lines=False) == line
        assert json.loads(line.encode(encoding)) == {"t": text}


def test_json_writes_no_control_and_no_sign_that_turns_text_as_it_stands() -> None:
    steering = [
        chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    ]
    for sign in (*steering, "\u200e", "\u200f", "\u061c"):
        line = json_line(sign)
        assert sign not in line and line.isascii()
        assert json.loads(line) == sign
    assert json_line("考え é") == '"考え é"'


@pytest.mark.parametrize(
    ("encoding", "line"), [("UTF8", '"考え é 🙂"'), ("ascii", r'"\u8003\u3048 \u00e9 \ud83d\ude42"')]
)
def test_json_keeps_the_signs_that_its_stream_can_take(encoding: str, line: str) -> None:
    assert for_stream(json_line("考え é 🙂"), TextIOWrapper(BytesIO(), encoding=encoding)) == line
    assert for_stream(json_line("考え é 🙂"), StringIO()) == '"考え é 🙂"'


def test_json_loses_nothing_where_the_output_takes_ascii_alone() -> None:
    question = "棚に12個、使うのは5個 🙂。残りは?"
    words = ["ask", "--json", "--no-store", "--max-answer", "64", question]
    done = subprocess.run(
        [sys.executable, "-m", "kangae", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    reply = json.loads(done.stdout)
    assert reply["question"] == question
    assert "?" not in reply["thinking"] + reply["answer"]


def test_text_is_made_fit_for_a_terminal_in_one_place() -> None:
    files = [path for name in ("models", "runtime", "quantize", "edge", "tui") for path in (ROOT / name).rglob("*.py")]
    assert files
    assert [path.name for path in files if ".isprintable(" in path.read_text(encoding="utf-8")] == []


def test_short_lines_and_tables() -> None:
    assert one_line(" a\n\x1b b ") == "a b"
    assert shorten("abcdef", 4) == "abc…"
    assert shorten("abcd", 4) == "abcd"
    assert table([["NAME", "N"], ["a", "10"]], right=True) == "NAME   N\na     10"
    assert table([["NAME", "N"], ["在庫", "1"]]) == "NAME  N\n在庫  1"  # four columns wide


def test_words_of_another_encoding_are_read_as_utf8() -> None:
    assert as_utf8("在庫") == "在庫"
    assert as_utf8("在庫".encode().decode("ascii", "surrogateescape")) == "在庫"
    assert as_utf8("a\udcffb") == "a\ufffdb"
    assert as_utf8("a\ud800b") == "a?b"

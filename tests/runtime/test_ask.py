"""`kangae ask` on a fake model: streams, golden JSON, files in order, exit codes, and answers that are never lost."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

import kangae
from models.errors import InternalError, ModelError
from runtime import opening
from runtime.commands import ask_file
from runtime.commands.interrupt import CancelOnInterrupt
from runtime.commands.stream import ReplyStream
from runtime.events import AnswerDelta, Closed, Event, ThinkingDelta, Voted
from runtime.responder import Control
from runtime.store import Store
from tests.fakes.answering_responder import AnsweringResponder, Said

ROOT = Path(__file__).parents[2]
GOLDEN = (
    '{"id": "q1", "question": "What is 6 * 7", "model": {"name": "kangae-tiny", "file": "kangae-tiny-Q8_0.gguf", '
    '"quant": "Q8_0", "backend": "llama"}, "thinking": "one two", "answer": "7", "close": "budget", "finish": "stop", '
    '"usage": {"prompt_tokens": 4, "cached_tokens": 0, "thinking_tokens": 2, "forced_tokens": 0, "probe_tokens": 0, '
    '"answer_tokens": 1}, "budget": {"tokens": 2, "seconds": null, "effort": null, "answer_reserve": 128, '
    '"overshoot_tokens": 0}, "timings": {"load_s": 0.5, "prepare_s": 0.0, "prefill_s": 0.25, "first_thinking_s": 0.0, '
    '"first_answer_s": 0.0, "total_s": 1.0, "prefill_tps": 0.0, "decode_tps": 8.0}, "expected": "7", "correct": true}\n'
)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> AnsweringResponder:
    responder = AnsweringResponder()

    def open_model(name: str, **options: object) -> AnsweringResponder:
        responder.opened = {"name": name, **options}
        return responder

    monkeypatch.setattr(opening, "open_model", open_model)
    return responder


@pytest.fixture
def lines(tmp_path: Path) -> Callable[..., str]:
    def write(*records: object) -> str:
        path = tmp_path / "in.jsonl"
        texts = [record if isinstance(record, str) else json.dumps(record) for record in records]
        path.write_text("\n".join(texts) + "\n", encoding="utf-8")
        return str(path)

    return write


def test_the_answer_goes_to_stdout_and_the_thought_to_stderr(
    model: AnsweringResponder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kangae.main(["ask", "What is 6 * 7"]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("7\n", "one two three\n")
    assert model.closed
    assert model.requests[0].budget.tokens is None


def test_flags_reach_the_request(model: AnsweringResponder) -> None:
    words = [
        "ask",
        "x",
        "-m",
        "other",
        "--budget",
        "40",
        "--max-answer",
        "9",
        "--min-thinking",
        "3",
        "--system",
        "Short.",
    ]
    assert kangae.main([*words, "--temperature", "0.5", "--seed", "7", "--context", "256"]) == 0
    (request,) = model.requests
    assert (request.budget.tokens, request.budget.answer_reserve, request.budget.minimum) == (40, 9, 3)
    assert [message.role for message in request.messages] == ["system", "user"]
    assert request.sampling is not None
    assert (request.sampling.temperature, request.sampling.seed, request.sampling.top_p) == (0.5, 7, None)
    assert (model.opened["name"], model.opened["context"]) == ("other", 256)


def test_without_flags_the_model_draws_as_it_likes(model: AnsweringResponder) -> None:
    kangae.main(["ask", "x"])
    assert model.requests[0].sampling is None


@pytest.mark.parametrize(("given", "tokens"), [("off", 0), ("0", 0), ("unlimited", None), ("5", 5)])
def test_budgets(model: AnsweringResponder, given: str, tokens: int | None) -> None:
    assert kangae.main(["ask", "x", "--budget", given]) == 0
    assert model.requests[0].budget.tokens == tokens


def test_unlimited_wins_over_a_setting(model: AnsweringResponder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KANGAE_BUDGET", "8")
    kangae.main(["ask", "x"])
    kangae.main(["ask", "x", "--budget", "unlimited"])
    assert [request.budget.tokens for request in model.requests] == [8, None]


def test_json_is_one_object_with_the_fields_of_the_contract(
    model: AnsweringResponder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kangae.main(["ask", "What is 6 * 7", "--budget", "2", "--json"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    golden = json.loads(GOLDEN)
    found = json.loads(said.out)
    assert len(said.out.splitlines()) == 1
    assert list(found) == [name for name in golden if name not in ("expected", "correct")]
    assert {**found, "id": "q1", "expected": "7", "correct": True} == golden


def test_a_file_gives_golden_lines(
    model: AnsweringResponder, lines: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = lines({"id": "q1", "question": "What is 6 * 7", "expected": " 7 "})
    assert kangae.main(["ask", "--file", path, "--budget", "2"]) == 0
    assert capsys.readouterr().out == GOLDEN.replace('"expected": "7"', '"expected": " 7 "')


def test_lines_come_in_order_with_errors_in_their_places(
    model: AnsweringResponder, lines: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = lines(
        {"id": 1, "question": "a"},
        "{",
        "",
        {"id": "3", "question": "too long"},
        {"id": "x"},
        {"question": "b", "expected": "c"},
    )
    assert kangae.main(["ask", "--file", path, "--parallel", "2"]) == 1
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one.get("id") for one in found] == [1, None, "3", "x", "6"]
    assert [one.get("error", {}).get("exit") for one in found] == [None, 2, 7, 2, None]
    assert "Line 2 is not JSON" in found[1]["error"]["detail"]
    assert set(found[1]["error"]) == {"title", "detail", "exit", "line"}
    assert [one["error"]["line"] for one in found if "error" in one] == [2, 4, 5]
    assert found[4]["correct"] is False
    assert "correct" not in found[0]
    assert model.opened["sequences"] == 2


def test_ids_keep_their_type(
    model: AnsweringResponder, lines: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = lines(
        {"id": 7, "question": "a"},
        {"id": 1.5, "question": "a"},
        {"id": "7", "question": "a"},
        '{"id": NaN, "question": "a"}',
        {"id": True, "question": "a"},
        {"id": 8},
        {"id": 9, "question": "too long"},
    )
    assert kangae.main(["ask", "--file", path]) == 1
    found = [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()]
    assert [(type(one), one) for one in found] == [
        (int, 7), (float, 1.5), (str, "7"), (str, "4"), (str, "5"), (int, 8), (int, 9)
    ]  # fmt: skip


def test_help_says_that_files_give_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert kangae.main(["ask", "--help"]) == 0
    assert "with or without --json" in " ".join(capsys.readouterr().out.split())


def test_a_file_without_a_good_line_opens_no_model(
    model: AnsweringResponder, lines: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert kangae.main(["ask", "--file", lines("nonsense")]) == 1
    assert model.opened == {}
    assert json.loads(capsys.readouterr().out)["error"]["exit"] == 2


def test_replies_are_kept_with_their_thoughts(model: AnsweringResponder, lines: Callable[..., str]) -> None:
    kangae.main(["ask", "one question"])
    kangae.main(["ask", "not this one", "--no-store"])
    kangae.main(["ask", "--file", lines({"id": "a", "question": "a"}, {"id": "b", "question": "b"})])
    with Store.open() as store:
        titles = [(one.title.split(" ")[0], one.replies) for one in store.conversations()]
        assert titles == [("File", 2), ("one", 1)]
        (reply,) = store.replies(store.conversations()[1].id)
        assert reply.record["thinking"] == "one two three"


def test_an_interrupted_reply_is_kept_and_gives_130(
    model: AnsweringResponder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kangae.main(["ask", "stop"]) == 130
    assert capsys.readouterr().err == "one two three\nInterrupted; what was produced is kept.\n"
    with Store.open() as store:
        (reply,) = store.replies(store.conversations()[0].id)
    assert (reply.record["finish"], reply.record["thinking"]) == ("cancelled", "one two three")


def test_an_interrupted_file_gives_what_is_done(
    model: AnsweringResponder, lines: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = lines({"id": "a", "question": "a"}, {"id": "b", "question": "stop"}, {"id": "c", "question": "c"})
    assert kangae.main(["ask", "--file", path]) == 130
    assert [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == ["b", "c"]


def test_a_least_thought_of_the_settings_gives_way_to_a_budget(
    model: AnsweringResponder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KANGAE_MIN_THINKING", "5")
    assert kangae.main(["ask", "--budget", "off", "x"]) == 0
    assert model.requests[-1].budget.minimum == 0
    assert kangae.main(["ask", "--budget", "off", "--min-thinking", "5", "x"]) == 2


def test_replies_that_were_told_are_kept_where_the_output_breaks_off(
    model: AnsweringResponder, lines: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lines({"id": "a", "question": "a"}, {"id": "b", "question": "b"}, {"id": "c", "question": "c"})
    tell = ask_file._InOrder.tell

    def break_off(self: ask_file._InOrder, results: Any, *, gaps: bool = False) -> Any:
        if self._next == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return tell(self, results, gaps=gaps)

    monkeypatch.setattr(ask_file._InOrder, "tell", break_off)
    assert kangae.main(["ask", "--file", path]) == 9
    with Store.open() as store:
        (kept,) = store.conversations()
        assert [one.record["question"] for one in store.replies(kept.id)] == ["a", "b", "c"]


def test_a_fault_of_ours_names_its_report(
    model: AnsweringResponder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(name: str, **options: object) -> AnsweringResponder:
        raise InternalError("The library refused a batch.")

    monkeypatch.setattr(opening, "open_model", refuse)
    assert kangae.main(["ask", "x"]) == 70
    said = " ".join(capsys.readouterr().err.split())
    assert "The library refused a batch. The report is" in said


def test_a_state_folder_that_cannot_be_written_loses_no_answer(
    model: AnsweringResponder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KANGAE_STATE_DIR", str(tmp_path / "file"))
    assert kangae.main(["ask", "What is 6 * 7"]) == 9
    said = capsys.readouterr()
    assert said.out == "7\n"
    assert said.err.count("not kept") == 1


def test_model_text_cannot_steer_the_terminal(model: AnsweringResponder, capsys: pytest.CaptureFixture[str]) -> None:
    model.rule = lambda request, allowed: Said("a\x1b]0;x\x07 b", "\x1b[2Jdone\x9b1m")
    assert kangae.main(["ask", "x"]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("[2Jdone1m\n", "a]0;x b\n")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--budget", "-1", "x"], 2, "-1"),
        (["--budget", "many", "x"], 2, "many"),
        (["--budget", "5", "--min-thinking", "6", "x"], 2, "--min-thinking"),
        (["--temperature", "-1", "x"], 2, "temperature"),
        (["--top-p", "nan", "x"], 2, "finite"),
        (["--max-answer", "0", "x"], 2, "too small"),
        (["  "], 2, "empty"),
        (["x", "--file", "y"], 2, "the one or the other"),
        (["--file", "/nowhere/in.jsonl"], 2, "cannot be read"),
        (["x", "--deadline", "0"], 2, "no deadline"),
        (["x", "--votes", "0"], 2, "give 1 or more"),
        (["x", "--bud", "3"], 2, "--bud"),
        (["too long"], 7, "Shorten the prompt"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    model: AnsweringResponder, capsys: pytest.CaptureFixture[str], words: list[str], code: int, said: str
) -> None:
    assert kangae.main(["ask", *words]) == code
    told = capsys.readouterr()
    assert said in told.err
    assert told.out == ""
    assert len(told.err.splitlines()) == 1
    assert kangae.main(["ask", *words, "--json"]) == code
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["exit"] == code
    assert list(error) == ["title", "detail", "exit"]


def test_an_unknown_model_is_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert kangae.main(["ask", "x", "-m", "no-such-model"]) == 3
    assert ModelError.title in capsys.readouterr().err


def test_a_fault_of_ours_names_a_report_without_the_question(
    model: AnsweringResponder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kangae.main(["ask", "boom", "--system=confidential"]) == 70
    said = capsys.readouterr().err
    assert "Traceback" not in said
    (report,) = (tmp_path / "state" / "reports").iterdir()
    assert str(report) in said
    text = report.read_text(encoding="utf-8")
    assert "a fault of ours" in text
    assert "--system" in text
    assert "confidential" not in text


def test_a_question_from_standard_input(model: AnsweringResponder, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in (["ask"], ["ask", "-"]):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\ufeff考え\nx\n".encode())))
        assert kangae.main(words) == 0
    assert [request.messages[-1].content for request in model.requests] == ["考え\nx"] * 2
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff")))
    assert kangae.main(["ask"]) == 2


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_thoughts_are_dim_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Event] = [ThinkingDelta("so", 1), ThinkingDelta(" 4", 2), Closed("natural", 2), AnswerDelta("4", 1)]
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)

    def told(thoughts: io.StringIO) -> tuple[str, str]:
        out = io.StringIO()
        stream = ReplyStream(out, thoughts)
        for event in events:
            stream.show(event)
        stream.end()
        return out.getvalue(), thoughts.getvalue()

    assert told(Terminal()) == ("4\n", "\x1b[2mso\x1b[0m\x1b[2m 4\x1b[0m\n")
    assert told(io.StringIO()) == ("4\n", "so 4\n")
    monkeypatch.setenv("NO_COLOR", "1")
    assert told(Terminal()) == ("4\n", "so 4\n")


def test_votes_stand_on_lines_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    thoughts = io.StringIO()
    stream = ReplyStream(io.StringIO(), thoughts)
    stream.show(Voted("1", 1, 5))
    for event in (
        ThinkingDelta("4 and", 1), Voted("7", 2, 5), ThinkingDelta(" 3", 2), Voted("8\n8", 3, 5),
        ThinkingDelta(".\nSo", 3), ThinkingDelta(" 7", 4), Voted("7", 4, 5),
    ):  # fmt: skip
        stream.show(event)
    lines = ["vote 1 of 5: 1", "4 and 3.", "vote 2 of 5: 7", "vote 3 of 5: 8 8"]
    assert thoughts.getvalue().splitlines() == [*lines, "So 7"]
    stream.show(Closed("natural", 4))
    stream.show(Voted("7", 5, 5))
    stream.answer("7")
    stream.end()
    assert thoughts.getvalue().splitlines() == [*lines, "So 7", "vote 4 of 5: 7", "vote 5 of 5: 7"]


def test_a_vote_that_is_held_back_is_told_where_the_thought_breaks_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    thoughts = io.StringIO()
    stream = ReplyStream(io.StringIO(), thoughts)
    stream.show(ThinkingDelta("4 and", 1))
    stream.show(Voted("7", 1, 5))
    stream.end()
    assert thoughts.getvalue() == "4 and\nvote 1 of 5: 7\n"


SCRIPT = """
import sys
from runtime import opening
from tests.fakes.scripted_responder import Script, ScriptedResponder
import signal, threading, kangae
signal.signal(signal.SIGHUP, signal.SIG_IGN if sys.argv[1] == "ignoring" else signal.SIG_DFL)
gate = {3: threading.Event()} if sys.argv[1] != "free" else {}
opening.open_model = lambda name, **options: ScriptedResponder([Script(answer=("42",) * 9, gates=gate)])
sys.exit(kangae.main(sys.argv[2:]))
"""


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *words], cwd=ROOT, env=environment, stdout=stdout, stderr=subprocess.PIPE
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_ctrl_c_prints_what_there_is(child: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = child("gated", "ask", "x")
    assert process.stderr is not None
    said = process.stderr.read(7)
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said + rest == b"12 + 30\nInterrupted; what was produced is kept.\n"


def kept_replies() -> list[dict[str, Any]]:
    with Store.open() as store:
        return [reply.record for one in store.conversations() for reply in store.replies(one.id)]


def test_a_terminal_that_is_closed_loses_no_turn(child: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = child("gated", "ask", "x")
    assert process.stderr is not None
    process.stderr.read(7)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 130
    (record,) = kept_replies()
    assert (record["thinking"], record["finish"]) == ("12 + 30", "cancelled")


def test_a_hangup_that_is_ignored_stays_so(child: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = child("ignoring", "ask", "x")
    assert process.stderr is not None
    process.stderr.read(7)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_a_second_hangup_does_no_more_and_a_second_ctrl_c_ends_the_program() -> None:
    control = Control()
    with CancelOnInterrupt(control) as interrupt:
        interrupt._handle(signal.SIGHUP, None)
        assert control.cancelled
        interrupt._handle(signal.SIGHUP, None)
        interrupt._handle(signal.SIGINT, None)
        with pytest.raises(KeyboardInterrupt):
            interrupt._handle(signal.SIGINT, None)


@pytest.fixture
def closed_terminal() -> Iterator[TextIO]:
    ours, theirs = os.openpty()
    os.close(ours)
    with open(theirs, "w", encoding="utf-8") as stream:
        yield stream


def test_an_answer_that_no_terminal_takes_is_kept(
    model: AnsweringResponder, closed_terminal: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", closed_terminal)
    assert kangae.main(["ask", "one question"]) == 130
    assert [record["answer"] for record in kept_replies()] == ["question"]


@pytest.mark.parametrize("words", [["x y", "--json"], ["--file", "FILE"]])
def test_objects_that_no_terminal_takes_are_kept(
    model: AnsweringResponder,
    lines: Callable[..., str],
    closed_terminal: TextIO,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
) -> None:
    path = lines({"question": "x y"})
    monkeypatch.setattr(sys, "stdout", closed_terminal)
    assert kangae.main(["ask", *(path if word == "FILE" else word for word in words)]) == 130
    assert [record["answer"] for record in kept_replies()] == ["y"]


@pytest.mark.parametrize("words", [("ask", "x"), ("ask", "x", "--json")])
def test_a_stdout_that_takes_nothing_is_9(
    child: Callable[..., subprocess.Popen[bytes]], words: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "read").touch()
    # a full disk where the system can play one, else a file that is open for reading alone
    with open("/dev/full", "wb") if Path("/dev/full").exists() else open(tmp_path / "read", "rb") as full:
        process = child("free", *words, stdout=full.fileno())
        _, said = process.communicate(timeout=60)
    assert process.returncode == 9
    assert b"Cannot write" in said
    assert b"Traceback" not in said and b"Exception" not in said


def test_a_reader_that_goes_away_is_no_fault(child: Callable[..., subprocess.Popen[bytes]]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = child("free", "ask", "x", stdout=writer)
    os.close(writer)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"Traceback" not in said and b"Exception" not in said


def test_words_that_the_terminal_could_not_read_are_utf8(
    model: AnsweringResponder, capsys: pytest.CaptureFixture[str]
) -> None:
    word = "在庫".encode().decode("ascii", "surrogateescape")
    assert kangae.main(["ask", word, "--system", word]) == 0
    assert [message.content for message in model.requests[0].messages] == ["在庫", "在庫"]
    assert capsys.readouterr().out == "在庫\n"


def test_a_state_folder_that_cannot_be_named_loses_no_answer(
    model: AnsweringResponder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KANGAE_STATE_DIR", "~no-such-user/x")
    assert kangae.main(["ask", "x", "--json"]) == 9
    said = capsys.readouterr()
    assert json.loads(said.out)["answer"] == "x"  # one object, not two
    assert "not kept" in said.err


def test_what_was_stopped_is_told_and_kept_only_if_there_is_any(
    model: AnsweringResponder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kangae.main(["ask", "stop"]) == 130
    assert kangae.main(["ask", "stop", "--budget", "off"]) == 130  # nothing was thought
    assert capsys.readouterr().err.count("Interrupted") == 2
    with Store.open() as store:
        assert len(store.conversations()) == 1


def test_ctrl_c_before_the_reply_is_one_object(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_model(name: str, **options: object) -> AnsweringResponder:
        raise KeyboardInterrupt

    monkeypatch.setattr(opening, "open_model", open_model)
    assert kangae.main(["ask", "x", "--json"]) == 130
    assert json.loads(capsys.readouterr().out)["error"]["exit"] == 130
    assert kangae.main(["ask", "x"]) == 130
    assert capsys.readouterr().err.startswith("Interrupted")

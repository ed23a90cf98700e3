"""`kangae ask` on a fake model: what goes where, flags, settings, what is wrong, and answers that are never lost."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import kangae
from models.errors import InternalError, ModelError
from runtime import opening
from runtime.store import Store
from tests.fakes.answering_responder import AnsweringResponder, Said


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


def test_replies_are_kept_with_their_thoughts(model: AnsweringResponder, lines: Callable[..., str]) -> None:
    kangae.main(["ask", "one question"])
    kangae.main(["ask", "not this one", "--no-store"])
    kangae.main(["ask", "--file", lines({"id": "a", "question": "a"}, {"id": "b", "question": "b"})])
    with Store.open() as store:
        titles = [(one.title.split(" ")[0], one.replies) for one in store.conversations()]
        assert titles == [("File", 2), ("one", 1)]
        (reply,) = store.replies(store.conversations()[1].id)
        assert reply.record["thinking"] == "one two three"


def test_a_least_thought_of_the_settings_gives_way_to_a_budget(
    model: AnsweringResponder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KANGAE_MIN_THINKING", "5")
    assert kangae.main(["ask", "--budget", "off", "x"]) == 0
    assert model.requests[-1].budget.minimum == 0
    assert kangae.main(["ask", "--budget", "off", "--min-thinking", "5", "x"]) == 2


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

"""What a person sees of kept replies: the trace of each, the flagged ones, and the verdicts on them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import kangae
from models.columns import cells
from runtime.commands.keep import KeptConversation
from runtime.commands.trace import folded
from runtime.reply import Check, Vote
from runtime.store import Store
from tests.runtime.test_reply import DECISIONS, as_read
from tests.runtime.test_store import REPLY

DOUBT = "unsure: nothing confirms it; the rungs said: " + ", ".join(str(number) for number in range(40))
TRACED = replace(
    REPLY,
    decisions=DECISIONS,
    checks=(Check("arithmetic", True, "2 + 2 = 4", "truth"), Check("units", False, "考" * 60)),
    flags=(DOUBT, "leak: the answer\ngoes on thinking \x1b[31m"),
    votes=(Vote("4", 0.934, "natural", 31), Vote("", 0.0, "budget", 64)),
)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def kept() -> str:
    """A session with a traced reply, which has the flags 1 and 2, and one without flags."""
    with Store.open() as store:
        conversation = store.new_conversation("Sums", model="kangae-tiny")
        store.add_reply(conversation, TRACED)
        store.add_reply(conversation, replace(REPLY, question="And 3 + 3?"))
    return conversation


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: str) -> tuple[int, str, str]:
        code = kangae.main(["sessions", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def told(run: Run, *words: str) -> Any:
    code, out, _ = run(*words, "--json")
    assert code == 0
    return json.loads(out)


def test_show_tells_checks_flags_votes_and_decisions_in_80_columns(run: Run, kept: str) -> None:
    code, out, _ = run("show", kept)
    assert code == 0 and "\x1b" not in out
    assert all(cells(line) <= 80 for line in out.splitlines())
    lines = out.splitlines()
    for line in (
        "- passed  arithmetic (truth): 2 + 2 = 4",
        "- 2  open: leak: the answer goes on thinking [31m",
        "- 0.93  4 (natural, 31 thinking tokens)",
        "- 0.00  (no answer) (budget, 64 thinking tokens)",
        "-  0  opened: the model opened the thought",
        "- 31  trial 0.93 (limit 0.95): a trial answer, for 9 tokens: “4?”",
        "- 64  budget 64 (limit 64): the budget was spent",
    ):
        assert line in lines
    assert "".join(line.strip() for line in lines).count("考" * 60) == 1  # folded, and whole
    assert " ".join(line.strip() for line in lines).count(DOUBT) == 1
    assert [line for line in lines if line.endswith(":")].count("Decisions, by thinking token:") == 1  # of one reply


def test_a_reply_without_a_trace_has_no_headings(run: Run) -> None:
    with Store.open() as store:
        conversation = store.new_conversation("Sums")
        store.add_reply(conversation, REPLY)
    _, out, _ = run("show", conversation)
    assert not any(name in out for name in ("Checks", "Flags", "Votes", "Decisions"))


def test_json_holds_the_trace_and_the_verdicts(run: Run, kept: str) -> None:
    run("decide", "2", "--verdict", "wrong", "--person", "Aiko", "--note", "read again")
    shown = told(run, "show", kept)
    assert shown["replies"][0] == as_read(TRACED)
    first, second = shown["flags"]
    assert (first["number"], first["index"], first["verdict"], first["settlements"]) == (1, 0, None, [])
    (settlement,) = second["settlements"]
    assert (settlement["verdict"], settlement["person"], settlement["note"]) == ("wrong", "Aiko", "read again")
    exported = json.loads(run("export", kept)[1])
    assert exported == shown


def test_markdown_holds_the_trace(run: Run, kept: str) -> None:
    _, out, _ = run("export", kept, "--format", "markdown")
    assert "> two and two" in out and "- 64  budget 64 (limit 64): the budget was spent" in out


def test_flagged_replies_are_listed_until_a_person_settled_them(run: Run, kept: str) -> None:
    assert "1 reply waits for a person's verdict" in run("list")[1]
    code, out, _ = run("list", "--flagged")
    assert code == 0 and all(cells(line) <= 80 for line in out.splitlines())
    assert kept in out and "What is 2 + 2?" in out and "answer: 4 考え" in out
    assert "flag 2  open: leak: the answer goes on thinking" in out
    (found,) = told(run, "list", "--flagged")["flagged"]
    assert (found["session"], found["reply"], [one["number"] for one in found["flags"]]) == (
        kept, as_read(TRACED), [1, 2],
    )  # fmt: skip
    code, out, _ = run("decide", "1", "2", "--verdict", "right", "--person", "Aiko")
    assert (code, out.splitlines()) == (
        0,
        [
            f"Flag 1 of session {kept} is settled: right.",
            f"Flag 2 of session {kept} is settled: right.",
            "Nothing else waits.",
        ],
    )
    assert run("list", "--flagged")[1] == "No reply waits for a person's verdict.\n"
    assert told(run, "list", "--flagged") == {"flagged": []}
    assert "waits" not in run("list")[1]
    assert "- 1  right: unsure: nothing confirms it" in run("show", kept)[1]


def test_the_newest_flagged_replies_come_first_and_so_many_as_wanted(run: Run) -> None:
    with Store.open() as store:
        conversation = store.new_conversation("Sums")
        for number in range(3):
            store.add_reply(conversation, replace(REPLY, question=f"question {number}", flags=("loop",)))
    asked = [one["reply"]["question"] for one in told(run, "list", "--flagged", "-n", "2")["flagged"]]
    assert asked == ["question 2", "question 1"]
    assert "1 more; `--all` shows them." in run("list", "--flagged", "-n", "2")[1]
    assert len(told(run, "list", "--flagged", "-n", "2", "--all")["flagged"]) == 3


def test_a_verdict_keeps_who_when_and_why(run: Run, kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "ken")
    with Store.open() as store:
        (flag, _) = store.flags()
    settled = told(run, "decide", "1", "--verdict", "wrong", "--note", " it is 5 ")
    assert settled["flagged"] == 1  # its other flag is open
    (one,) = settled["settled"]
    (settlement,) = one["settlements"]
    assert (settlement["verdict"], settlement["person"], settlement["note"]) == ("wrong", "ken", "it is 5")
    assert settlement["created"] >= flag.created
    assert "wrong, ken, " in run("show", kept)[1]


def test_a_settled_flag_tells_who_settled_it_and_stays_so(run: Run, kept: str) -> None:
    run("decide", "2", "--verdict", "wrong", "--person", "Aiko", "--note", "read again")
    for words in (["2", "--verdict", "right"], ["2", "--verdict", "wrong"], ["1", "2", "--verdict", "right"]):
        code, out, err = run("decide", *words, "--person", "Ken")
        assert (code, out) == (2, "")
        assert re.search(
            r"Flag 2 is settled already: wrong, Aiko, \d{4}-\d\d-\d\d \d\d:\d\d \(read again\)\. Nothing was changed; "
            r".*give --correct",
            err,
            re.DOTALL,
        )
    first, second = told(run, "show", kept)["flags"]
    assert first["settlements"] == []  # all are looked up before the first is settled
    assert [(one["verdict"], one["person"]) for one in second["settlements"]] == [("wrong", "Aiko")]
    told(run, "decide", "2", "--verdict", "right", "--person", "Ken", "--correct")
    second = told(run, "show", kept)["flags"][1]
    assert [(one["verdict"], one["person"]) for one in second["settlements"]] == [("wrong", "Aiko"), ("right", "Ken")]


def test_who_decides_has_a_name_even_where_the_machine_knows_none(
    run: Run, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("getpass.getuser", unknown)
    (one,) = told(run, "decide", "1", "--verdict", "right")["settled"]
    assert one["settlements"][0]["person"].startswith("user ")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["99", "--verdict", "right"], "'99' is no flag's number; see `kangae sessions list --flagged`"),
        (["1", "99", "--verdict", "right"], "'99' is no flag's number"),
        (["1", "--verdict", "perhaps"], "perhaps"),
        (["1"], "--verdict"),
        (["1", "--verdict", "right", "--person", " "], "has no name"),
    ],
)
def test_wrong_verdicts_settle_nothing(run: Run, kept: str, words: list[str], told: str) -> None:
    code, out, err = run("decide", *words)
    assert (code, out) == (2, "") and told in err
    with Store.open() as store:
        assert len(store.flags()) == 2


def test_a_session_in_the_place_of_a_flag_is_told_its_flags(run: Run, kept: str) -> None:
    code, _, err = run("decide", kept, "--verdict", "right")
    assert code == 2 and f"the open flags of the session {kept} are 1, 2." in err
    run("decide", "1", "2", "--verdict", "right")
    assert f"the session {kept} has no open flag." in run("decide", kept, "--verdict", "right")[2]


def test_quotes_go_with_the_thought_and_the_rest_of_the_trace_stays(run: Run, kept: str) -> None:
    with Store.open() as store:
        store.forget_thoughts(older_than_days=-1)
    out = run("show", kept, "--thinking")[1]
    assert "- 31  trial 0.93 (limit 0.95): a trial answer, for 9 tokens\n" in out and "4?" not in out


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("- one two three", ["- one two", "  three"]),
        ("- abcdefghijklmnop", ["- abcdefgh", "  ijklmnop"]),
        ("- 考考考考考", ["- 考考考考", "  考"]),
        ("", [""]),
    ],
)
def test_lines_are_folded_by_columns(text: str, lines: list[str]) -> None:
    assert folded(text, indent=2, width=10) == lines


def test_one_token_is_one(run: Run) -> None:
    one = replace(REPLY, usage=replace(REPLY.usage, thinking_tokens=1, answer_tokens=1))
    conversation = KeptConversation()
    conversation.add([one])
    _, out, _ = run("show", str(conversation.identity))
    assert "1 thinking token (" in out and "1 answer token, " in out

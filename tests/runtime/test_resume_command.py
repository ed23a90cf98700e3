"""Ctrl-C in `kangae ask`, and `kangae sessions resume` in another process: over the scripted engine."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import kangae
from runtime import opening
from runtime.backends.fake import FakeBackend, scripted
from runtime.local_responder import LocalResponder
from runtime.store import Store
from runtime.turn.kept_turn import KeptTurn
from runtime.turn.kept_turns import KeptTurns
from tests.fakes.scripted_model import FAMILY, VOCABULARY

THOUGHT, ANSWER = "One plus one.\nIs it two? It is.", "It is **2**."


class Machine:
    """Stands for `open_model`: each model that is opened is interrupted, as by Ctrl-C, in its decode `interrupt`."""

    def __init__(self) -> None:
        self.interrupt = -1
        self.opened: list[dict[str, Any]] = []
        self.backends: list[FakeBackend] = []

    def __call__(self, name: str, *, context: int | None = None, **options: object) -> LocalResponder:
        self.opened.append({"name": name, "context": context})
        script = scripted(VOCABULARY, f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}")
        backend = FakeBackend(script, VOCABULARY, context=context or 700, on_decode=self._on_decode)
        self.backends.append(backend)
        return LocalResponder(backend, FAMILY, backend_name="fake")

    def _on_decode(self, backend: FakeBackend) -> None:
        if len(backend.batches) == self.interrupt:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(opening, "open_model", made)
    return made


@pytest.fixture
def run(machine: Machine, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*words: str, interrupt: int = -1) -> tuple[int, str, str]:
        machine.interrupt = interrupt
        code = kangae.main(list(words))
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


Run = Callable[..., tuple[int, str, str]]
Kept = Callable[[], list[dict[str, Any]]]


def session() -> str:
    with Store.open() as store:
        (one,) = store.conversations()
        return one.id


def test_what_ctrl_c_stopped_goes_on_and_its_session_holds_one_whole_reply(
    run: Run, machine: Machine, kept_replies: Kept
) -> None:
    code, out, err = run("ask", "1+1?", interrupt=12)
    assert (code, out) == (130, "")
    told = f"Interrupted; what was produced is kept. `kangae sessions resume {session()}` goes on with it."
    assert err == f"One plus o\n{told}\n"
    code, out, err = run("sessions", "list")
    assert f"`kangae sessions resume {session()}` goes on with: 1+1?" in out
    code, out, err = run("sessions", "resume", session()[:5])
    assert (code, out, err) == (0, ANSWER + "\n", f"1+1?\n{THOUGHT}\n")
    assert machine.opened[-1] == {"name": "fake.gguf", "context": 700}
    (record,) = kept_replies()
    assert (record["thinking"], record["answer"], record["finish"]) == (THOUGHT, ANSWER, "stop")
    assert KeptTurns().all() == []
    code, _, err = run("sessions", "resume", session())
    assert code == 2 and "nothing to go on with" in err


def test_an_answer_under_way_is_printed_whole(run: Run, kept_replies: Kept) -> None:
    run("ask", "1+1?", interrupt=48)
    (record,) = kept_replies()
    assert record["answer"] and record["answer"] != ANSWER
    assert run("sessions", "resume") == (0, ANSWER + "\n", f"1+1?\n{THOUGHT}\n")


def test_ctrl_c_behind_the_last_word_comes_too_late(run: Run, machine: Machine, kept_replies: Kept) -> None:
    run("ask", "1+1?", "--no-store")
    (backend,) = machine.backends
    code, out, err = run("ask", "1+1?", interrupt=len(backend.batches))
    assert (code, out, err) == (0, ANSWER + "\n", THOUGHT + "\n")
    (record,) = kept_replies()
    assert (record["answer"], record["finish"], record.get("flags")) == (ANSWER, "stop", None)
    assert KeptTurns().all() == []
    code, _, err = run("sessions", "resume")
    assert code == 2 and "nothing to go on with" in err


def test_a_turn_that_is_kept_beside_its_whole_reply_is_not_offered(run: Run) -> None:
    run("ask", "1+1?", interrupt=12)
    (turn,) = KeptTurns().all()
    assert run("sessions", "resume")[0] == 0
    KeptTurns().write(turn)  # as where it could not be removed
    assert "goes on with" not in run("sessions", "list")[1]
    assert run("sessions", "resume")[0] == 2
    assert run("sessions", "resume", session())[0] == 2


def test_json_is_the_reply_of_an_uninterrupted_turn(run: Run, kept_replies: Kept) -> None:
    wanted = json.loads(run("ask", "1+1?", "--json", "--no-store")[1])
    code, out, _ = run("ask", "1+1?", "--json", interrupt=12)
    assert (code, json.loads(out)["finish"]) == (130, "cancelled")
    stopped = json.loads(run("sessions", "list", "--json")[1])["resumable"]
    assert [(one["id"], one["session"], one["question"]) for one in stopped] == [
        (json.loads(out)["id"], session(), "1+1?")
    ]
    code, out, _ = run("sessions", "resume", "--json", interrupt=9)
    assert (code, json.loads(out)["finish"]) == (130, "cancelled")  # stopped once more
    code, out, _ = run("sessions", "resume", stopped[0]["id"][:6], "--json")
    reply = json.loads(out)
    assert code == 0
    for name in ("thinking", "answer", "close", "finish", "usage", "budget", "model"):
        assert reply[name] == wanted[name]
    assert [record["id"] for record in kept_replies()] == [reply["id"]]


def test_what_is_not_to_be_kept_is_not(run: Run) -> None:
    code, _, err = run("ask", "1+1?", "--no-store", interrupt=12)
    assert (code, err) == (130, "One plus o\nInterrupted; what was produced is not kept.\n")
    assert KeptTurns().all() == []
    assert run("sessions", "resume")[0] == 2


def test_a_removed_session_takes_its_turn_with_it(run: Run) -> None:
    run("ask", "1+1?", interrupt=12)
    assert len(KeptTurns().all()) == 1
    assert run("sessions", "remove", session())[0] == 0
    assert KeptTurns().all() == []


def test_a_turn_without_a_session_is_removed_by_its_own_id(run: Run) -> None:
    run("ask", "1+1?", interrupt=12)
    (turn,) = KeptTurns().all()
    with Store.open() as store:
        store.remove(session())
    assert f"`kangae sessions resume {turn.id}` goes on with: 1+1?" in run("sessions", "list")[1]
    lock = KeptTurns().hold(turn.id)
    code, _, err = run("sessions", "remove", turn.id[:9])
    assert code == 2 and "under way in another process" in err
    lock.release()
    assert run("sessions", "remove", turn.id[:9])[:2] == (0, f"Removed {turn.id}.\n")
    assert list(KeptTurns().folder.iterdir()) == [KeptTurns().folder / "key"]
    code, _, err = run("sessions", "remove", turn.id[:9])
    assert code == 2 and "is no session's id" in err


def test_old_turns_are_forgotten_with_old_thoughts(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KANGAE_THINKING_DAYS", "3")
    run("ask", "1+1?", interrupt=12)
    turns = KeptTurns()
    (turn,) = turns.all()
    for identity, days in (("held", 4), ("old", 4), ("new", 2)):
        request = replace(turn.request, id=identity)
        turns.write(replace(turn, request=request, kept=turn.kept - days * 86400))
    (turns.folder / "damaged.turn").write_text("no turn")
    os.utime(turns.folder / "damaged.turn", (0, 0))
    lock = turns.hold("held")
    run("ask", "2+2?")
    lock.release()
    assert {one.id for one in turns.all()} == {turn.id, "held", "new"}
    assert not turns.has("damaged")


def test_a_damaged_turn_is_one_sentence(run: Run) -> None:
    run("ask", "1+1?", interrupt=12)
    (turn,) = KeptTurns().all()
    path = KeptTurns().folder / f"{turn.id}.turn"
    os.truncate(path, 100)
    code, out, err = run("sessions", "resume", session())
    assert (code, out) == (7, "")
    assert "cannot be gone on with" in err and "Traceback" not in err
    assert run("sessions", "list")[0] == 0


def schema_file(folder: Path, wanted: str) -> str:
    path = folder / f"{wanted}.json"
    path.write_text(json.dumps({"type": wanted}))
    return str(path)


def test_a_turn_that_goes_on_is_judged_as_it_was_to_be(run: Run, tmp_path: Path, kept_replies: Kept) -> None:
    assert run("ask", "1+1?", "--schema", schema_file(tmp_path, "object"), interrupt=12)[0] == 130
    assert run("sessions", "resume", interrupt=9)[0] == 130  # stopped once more, by what is kept alone
    code, out, err = run("sessions", "resume")
    assert (code, out) == (8, ANSWER + "\n") and "Doubtful: schema: " in err
    (record,) = kept_replies()
    assert [(check["name"], check["passed"]) for check in record["checks"]] == [("schema", False)]


def test_the_flags_of_resuming_win_over_what_was_kept(run: Run, tmp_path: Path) -> None:
    path = schema_file(tmp_path, "object")
    run("ask", "1+1?", "--schema", path, interrupt=12)
    assert run("sessions", "resume", "--verify", "none")[:2] == (0, ANSWER + "\n")
    run("ask", "1+1?", "--schema", path, interrupt=12)
    assert run("sessions", "resume", "--verify", "schema")[0] == 8  # by the schema that is kept
    run("ask", "1+1?", "--verify", "arithmetic", interrupt=12)
    code, out, _ = run("sessions", "resume", "--json", "--schema", path)
    assert code == 8 and [check["name"] for check in json.loads(out)["checks"]] == ["schema"]


def test_a_record_that_names_no_verifiers_is_read(run: Run) -> None:
    run("ask", "1+1?", "--verify", "arithmetic", interrupt=12)
    (turn,) = KeptTurns().all()
    record = turn.as_json()
    assert KeptTurn.from_json(record).request.verifiers == ("arithmetic",)
    del record["request"]["verifiers"], record["request"]["verifier_options"]
    older = KeptTurn.from_json(record).request
    assert (older.verifiers, older.verifier_options) == ((), {})

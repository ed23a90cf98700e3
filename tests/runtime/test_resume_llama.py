"""The model that ships, paused in a process that is then killed: in another one the rest is the same, word for word."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import kangae
from runtime.store import Store
from runtime.turn.kept_turns import KeptTurns

ROOT = Path(__file__).parents[2]
QUESTION = "What is 4731 * 8?"
CHILD = """
import sys
from models.locations import shipped_model
from runtime import opening
from runtime.events import AnswerDelta, ThinkingDelta
from runtime.turn.kept_turns import KeptTurns
from runtime.request import Message
from runtime.responder import Control
from runtime.request import Resumable

write, control, tokens = KeptTurns.write, Control(), int(sys.argv[2])

def told(self, turn, state=b""):
    write(self, turn, state)
    if state is not None:
        print("kept", len(state), flush=True)

KeptTurns.write = told
request = Resumable((Message("user", sys.argv[1]),), id="turn")
for event in opening.open_model(str(shipped_model())).respond(request, control):
    if isinstance(event, AnswerDelta) if tokens == 0 else isinstance(event, ThinkingDelta) and event.tokens >= tokens:
        control.pause()
print("over", flush=True)
"""


@pytest.mark.parametrize("whole", [True, False], ids=["cache restored", "cache lost"])
@pytest.mark.parametrize("tokens", [1, 17, 0], ids=["first token", "thought", "answer"])
def test_killed_while_it_was_paused(tokens: int, whole: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert kangae.main(["ask", QUESTION, "--json", "--no-store"]) == 0
    wanted = json.loads(capsys.readouterr().out)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, QUESTION, str(tokens)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    said = child.stdout.readline().split()
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert said[:1] == ["kept"] and int(said[1]) > 0
    turns = KeptTurns()
    kept = turns.read("turn")
    assert 0 < kept.held < len(kept.history)
    if not whole:
        path = turns.folder / "turn.state"
        os.truncate(path, path.stat().st_size - 1)
    assert kangae.main(["sessions", "resume", "turn", "--json"]) == 0
    reply = json.loads(capsys.readouterr().out)
    for name in ("thinking", "answer", "close", "finish", "usage", "budget", "model"):
        assert reply[name] == wanted[name]
    assert not turns.has("turn")
    with Store.open() as store:
        (one,) = store.conversations()
        assert [record.record["answer"] for record in store.replies(one.id)] == [wanted["answer"]]

"""Turns are recorded while they run; one process at a time goes on with one; a cache is used where it belongs."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from models.errors import UsageError, WriteError
from runtime.backends.backend import State
from runtime.backends.fake import FakeBackend
from runtime.events import Event, Progress, ThinkingDelta
from runtime.local_responder import LocalResponder
from runtime.profile.profile import EffortTokens
from runtime.request import Budget, Request, Resumable
from runtime.responder import Control
from runtime.turn import keeping as turn_keeping
from runtime.turn.kept_turn import KeptTurn
from runtime.turn.kept_turns import MOST_TURNS, KeptTurns
from tests.fakes.scripted_model import FAMILY, ask, reply_of
from tests.fakes.timed_backend import TimedBackend, known_speed
from tests.runtime.test_profile_store import PROFILE
from tests.runtime.test_resume import LONG, Case, go_on, kept_turn, plain, same

ROOT = Path(__file__).parents[2]
AGAIN = Resumable.of(ask(), id="turn", resumed=True)


def stopped(local: LocalResponder, request: Request, tokens: int) -> None:
    """Ask, and stop after so many thinking tokens."""
    control = Control()
    for event in local.respond(request, control):
        if isinstance(event, ThinkingDelta) and event.tokens >= tokens:
            control.cancel()


# one process at a time


def test_one_at_a_time_goes_on_with_a_turn(tmp_path: Path) -> None:
    folder = kept_turn(tmp_path / "turns")
    events = Case().responder(KeptTurns(folder)).respond(AGAIN)
    first: list[Event] = [next(events)]
    turns = KeptTurns(folder)
    with pytest.raises(UsageError, match="under way in another process"):
        go_on(turns)
    assert turns.all() == [] and turns.has("turn")
    assert same(reply_of([*first, *events])) == same(plain())
    assert not turns.has("turn")
    with pytest.raises(UsageError, match="No turn is kept"):
        go_on(turns)


def test_a_turn_that_is_refused_or_closed_is_free_again(tmp_path: Path) -> None:
    turns = KeptTurns(kept_turn(tmp_path / "turns"))
    with pytest.raises(UsageError, match="closed"):
        closing(turns)
    assert same(reply_of(go_on(turns))) == same(plain())


def closing(turns: KeptTurns) -> None:
    """Close the model at the moment in which a turn that goes on is about to be begun."""
    local = Case().responder(turns)
    watch = local._keeping.watch

    def close(*about: Any) -> None:
        watch(*about)
        local.close()

    local._keeping.watch = close  # type: ignore[method-assign, assignment]
    list(local.respond(AGAIN))


def test_what_is_under_way_makes_no_room(tmp_path: Path) -> None:
    kept = KeptTurns(kept_turn(tmp_path / "turns")).read("turn")
    turns = KeptTurns(tmp_path / "many")
    lock = turns.hold("t0")
    for number in range(MOST_TURNS + 2):
        identity = f"t{number}"
        turns.write(replace(kept, request=replace(kept.request, id=identity), kept=float(number)))
        os.utime(turns.folder / f"{identity}.turn", (number, number))
    assert turns.has("t0") and not turns.has("t1")
    assert "t0" not in [turn.id for turn in turns.all()]
    lock.release()
    assert "t0" in [turn.id for turn in turns.all()]


def test_an_id_that_begins_another_is_found(tmp_path: Path) -> None:
    turns = KeptTurns(kept_turn(tmp_path / "turns"))
    kept = turns.read("turn")
    turns.write(replace(kept, request=replace(kept.request, id="turn2")))
    assert turns.find("turn") == "turn"
    with pytest.raises(UsageError, match="begins the ids of several"):
        turns.find("tur")


# what its limits were


def test_an_effort_stays_what_it_was(tmp_path: Path) -> None:
    turns = KeptTurns(tmp_path / "turns")
    request = Resumable.of(replace(ask(), budget=Budget(effort="high")), id="turn")
    case = Case(LONG)
    stopped(case.responder(turns), request, 60)
    again = case.responder(turns)
    again.facts = replace(again.facts, profile=replace(PROFILE, efforts=EffortTokens(16, 32, 50)))
    reply = reply_of(again.respond(replace(request, resumed=True)))
    assert (reply.close, reply.budget.tokens) == ("natural", None)
    assert reply.usage.thinking_tokens > 200


# its cache


def cached(events: list[Event]) -> int:
    return next(event for event in events if isinstance(event, Progress)).cached


def with_weights(turns: KeptTurns, weights: str) -> LocalResponder:
    made = Case().responder(turns)
    made._keeping._weights = weights
    return made


@pytest.mark.parametrize(("before", "after", "flags"), [("a", "a", 0), ("a", "b", 1), ("", "", 0), ("a", "", 1)])
def test_a_cache_is_restored_into_the_same_model_alone(before: str, after: str, flags: int, tmp_path: Path) -> None:
    turns = KeptTurns(tmp_path / "turns")
    stopped(with_weights(turns, before), Resumable.of(ask(), id="turn"), 9)
    events = list(with_weights(turns, after).respond(AGAIN))
    assert bool(cached(events)) == (before == after == "a")
    assert len(reply_of(events).flags) == flags


def test_a_stop_before_a_turn_is_admitted_leaves_its_cache(tmp_path: Path) -> None:
    turns = KeptTurns(kept_turn(tmp_path / "turns"))
    held = turns.read("turn").held
    control = Control()
    control.cancel()
    assert reply_of(Case().responder(turns).respond(AGAIN, control)).finish == "cancelled"
    assert turns.read("turn").held == held > 0
    assert cached(go_on(turns)) == held


def test_a_wish_writes_the_record_alone(tmp_path: Path) -> None:
    turns, control = KeptTurns(tmp_path / "turns"), Control()
    local = Case(LONG).responder(turns)
    save, saves = local._backend.save, []
    step = local._engine.step

    def counted(sequence: int, most: int | None = None) -> State | None:
        saves.append(sequence)
        return save(sequence, most)

    def stepping() -> bool:
        worked = step()
        if not worked:
            stands.append(turns.read("turn"))
            control.resume() if len(stands) == 3 else control.hint(f"hint {len(stands)}")
        return worked

    stands: list[KeptTurn] = []
    local._backend.save = counted  # type: ignore[method-assign]
    local._engine.step = stepping  # type: ignore[method-assign]
    for event in local.respond(Resumable.of(ask(tokens=90), id="turn"), control):
        if isinstance(event, ThinkingDelta) and not stands:
            control.pause()
    assert [len(kept.earlier.wishes) for kept in stands] == [0, 1, 2]
    assert len(saves) == 1 and len({kept.held for kept in stands}) == 1 and stands[-1].held > 0


def test_a_large_cache_of_a_hurried_turn_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_keeping, "_MOST_HURRIED", 10)
    turns, backend, control = KeptTurns(tmp_path / "turns"), TimedBackend(), Control()
    local = LocalResponder(backend, FAMILY, clock=backend.clock, turns=turns, weights="a")
    known_speed(local)
    step, stood = local._engine.step, []

    def stepping() -> bool:
        worked = step()
        if not worked:
            stood.append((turns.read("turn").held, list(turns.folder.glob("*.state"))))
            control.cancel()
        return worked

    local._engine.step = stepping  # type: ignore[method-assign]
    for event in local.respond(Resumable.of(replace(ask(), budget=Budget(seconds=30.0)), id="turn"), control):
        if isinstance(event, ThinkingDelta):
            control.pause()
    assert stood[0] == (0, [])
    assert turns.read("turn").earlier.steps


def test_a_disk_that_fails_costs_the_reply_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(KeptTurns):
        def write(self, turn: KeptTurn, state: State | None = b"") -> None:
            raise BlockingIOError(11, "Resource temporarily unavailable")

    control = Control()
    hook = lambda backend: control.pause() if len(backend.batches) == 9 else control.resume()  # noqa: E731
    local = Case().responder(Broken(tmp_path / "turns"), hook)
    step = local._engine.step

    def stepping() -> bool:
        worked = step()
        if not worked:
            control.resume()
        return worked

    local._engine.step = stepping  # type: ignore[method-assign]
    assert same(reply_of(local.respond(Resumable.of(ask(), id="turn"), control))) == same(plain())
    assert caplog.text.count("temporarily unavailable") == 1


def test_a_read_only_disk_has_nothing_to_remove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system refuses to remove a file there before it looks whether there is one."""
    turns = KeptTurns(kept_turn(tmp_path / "turns"))

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    turns.remove("another")
    with pytest.raises(WriteError, match="the disk is read-only"):
        turns.remove("turn")


# while it runs


class Copied(KeptTurns):
    """Copies the folder at each write, as if the process were killed then."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.copies: list[KeptTurns] = []

    def write(self, turn: KeptTurn, state: State | None = b"") -> None:
        super().write(turn, state)
        copy = self.folder.with_name(f"copy-{len(self.copies)}")
        shutil.copytree(self.folder, copy)
        self.copies.append(KeptTurns(copy))


def timed(turns: KeptTurns) -> LocalResponder:
    """Its records are waited for, so that each is due by the clock alone."""

    def on_decode(fake: FakeBackend) -> None:
        for watched in local._keeping._watched.values():
            watched.finish()

    backend = TimedBackend(on_decode=on_decode)
    local = LocalResponder(backend, FAMILY, clock=backend.clock, turns=turns, weights="a")
    return local


def test_a_crash_in_mid_thought_loses_some_seconds(tmp_path: Path) -> None:
    request = Resumable.of(ask(tokens=200), id="turn")
    turns = Copied(tmp_path / "turns")
    wanted = reply_of(timed(turns).respond(request))
    assert not turns.has("turn")
    moments = [0.0, *(copy.read("turn").earlier.times.used for copy in turns.copies)]
    assert len(moments) == 1 + int(wanted.timings.total_s / 5.0)
    assert all(5.0 <= later - before < 5.5 for before, later in pairwise(moments))
    for copy in turns.copies:
        assert not list(copy.folder.glob("*.state"))
        assert [turn.id for turn in copy.all()] == ["turn"]
        assert same(reply_of(timed(copy).respond(replace(request, resumed=True)))) == same(wanted)
        assert not copy.has("turn")


def test_a_crash_after_it_went_on_still_finds_the_cache(tmp_path: Path) -> None:
    request = Resumable.of(ask(tokens=200), id="turn")
    first = KeptTurns(tmp_path / "first")
    stopped(timed(first), request, 30)
    held = first.read("turn").held
    turns = Copied(first.folder)
    reply_of(timed(turns).respond(replace(request, resumed=True)))
    events = list(timed(turns.copies[-1]).respond(replace(request, resumed=True)))
    assert cached(events) == held > 0


CHILD = """
import sys
from pathlib import Path
from runtime.turn import keeping as turn_keeping
from runtime.turn.kept_turns import KeptTurns
from runtime.request import Resumable
from tests.fakes.scripted_model import ask
from tests.runtime.test_resume import LONG, Case

turn_keeping._EVERY = 0.0
turns = KeptTurns(Path(sys.argv[1]))

def on_decode(backend):
    if len(backend.batches) == 150:
        for watched in local._keeping._watched.values():
            watched.finish()
        print(turns.is_held("turn"), turns.has("turn"), flush=True)
        sys.stdin.read()

local = Case(LONG).responder(turns, on_decode)
list(local.respond(Resumable.of(ask(), id="turn")))
"""


def test_a_process_that_is_killed_in_mid_thought_leaves_its_turn(tmp_path: Path) -> None:
    turns = KeptTurns(tmp_path / "turns")
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(turns.folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None and child.stdin is not None
    try:
        assert child.stdout.readline().split() == ["True", "True"]
        assert turns.all() == []
        with pytest.raises(UsageError, match="another process"):
            go_on(turns, Case(LONG))
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        child.stdin.close()
    assert [turn.id for turn in turns.all()] == ["turn"]
    assert same(reply_of(go_on(turns, Case(LONG)))) == same(plain(Case(LONG)))

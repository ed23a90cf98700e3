"""A turn that is paused, kept on disk and gone on with by another engine says what an uninterrupted one says."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from models.errors import CannotMeetError, UsageError
from runtime.backends.backend import Slice, State
from runtime.backends.fake import CHAT_TEMPLATE, OPEN_TEMPLATE, ByteVocabulary, FakeBackend, scripted
from runtime.events import AnswerDelta, Closed, Event, Progress, ThinkingDelta
from runtime.local_responder import LocalResponder
from runtime.reply import Reply, Timings
from runtime.request import Budget, Endings, Message, Probing, Request, Resumable, Sampling
from runtime.responder import Control
from runtime.turn.kept_turn import KeptTurn
from runtime.turn.kept_turns import MOST_TURNS, KeptTurns
from tests.fakes.scripted_model import FAMILY, SPELLED, VOCABULARY, WORDS, ask, joined, reply_of
from tests.fakes.timed_backend import known_speed

THOUGHT = "<think>\nOne plus one.\nIs it two? It is.\n</think>\n\nIt is **2**."
LONG = "<think>\n" + "One plus one is two. " * 12


@dataclass
class Snapshots(KeptTurns):
    """Copies the whole folder at each write, and lets the turn go on: as if it were killed, and were not."""

    folder: Path
    control: Control = field(default_factory=Control)
    taken: list[Path] = field(default_factory=list)

    def write(self, turn: KeptTurn, state: State | None = b"") -> None:
        super().write(turn, state)
        if state is None:
            return
        copy = self.folder.with_name(f"{self.folder.name}-{len(self.taken)}")
        shutil.copytree(self.folder, copy)
        self.taken.append(copy)
        self.control.resume()


@dataclass(frozen=True)
class Case:
    """A turn, and the machine that it runs on. `steer`: what its user does when so many decodes are done."""

    text: str = THOUGHT
    request: Request = field(default_factory=ask)
    vocabulary: ByteVocabulary = VOCABULARY
    template: str = CHAT_TEMPLATE
    can_rewind: bool = True
    spare: int = 0
    every: int = 1
    steer: Callable[[Control, int], None] = lambda control, decodes: None

    def responder(self, turns: KeptTurns, on_decode: Callable[[FakeBackend], None] | None = None) -> LocalResponder:
        backend = FakeBackend(
            scripted(self.vocabulary, self.text, answer="It is 2"),
            self.vocabulary,
            can_rewind=self.can_rewind,
            on_decode=on_decode,
            context=2048,
            chat_template=self.template,
        )
        return LocalResponder(backend, FAMILY, spare=self.spare, turns=turns, weights="of the script")


def hint_and_more(control: Control, decodes: int) -> None:
    """A hint in the middle of a sentence, which waits for its end; then more budget, twice."""
    if decodes == 12:
        control.hint("use ten")
    if decodes in (20, 60):
        control.more(9)


def answer_now(control: Control, decodes: int) -> None:
    if decodes == 9:
        control.answer_now()


CASES = {
    "natural": Case(),
    "budget": Case(LONG, ask(tokens=40)),
    "budget at a sentence": Case(LONG, ask(tokens=64)),
    "off": Case("It is 2", ask(tokens=0)),
    "tokens of many letters": Case(vocabulary=WORDS),
    "tags of many tokens": Case("<think>\nOne plus one is two</think>\n\nIt is </2>", vocabulary=SPELLED),
    "half a character": Case("<think>\n考えた。それは二。\n</think>\n\n二です"),
    "opened by the template": Case("One plus one is two.\n</think>\n\n2", template=OPEN_TEMPLATE),
    "no rewind": Case(LONG, ask(tokens=20), can_rewind=False),
    "least thought": Case("<think>\nOne.</think>\n\n2", ask(minimum=12)),
    "a given thought": Case(THOUGHT, replace(ask(), thinking="One plus")),
    "an answer of its length": Case("<think>a</think>\n\n" + "word " * 20, ask(answer_reserve=9)),
    "steered": Case(LONG, ask(tokens=30), steer=hint_and_more),
    "answer now": Case(LONG, steer=answer_now),
    "sure of itself": Case(request=replace(ask(), confidence=True)),
    "circles": Case("<think>\n" + "so it goes on. " * 120, every=97),
    "soft": Case(
        "<think>\n" + "One.\nTwo.\n" * 6 + "</think>\n\n2",
        replace(ask(tokens=40), endings=Endings(margin=30.0, least=8, ramp=True, hesitation=1.0)),
    ),
    "trials": Case(
        "<think>\n" + "One more.\n" * 9 + "</think>\n\n2",
        replace(ask(), endings=Endings(probing=Probing(least=8, every=8, agreeing=3, confidence=1.0))),
        spare=1,
    ),
}


def same(reply: Reply) -> Reply:
    """What has to be equal: all but the times."""
    return replace(reply, timings=Timings())


@pytest.mark.parametrize("name", CASES)
def test_equal_at_every_token(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    request = Resumable.of(case.request, id="turn")

    def run(pausing: bool) -> tuple[list[Event], Snapshots]:
        turns = Snapshots(tmp_path / f"pausing-{pausing}")

        def on_decode(backend: FakeBackend) -> None:
            case.steer(turns.control, len(backend.batches))
            if pausing and len(backend.batches) % case.every == 0:
                turns.control.pause()

        return list(case.responder(turns, on_decode).respond(request, turns.control)), turns

    plain, _ = run(pausing=False)
    wanted = same(reply_of(plain))
    paused, turns = run(pausing=True)
    assert same(reply_of(paused)) == wanted
    assert not turns.has("turn")
    assert len(turns.taken) >= 4
    assert wanted.budget.overshoot_tokens == 0
    for number, copy in enumerate(turns.taken):
        kept, control = KeptTurns(copy), Control()
        before = number * case.every + 1  # decodes, so that its user does the rest at the same moments

        def later(backend: FakeBackend, before: int = before, control: Control = control) -> None:
            case.steer(control, before + len(backend.batches))

        held = kept.read("turn").held
        assert held > 0
        again = case.responder(kept, later)
        events = list(again.respond(Resumable.of(ask(), id="turn", resumed=True), control))
        assert same(reply_of(events)) == wanted
        assert joined(events, ThinkingDelta).strip("\n") == wanted.thinking
        assert joined(events, AnswerDelta).strip() == wanted.answer
        assert [event.reason for event in events if isinstance(event, Closed)] == [wanted.close]
        assert next(event for event in events if isinstance(event, Progress)).cached == held  # nothing decoded twice
        assert not kept.has("turn")


def kept_turn(folder: Path, request: Request | None = None, *, at: int = 12, case: Case | None = None) -> Path:
    """The folder of a turn that was paused in the decode `at`, as it was then."""
    turns = Snapshots(folder)

    def on_decode(backend: FakeBackend) -> None:
        if len(backend.batches) == at:
            turns.control.pause()

    told = Resumable.of(request or ask(), id="turn")
    list((case or Case()).responder(turns, on_decode).respond(told, turns.control))
    (copy,) = turns.taken
    return copy


def go_on(turns: KeptTurns, case: Case | None = None) -> list[Event]:
    return list((case or Case()).responder(turns).respond(Resumable.of(ask(), id="turn", resumed=True)))


def plain(case: Case | None = None) -> Reply:
    case = case or Case()
    return reply_of(case.responder(KeptTurns(Path("/nonexistent"))).respond(replace(case.request, id="turn")))


def test_what_is_kept_is_told_again_first_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    turns = KeptTurns(kept_turn(tmp_path / "turns"))
    assert {path.stat().st_mode & 0o077 for path in turns.folder.iterdir()} == {0}
    (kept,) = turns.all()
    assert (kept.question, turns.find("tu"), turns.find("x")) == ("1+1?", "turn", None)
    events = go_on(turns)
    assert isinstance(events[0], ThinkingDelta) and events[0].text == "One plus on"
    assert isinstance(events[1], Progress)


def damage(path: Path, at: int, to: bytes) -> None:
    data = bytearray(path.read_bytes())
    data[at : at + len(to) or None] = to
    path.write_bytes(bytes(data))


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "another kind": lambda path: path.write_bytes(b"GGUF" * 100),
    "cut in its head": lambda path: os.truncate(path, 40),
    "cut in its record": lambda path: os.truncate(path, 400),
    "a bit of its record": lambda path: damage(path, 200, b"\x00"),
    "an endless record": lambda path: damage(path, 46, b"\xff" * 8),
    "a record with another key": lambda path: (path.with_name("key")).write_bytes(b"x" * 32),
    "no key": lambda path: (path.with_name("key")).unlink(),
    "a folder": make_folder,
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_turn_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    turns = KeptTurns(kept_turn(tmp_path / "turns"))
    DAMAGES[name](turns.folder / "turn.turn")
    with pytest.raises(CannotMeetError, match=r"cannot be gone on with \(.+\); ask again"):
        go_on(turns)
    assert turns.all() == []
    list(Case().responder(turns).respond(Resumable.of(ask(), id="other")))  # and nothing else is lost


@pytest.mark.parametrize(
    "damaged", [lambda path: os.truncate(path, path.stat().st_size - 3), lambda p: damage(p, -2, b"9")]
)
def test_a_damaged_cache_is_never_given_to_the_backend(damaged: Callable[[Path], object], tmp_path: Path) -> None:
    turns = KeptTurns(kept_turn(tmp_path / "turns"))
    assert turns.state(turns.read("turn")) != b""
    damaged(turns.folder / "turn.state")
    assert turns.state(turns.read("turn")) == b""
    events = go_on(turns)
    assert next(event for event in events if isinstance(event, Progress)).cached == 0
    assert same(reply_of(events)) == same(plain())


def test_a_cache_that_does_not_fit_is_made_again(tmp_path: Path) -> None:
    turns = KeptTurns(kept_turn(tmp_path / "turns"))
    local = Case().responder(turns)

    def refuse(sequence: int, state: State) -> None:
        raise CannotMeetError("A saved state belongs to another model or another build; decode the text again.")

    local._backend.restore = refuse  # type: ignore[method-assign]
    events = list(local.respond(Resumable.of(ask(), id="turn", resumed=True)))
    assert same(reply_of(events)) == same(plain())


def test_another_model_and_a_smaller_context_are_refused(tmp_path: Path) -> None:
    turns = KeptTurns(kept_turn(tmp_path / "turns"))
    with pytest.raises(CannotMeetError, match="another chat template"):
        go_on(turns, Case(template=OPEN_TEMPLATE))
    backend = FakeBackend(scripted(VOCABULARY, THOUGHT), VOCABULARY, context=512)
    with pytest.raises(CannotMeetError, match="--context 2048"):
        list(LocalResponder(backend, FAMILY, turns=turns).respond(Resumable.of(ask(), id="turn", resumed=True)))
    assert turns.has("turn")


def test_only_what_is_kept_can_be_gone_on_with(tmp_path: Path) -> None:
    turns = KeptTurns(tmp_path / "turns")
    with pytest.raises(UsageError, match="No turn is kept"):
        go_on(turns)
    for wrong in ("", "../turn", "a/b", "x" * 65):
        with pytest.raises(UsageError, match="cannot name a kept turn"):
            Resumable.of(ask(), id=wrong)
    assert not turns.folder.exists()


def test_a_stopped_turn_is_kept_and_goes_on_and_can_be_stopped_again(tmp_path: Path) -> None:
    turns, wanted = KeptTurns(tmp_path / "turns"), plain(Case(LONG, ask(tokens=60)))
    case, request = Case(LONG), Resumable.of(ask(tokens=60), id="turn")
    for rounds in range(5):
        control = Control()
        hook = lambda backend, control=control: control.cancel() if len(backend.batches) == 15 else None  # noqa: E731
        stopped = reply_of(case.responder(turns, hook).respond(request, control))
        assert stopped.finish == ("cancelled" if rounds < 4 else stopped.finish)
        if stopped.finish != "cancelled":
            break
        assert turns.has("turn")
        request = replace(request, resumed=True)
    assert same(stopped) == same(wanted)
    assert not turns.has("turn")


def test_what_was_stopped_before_it_began_is_not_kept(tmp_path: Path) -> None:
    turns, control = KeptTurns(tmp_path / "turns"), Control()
    control.cancel()
    assert reply_of(Case().responder(turns).respond(Resumable.of(ask(), id="turn"), control)).finish == "cancelled"
    assert not turns.has("turn")


def test_other_requests_leave_nothing_on_disk(tmp_path: Path) -> None:
    turns, control = Snapshots(tmp_path / "turns"), Control()
    hook = lambda backend: control.cancel() if len(backend.batches) == 9 else None  # noqa: E731
    assert reply_of(Case().responder(turns, hook).respond(ask(), control)).finish == "cancelled"
    assert not turns.folder.exists()


def test_a_disk_that_cannot_be_written_costs_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    turns, control = KeptTurns(tmp_path / "file" / "turns"), Control()
    hook = lambda backend: control.cancel() if len(backend.batches) == 9 else None  # noqa: E731
    stopped = reply_of(Case().responder(turns, hook).respond(Resumable.of(ask(), id="turn"), control))
    assert (stopped.finish, stopped.thinking) == ("cancelled", "One plu")
    assert "cannot be gone on with later" in caplog.text and "KANGAE_STATE_DIR" in caplog.text


def test_the_oldest_make_room(tmp_path: Path) -> None:
    kept = KeptTurns(kept_turn(tmp_path / "turns")).read("turn")
    turns = KeptTurns(tmp_path / "many")
    for number in range(MOST_TURNS + 3):
        identity = f"t{number}"
        turns.write(replace(kept, request=replace(kept.request, id=identity), kept=float(number)))
        os.utime(turns.folder / f"{identity}.turn", (number, number))
    assert [turn.id for turn in turns.all()] == [f"t{number}" for number in range(MOST_TURNS + 2, 2, -1)]


def test_thoughts_side_by_side_are_not_kept(tmp_path: Path) -> None:
    turns, control = KeptTurns(tmp_path / "turns"), Control()
    hook = lambda backend: control.cancel() if len(backend.batches) == 9 else None  # noqa: E731
    requests = [Resumable.of(ask(), id="turn")] * 2  # as a vote asks them: one id would hold two turns
    list(Case().responder(turns, hook).respond_many(requests, control))
    assert not turns.folder.exists()


def test_draws_begin_anew_and_the_reply_says_so(tmp_path: Path) -> None:
    case = Case(request=replace(ask(), sampling=Sampling(0.1, seed=3)))
    turns = KeptTurns(kept_turn(tmp_path / "turns", case.request))
    reply = reply_of(go_on(turns))
    assert reply.thinking.startswith("One plus on")
    assert reply.flags == ("resumed: the draws began anew, so the text is not that of an uninterrupted turn",)


class TimedBackend(FakeBackend):
    """Every decode takes a tenth of a second of its own clock."""

    now = 100.0

    def decode(self, batch: Sequence[Slice]) -> list[int | None]:
        self.now += 0.1
        return super().decode(batch)


def test_what_was_left_of_a_deadline_is_left(tmp_path: Path) -> None:
    turns = Snapshots(tmp_path / "turns")
    request = Request((Message("user", "1+1?"),), Budget(seconds=12.0), endings=Endings(loops=False))

    def timed(turns: KeptTurns, pause_at: int = -1) -> tuple[LocalResponder, TimedBackend]:
        def on_decode(backend: FakeBackend) -> None:
            if len(backend.batches) == pause_at:
                control.pause()

        backend = TimedBackend(
            scripted(VOCABULARY, "<think>\n" + "One more thought of it.\n" * 40, answer="2"),
            VOCABULARY,
            context=4096,
            on_decode=on_decode,
        )
        local = LocalResponder(backend, FAMILY, clock=lambda: backend.now, turns=turns)
        known_speed(local)
        return local, backend

    control = turns.control
    local, _ = timed(turns, pause_at=60)
    list(local.respond(Resumable.of(request, id="turn"), control))
    (copy,) = turns.taken
    used = KeptTurns(copy).read("turn").earlier.times.used
    assert 4.0 < used < 8.0
    local, backend = timed(KeptTurns(copy))
    start = backend.now
    reply = reply_of(list(local.respond(Resumable.of(request, id="turn", resumed=True))))
    assert (reply.close, reply.answer, reply.finish) == ("deadline", "2", "stop")
    assert backend.now - start <= 12.0 - used
    assert used < reply.timings.total_s <= 12.0
    assert reply.timings.first_thinking_s < used

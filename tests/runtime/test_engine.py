"""The engine over scripted ids: batching, forced ids, the shared cache, aborts and cancelling."""

from __future__ import annotations

import random
from collections.abc import Sequence as Ids

import pytest

from runtime.backends.backend import Slice
from runtime.backends.fake import IM_END, ByteVocabulary, FakeBackend
from runtime.control.scores import Scores
from runtime.engine import Engine
from runtime.prefix_cache import common_prefix
from runtime.reply import Finish
from runtime.request import Sampling
from runtime.sequence import STAY, Move, Sequence

VOCABULARY = ByteVocabulary()
GREEDY = Sampling()


def chaotic(ids: tuple[int, ...]) -> Ids[int]:
    """What comes next hangs on every id before, so that a cache that was mixed up shows at once."""
    source = random.Random(repr(ids))
    return [IM_END if len(ids) > 30 and source.random() < 0.05 else source.randrange(97, 123), 126, 125]


class Watcher:
    """A steer that takes `length` ids, and forces or refuses what it is told to."""

    def __init__(
        self, length: int = 20, *, force_at: int = -1, forced: Ids[int] = (), retract: int = 0, refuse: int = -1
    ) -> None:
        self.length, self.force_at, self.forced, self.retract, self.refuse = (
            length,
            force_at,
            tuple(forced),
            retract,
            refuse,
        )
        self.taken: list[int] = []
        self.told: list[tuple[int, int, int]] = []
        self.finish: Finish | None = None
        self.error: Exception | None = None
        self.cancelled = self.overdue = self.paused = False

    def progress(self, done: int, total: int, cached: int) -> None:
        self.told.append((done, total, cached))

    def before_draw(self, scores: Scores) -> Move:
        return STAY

    def permits(self, token: int) -> bool:
        return token != self.refuse

    def drawn(self, token: int) -> Move:
        if token == IM_END:
            return Move(retract=1, finish="stop")
        self.taken.append(token)
        if len(self.taken) == self.force_at:
            return Move(retract=self.retract, force=self.forced)
        return Move(finish="length") if len(self.taken) >= self.length else STAY

    def ended(self, finish: Finish, error: Exception | None) -> None:
        self.finish, self.error = finish, error


def run(backend: FakeBackend, prompts: Ids[Ids[int]], *, length: int = 20, refuse: int = -1) -> list[Watcher]:
    engine = Engine(backend)
    watchers = [Watcher(length, refuse=refuse) for _ in prompts]
    for prompt, watcher in zip(prompts, watchers, strict=True):
        engine.submit(Sequence(prompt, GREEDY, watcher))
    drive(engine)
    return watchers


def drive(engine: Engine, steps: int = 5000) -> None:
    for _ in range(steps):
        if not engine.busy:
            return
        engine.step()
    raise AssertionError("The engine does not come to an end.")


def prompts_of(count: int, seed: int = 1) -> list[list[int]]:
    source = random.Random(seed)
    return [source.choices(range(97, 123), k=source.randrange(1, 60)) for _ in range(count)]


def alone(prompt: Ids[int], length: int = 20) -> list[int]:
    return run(FakeBackend(chaotic, VOCABULARY, sequences=1), [prompt], length=length)[0].taken


def test_prefill_in_chunks_then_one_token_a_step() -> None:
    backend = FakeBackend(chaotic, VOCABULARY, batch=16)
    watcher = run(backend, [list(range(97, 97 + 20)) * 2], length=3)[0]
    assert [len(batch[0].ids) for batch in backend.batches] == [16, 16, 8, 1, 1]
    assert [batch[0].want_logits for batch in backend.batches] == [False, False, True, True, True]
    assert watcher.told == [(0, 40, 0), (16, 40, 0), (32, 40, 0), (40, 40, 0)]
    assert watcher.finish == "length"
    assert backend.samplers == 0


def test_prompts_join_while_others_draw() -> None:
    backend = FakeBackend(chaotic, VOCABULARY, batch=8, sequences=2)
    engine = Engine(backend)
    first = Watcher(length=10)
    engine.submit(Sequence([97, 98], GREEDY, first))
    engine.step()
    second = Watcher(length=2)
    engine.submit(Sequence(list(range(97, 117)), GREEDY, second))
    drive(engine)
    sizes = [[len(part.ids) for part in batch] for batch in backend.batches]
    assert sizes[:5] == [[2], [1, 7], [1, 7], [1, 4], [1, 1]]
    assert (len(first.taken), len(second.taken)) == (10, 2)


@pytest.mark.parametrize(("hurried", "paused", "most"), [(True, False, 32), (False, False, 63), (True, True, 64)])
def test_a_prompt_takes_little_of_a_step_beside_a_deadline(hurried: bool, paused: bool, most: int) -> None:
    backend = FakeBackend(chaotic, VOCABULARY, batch=64, sequences=2)
    engine, first = Engine(backend), Watcher(length=40)
    engine.submit(Sequence([97, 98], GREEDY, first, hurried=hurried))
    engine.step()
    first.paused = paused
    second = Watcher(length=2)
    engine.submit(Sequence([99] * 150, GREEDY, second))
    while not second.taken:
        engine.step()
    assert max(len(part.ids) for batch in backend.batches for part in batch) == most
    first.paused = False
    drive(engine)
    assert second.taken == alone([99] * 150, 2)


def test_forced_ids_are_one_batch_with_the_last_drawn() -> None:
    backend = FakeBackend(chaotic, VOCABULARY)
    engine = Engine(backend)
    watcher = Watcher(length=6, force_at=3, forced=[65, 66, 67, 68])
    engine.submit(Sequence([97], GREEDY, watcher))
    drive(engine)
    forced = [part for batch in backend.batches for part in batch if 65 in part.ids]
    assert [list(part.ids) for part in forced] == [[watcher.taken[2], 65, 66, 67, 68]]
    assert watcher.taken[3] == chaotic((97, *watcher.taken[:3], 65, 66, 67, 68))[0]


@pytest.mark.parametrize("can_rewind", [True, False])
def test_retracted_ids_leave_the_cache_where_it_can(can_rewind: bool) -> None:
    backend = FakeBackend(chaotic, VOCABULARY, can_rewind=can_rewind)
    engine = Engine(backend)
    watcher = Watcher(length=5, force_at=4, forced=[65], retract=3)
    sequence = Sequence([97, 98], GREEDY, watcher)
    engine.submit(sequence)
    drive(engine)
    kept = watcher.taken[:1] if can_rewind else watcher.taken[:3]
    assert sequence.history == [97, 98, *kept, 65, watcher.taken[4]]
    assert watcher.taken[4] == chaotic((97, 98, *kept, 65))[0]


def test_refused_token_gives_way_to_the_next_likely() -> None:
    refused = chaotic((97,))[0]
    watcher = run(FakeBackend(chaotic, VOCABULARY), [[97]], length=1, refuse=refused)[0]
    assert watcher.taken == [126]


@pytest.mark.parametrize(
    "limits",
    [
        {"sequences": 4, "batch": 64},
        {"sequences": 3, "batch": 7},
        {"sequences": 4, "batch": 64, "context": 90},
        {"sequences": 4, "batch": 32, "can_fork": False},
        {"sequences": 4, "batch": 32, "can_rewind": False},
        {"sequences": 4, "batch": 32, "can_batch": False},
        {"sequences": 2, "batch": 16, "context": 85, "can_rewind": False, "can_fork": False},
    ],
)
def test_together_as_alone(limits: dict[str, int]) -> None:
    prompts = prompts_of(12)
    prompts += [prompts[0] + [97], prompts[0], [*prompts[3][:10], 98, 99]]
    backend = FakeBackend(chaotic, VOCABULARY, **limits)  # type: ignore[arg-type]
    watchers = run(backend, prompts)
    assert [watcher.taken for watcher in watchers] == [alone(prompt) for prompt in prompts]
    assert {watcher.finish for watcher in watchers} <= {"stop", "length"}
    assert backend.samplers == 0


def test_a_full_cache_sends_the_youngest_back() -> None:
    backend = FakeBackend(chaotic, VOCABULARY, context=60, sequences=3)
    prompts = [[97] * 2, [98] * 3, [99] * 4]
    watchers = run(backend, prompts, length=25)
    assert max(len(batch) for batch in backend.batches) > 1
    assert [watcher.taken for watcher in watchers] == [alone(prompt, 25) for prompt in prompts]


def test_alone_and_too_long_ends_with_length_or_the_error() -> None:
    watcher = run(FakeBackend(lambda ids: [97], VOCABULARY, context=20), [[98] * 10], length=100)[0]
    assert (watcher.finish, len(watcher.taken)) == ("length", 11)
    watcher = run(FakeBackend(chaotic, VOCABULARY, context=20), [[98] * 30])[0]
    assert watcher.finish == "error"
    assert "full" in str(watcher.error)


def test_next_prompt_starts_from_the_longest_prefix() -> None:
    backend = FakeBackend(chaotic, VOCABULARY, sequences=2)
    engine = Engine(backend)
    prompt = list(range(97, 117))
    first = Watcher(length=5)
    engine.submit(Sequence(prompt, GREEDY, first))
    drive(engine)
    for following, cached in (
        (prompt + first.taken[:3] + [65, 66], len(prompt) + 3),
        ([*prompt[:10], 65], 10),
        (prompt, len(prompt) - 1),
    ):
        sequence = Sequence(following, GREEDY, Watcher(length=2))
        engine.submit(sequence)
        drive(engine)
        assert sequence.cached == cached


def test_many_with_one_prefix_decode_it_once() -> None:
    backend = FakeBackend(chaotic, VOCABULARY, context=400, sequences=4, batch=64)
    common = [random.Random(5).randrange(97, 123) for _ in range(100)]
    engine = Engine(backend)
    sequences = [Sequence([*common, 65 + number], GREEDY, Watcher(length=5)) for number in range(4)]
    for sequence in sequences:
        engine.submit(sequence)
    drive(engine)
    assert [sequence.cached for sequence in sequences] == [0, 100, 100, 100]
    assert sum(len(part.ids) for batch in backend.batches for part in batch) < 140
    assert max(len(batch) for batch in backend.batches) == 4


def test_aborted_decodes_are_repeated() -> None:
    count = 0

    def interrupt(fake: FakeBackend) -> None:
        nonlocal count
        count += 1
        if count % 3 == 0:
            fake.abort()

    prompts = prompts_of(5)
    for can_rewind in (True, False):
        backend = FakeBackend(chaotic, VOCABULARY, batch=16, can_rewind=can_rewind)
        expected = [alone(prompt) for prompt in prompts]
        backend._on_decode = interrupt if can_rewind else lambda fake: fake.abort() if len(fake.batches) == 6 else None
        engine = Engine(backend)
        watchers = [Watcher() for _ in prompts]
        for prompt, watcher in zip(prompts, watchers, strict=True):
            engine.submit(Sequence(prompt, GREEDY, watcher))
        if not can_rewind:
            for _ in range(10):
                engine.step()
            backend._on_decode = None
        drive(engine)
        assert [watcher.taken for watcher in watchers] == expected


def test_overdue_ends_with_what_it_has() -> None:
    engine, watcher = Engine(FakeBackend(chaotic, VOCABULARY)), Watcher(1000)
    engine.submit(Sequence([97, 98], GREEDY, watcher))
    while len(watcher.taken) < 3:
        engine.step()
    watcher.overdue = True
    engine.step()
    assert (watcher.finish, len(watcher.taken), engine.busy) == ("length", 3, False)


def test_cancelled_leaves_within_one_step_and_frees_its_slot() -> None:
    backend = FakeBackend(chaotic, VOCABULARY, sequences=1)
    engine = Engine(backend)
    first, second, third = Watcher(1000), Watcher(3), Watcher(3)
    for watcher in (first, second, third):
        engine.submit(Sequence([97, 98], GREEDY, watcher))
    engine.step()
    third.cancelled = True
    first.cancelled = True
    decodes = len(backend.batches)
    engine.drop_cancelled()
    assert (first.finish, third.finish, len(backend.batches)) == ("cancelled", "cancelled", decodes)
    drive(engine)
    assert second.taken == alone([97, 98], 3)


@pytest.mark.parametrize("at", range(0, 60, 3))
def test_recovers_from_an_interruption_anywhere(at: int) -> None:
    """An exception at the n-th call into the backend, before or after it is done, as Ctrl-C would come."""
    backend = FakeBackend(chaotic, VOCABULARY, sequences=3, batch=16)
    calls = 0

    def breaking(name: str, *, after: bool) -> None:
        real = getattr(backend, name)

        def call(*arguments: object) -> object:
            nonlocal calls
            calls += 1
            if calls == at and not after:
                raise KeyboardInterrupt
            result = real(*arguments)
            if calls == at:
                raise KeyboardInterrupt
            return result

        setattr(backend, name, call)

    for name, after in (("decode", True), ("fork", True), ("rewind", False), ("new_sampler", False)):
        breaking(name, after=after)
    prompts = prompts_of(6, seed=at)
    prompts.append(prompts[0] + [97])
    engine = Engine(backend)
    watchers = [Watcher(8) for _ in prompts]
    for prompt, watcher in zip(prompts, watchers, strict=True):
        engine.submit(Sequence(prompt, GREEDY, watcher))
    for _ in range(1000):
        if not engine.busy:
            break
        try:
            engine.step()
        except KeyboardInterrupt:
            engine.recover()
    assert [watcher.taken for watcher in watchers] == [alone(prompt, 8) for prompt in prompts]


def test_what_a_prompt_would_find_in_the_cache() -> None:
    backend = FakeBackend(chaotic, VOCABULARY, sequences=2)
    engine = Engine(backend)
    assert engine.held((97, 98, 99)) == 0
    engine.submit(Sequence([97, 98, 99, 100], GREEDY, Watcher(length=2)))
    drive(engine)
    assert engine.held((97, 98, 99, 101, 102)) == 3
    assert engine.held((97, 98)) == 1  # the last one is decoded for its logits


def test_common_prefix() -> None:
    for size in (0, 1, 255, 256, 257, 700):
        left = list(range(size))
        assert common_prefix(left, [*left, 1]) == size
        assert common_prefix([*left, 5, 6], [*left, 6, 6]) == size


def test_slices_are_contiguous() -> None:
    backend = FakeBackend(chaotic, VOCABULARY, sequences=2, batch=8)
    run(backend, [[97] * 20, [98] * 3], length=4)
    ends: dict[int, int] = {}
    for batch in backend.batches:
        for part in batch:
            assert isinstance(part, Slice)
            assert part.position == ends.get(part.sequence, 0)
            ends[part.sequence] = part.position + len(part.ids)

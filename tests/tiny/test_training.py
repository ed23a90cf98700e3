"""The trainer: its schedule, its stream of documents, its checkpoints, and that it learns."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from tokenizers import Tokenizer

from models.tiny import train
from models.tiny.checkpoint import FILE_NAME, Progress, load_checkpoint, load_network
from models.tiny.network import Network, NetworkShape
from models.tiny.optimizer import MuonAdamW, OptimizerSettings, orthogonalize
from models.tiny.packing import (
    Batch,
    BatchStream,
    Document,
    DocumentSource,
    StreamSettings,
    make_pool,
)
from models.tiny.tokenizer import LONGEST_TOKEN_BYTES
from models.tiny.trainer import Schedule, Trainer, TrainingSettings

pytestmark = pytest.mark.train

SHAPE = NetworkShape(vocabulary=384, hidden=64, layers=2, feed_forward=96, heads=4, key_value_heads=2)


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> StreamSettings:
    settings = StreamSettings(3, "", SHAPE.context, skills=("add",), refusals=False)
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer = train.prepare_tokenizer(folder, settings, SHAPE.vocabulary, SHAPE.context, samples=300)
    return replace(settings, tokenizer=tokenizer.to_str())


def make_trainer(folder: Path, stream: StreamSettings, tokens: int, resume: bool = False) -> Trainer:
    schedule = Schedule(tokens=tokens, warmup_steps=2)
    settings = TrainingSettings(folder, SHAPE, stream, schedule, batch_tokens=512, chunks=2, held_out_documents=16)
    tokenizer = Tokenizer.from_str(stream.tokenizer)
    return Trainer(settings, tokenizer, load_checkpoint(folder) if resume else None)


def test_schedule_warms_up_stays_flat_and_ends_at_zero() -> None:
    schedule = Schedule(seconds=1000.0)
    assert schedule.scale(Progress(step=9, elapsed_seconds=5.0)) == pytest.approx(0.1)
    assert schedule.scale(Progress(step=200, elapsed_seconds=590.0)) == 1.0
    assert schedule.scale(Progress(step=900, elapsed_seconds=800.0)) == pytest.approx(0.5)
    assert schedule.scale(Progress(step=999, elapsed_seconds=1000.0)) == 0.0
    assert schedule.remaining(Progress(elapsed_seconds=1001.0)) == 0.0


def test_schedule_counts_tokens_and_a_longer_run_is_flat_again() -> None:
    late = Progress(step=500, tokens=900)
    assert Schedule(tokens=1000).scale(late) == pytest.approx(0.25)
    assert Schedule(tokens=4000).scale(late) == 1.0


def test_decay_on_request_begins_at_once() -> None:
    schedule = Schedule(decay=(300.0, 400.0))
    assert schedule.scale(Progress(step=500, elapsed_seconds=300.0)) == 1.0
    assert schedule.scale(Progress(step=550, elapsed_seconds=375.0)) == pytest.approx(0.25)
    assert schedule.remaining(Progress(step=600, elapsed_seconds=400.0)) == 0.0


def test_newton_schulz_brings_singular_values_near_one() -> None:
    generator = torch.Generator().manual_seed(0)
    stack = torch.randn(3, 16, 48, generator=generator) * torch.tensor([1e-3, 1.0, 50.0])[:, None, None]
    values = torch.linalg.svdvals(orthogonalize(stack, 5))
    assert values.min() > 0.5
    assert values.max() < 1.5


def test_every_weight_moves_and_is_moved_by_one_optimizer() -> None:
    network = Network(SHAPE)
    network.initialize(0)
    optimizer = MuonAdamW(network.named_parameters(), OptimizerSettings())
    matrices = sum(len(group.weights) for group in optimizer.groups)
    others = sum(len(group["params"]) for group in optimizer.adam.param_groups)
    assert matrices == 7 * SHAPE.layers
    assert matrices + others == len(list(network.parameters()))
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    ids = torch.arange(40).view(2, 20)
    network.head_loss(network.model(ids), torch.arange(40), ids.view(-1).roll(1)).backward()  # type: ignore[no-untyped-call]
    optimizer.step(1.0)
    # A bias on the keys shifts all scores of a query alike: its gradient is zero, and it may stay.
    still = [name for name, weight in network.named_parameters() if torch.equal(weight, before[name])]
    assert all(name.endswith("k_proj.bias") for name in still)


def test_padding_changes_nothing() -> None:
    network = Network(SHAPE)
    network.initialize(1)
    ids = torch.randint(0, SHAPE.vocabulary, (1, 11), generator=torch.Generator().manual_seed(2))
    padded = torch.cat((ids, torch.zeros((1, 5), dtype=torch.long)), dim=1)
    assert torch.allclose(network(ids), network(padded)[:, :11], atol=1e-5)


def documents_of(lengths: list[int]) -> list[Document]:
    rng = numpy.random.default_rng(4)
    return [Document(rng.integers(1, 300, length).astype(numpy.int16), rng.random(length) < 0.6) for length in lengths]


def test_a_pool_holds_each_document_once_and_whole() -> None:
    documents = documents_of([5 + number * 7 % 90 for number in range(120)])
    batches = make_pool(documents, steps=4, chunks=3, place=0, next_document=120)
    assert len(batches) == 4
    assert [(batch.next_document, batch.next_skip) for batch in batches] == [(0, 1), (0, 2), (0, 3), (120, 0)]
    rows = Counter(bytes(row[row != 0]) for batch in batches for chunk in batch.chunks for row in chunk.ids)
    assert rows == Counter(bytes(document.ids[:-1].astype(numpy.int64)) for document in documents)
    assert sum(batch.tokens for batch in batches) == sum(len(document.ids) for document in documents)
    # Every step mixes short and long documents.
    assert all(batch.chunks[0].ids.shape[1] < batch.chunks[-1].ids.shape[1] for batch in batches)


def test_loss_stands_where_learning_is_marked_and_nowhere_else() -> None:
    document = Document(
        numpy.array([11, 12, 13, 14, 15], dtype=numpy.int16), numpy.array([True, False, True, False, True])
    )
    (batch,) = make_pool([document], steps=1, chunks=1, place=0, next_document=1)
    (chunk,) = batch.chunks
    assert chunk.ids[0, :4].tolist() == [11, 12, 13, 14]
    assert chunk.positions.tolist() == [1, 3]
    assert chunk.targets.tolist() == [13, 15]


def same(left: Batch, right: Batch) -> bool:
    pairs = zip(left.chunks, right.chunks, strict=True)
    return (left.next_document, left.next_skip) == (right.next_document, right.next_skip) and all(
        numpy.array_equal(one.ids, other.ids) and numpy.array_equal(one.targets, other.targets) for one, other in pairs
    )


def take(stream: StreamSettings, count: int, place: tuple[int, int] = (0, 0)) -> list[Batch]:
    batches = BatchStream(stream, 600, 2, *place)
    try:
        return list(islice(batches, count))
    finally:
        batches.close()


def test_the_stream_goes_on_exactly_where_it_stopped(stream: StreamSettings) -> None:
    whole = take(stream, 13)
    for stop in (3, 8):
        place = (whole[stop - 1].next_document, whole[stop - 1].next_skip)
        rest = take(stream, 13 - stop, place)
        assert all(same(one, other) for one, other in zip(whole[stop:], rest, strict=True))


def test_documents_longer_than_the_context_are_left_out_whole(stream: StreamSettings) -> None:
    source = DocumentSource(replace(stream, context=60))
    documents = source.block(0)
    kept = [document for document in documents if document is not None]
    assert 0 < len(kept) < len(documents)
    assert max(len(document.ids) for document in kept) <= 60


def test_tokens_stay_short_and_digits_single(stream: StreamSettings) -> None:
    tokenizer = json.loads(stream.tokenizer)
    added = {token["content"] for token in tokenizer["added_tokens"]}
    plain = [token for token in tokenizer["model"]["vocab"] if token not in added]
    assert max(len(token) for token in plain) <= LONGEST_TOKEN_BYTES
    assert not [
        token for token in plain if len(token) > 1 and any(letter in "0123456789" for letter in token)
    ]  # letters stand for bytes: "³" is none


def test_a_resumed_run_ends_where_an_unbroken_one_does(tmp_path: Path, stream: StreamSettings) -> None:
    torch.set_num_threads(1)
    tokens = 9_000
    unbroken = make_trainer(tmp_path / "unbroken", stream, tokens)
    unbroken.run()
    broken = make_trainer(tmp_path / "broken", stream, tokens)
    save, step = broken.save, broken._step

    def stop_after_five(batch: Batch, scale: float) -> float:
        if broken.progress.step == 4:
            (tmp_path / "broken" / "stop").touch()
        return step(batch, scale)

    broken._step = stop_after_five  # type: ignore[method-assign]
    assert broken.run().step == 5
    assert save().is_file()
    resumed = make_trainer(tmp_path / "broken", stream, tokens, resume=True)
    progress = resumed.run()
    assert (progress.step, progress.tokens) == (unbroken.progress.step, unbroken.progress.tokens)
    wanted = unbroken.network.state_dict()
    for name, weight in load_network(load_checkpoint(tmp_path / "broken")).state_dict().items():
        assert torch.allclose(weight, wanted[name], atol=1e-5), name


def test_a_termination_signal_saves_and_ends(tmp_path: Path, stream: StreamSettings) -> None:
    trainer = make_trainer(tmp_path, stream, 10**9)
    step = trainer._step

    def terminated(batch: Batch, scale: float) -> float:
        if trainer.progress.step == 1:
            signal.raise_signal(signal.SIGTERM)
        return step(batch, scale)

    assert threading.current_thread() is threading.main_thread()
    trainer._step = terminated  # type: ignore[method-assign]
    previous = signal.getsignal(signal.SIGTERM)
    assert trainer.run().step == 2
    assert signal.getsignal(signal.SIGTERM) == previous
    assert load_checkpoint(tmp_path).progress.step == 2
    assert sorted(os.listdir(tmp_path)) == [FILE_NAME, "log.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--skills", "add"], "--minutes or --tokens"),
        (["--tokens", "1000", "--resume"], "no checkpoint"),
        (["--decay-now", "5"], "--resume"),
    ],
)
def test_wrong_options_are_told_in_a_sentence(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr(train, "TOKENIZER_SAMPLES", 200)
    assert train.main([str(tmp_path / "run"), *arguments]) == 2
    assert words in capsys.readouterr().err

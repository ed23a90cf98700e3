"""The smoke run from end to end, as `make train-tiny SMOKE=1` goes: trained, exported, quantized, and asked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from numpy.typing import NDArray

import kangae
from models.errors import FLAGGED
from models.tiny import export, train
from models.tiny.checkpoint import Progress, load_checkpoint, load_network, save_checkpoint
from models.tiny.network import Network
from models.tiny.packing import Document, document_random, encode_sample
from models.tiny.teacher import Sample, Teacher
from models.tiny.tokenizer import load_tokenizer, save_tokenizer
from runtime.backends.backend import Slice
from runtime.backends.llama import open_llama

pytestmark = [pytest.mark.train, pytest.mark.slow]

SEED = 1  # of the run; its held-out documents are of the other split, whose problems are not in training
LESSONS = 12
QUESTIONS = 12

Logits = Callable[[list[int]], NDArray[numpy.float32]]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a smoke run."""
    folder = tmp_path_factory.mktemp("run")
    assert train.main([str(folder), "--smoke", "--threads", "1", "--device", "cpu", "--seed", str(SEED)]) == 0
    return folder


def untrained(run: Path, folder: Path) -> Path:
    """A run of the same sizes, with the same tokenizer, before its first step."""
    checkpoint = load_checkpoint(run)
    network = Network(checkpoint.shape)
    network.initialize(SEED)
    weights = {name: weight.detach() for name, weight in network.state_dict().items()}
    save_checkpoint(replace(checkpoint, progress=Progress(), weights=weights, optimizer={}), folder)
    save_tokenizer(load_tokenizer(run), folder, checkpoint.shape.context)
    return folder


def made(run: Path, capsys: Capture) -> Path:
    """The Q8_0 file of a run, by the commands that `make train-tiny` calls."""
    master = run / "kangae-tiny-F16.gguf"
    assert export.main([str(run), "--folder", str(run / "huggingface"), "--gguf", str(master)]) == 0
    words = ["quantize", str(master), "--to", "gguf:Q8_0", "--output", f"{run}/", "--force", "--json"]
    capsys.readouterr()
    assert kangae.main(words) == 0
    return Path(json.loads(capsys.readouterr().out)["file"])


def lessons(run: Path) -> list[tuple[Sample, Document]]:
    """Full additions that no run is trained on."""
    teacher = Teacher(SEED, split="test", skills=("add",), refusals=False)
    tokenizer = load_tokenizer(run)
    samples = [teacher.sample(document_random(SEED, index)) for index in range(8 * max(LESSONS, QUESTIONS))]
    return [(sample, encode_sample(sample, tokenizer)) for sample in samples if sample.mode == "full"]


def loss(documents: list[Document], logits_of: Logits) -> float:
    """Mean cross entropy (nats a token) where the documents are learned."""
    losses: list[float] = []
    for document in documents:
        ids = document.ids.tolist()
        logits = logits_of(ids[:-1]).astype(numpy.float64)
        logits -= logits.max(axis=1, keepdims=True)
        chances = logits - numpy.log(numpy.exp(logits).sum(axis=1, keepdims=True))
        losses += [-chances[index - 1, ids[index]] for index in numpy.flatnonzero(document.learn) if index > 0]
    return float(numpy.mean(losses))


def loss_of_file(file: Path, documents: list[Document]) -> float:
    """The same, by the engine's own backend."""
    longest = max(len(document.ids) for document in documents)
    backend = open_llama(file, context=longest, sequences=1, threads=1, outputs=longest)

    def logits_of(ids: list[int]) -> NDArray[numpy.float32]:
        backend.rewind(0, 0)
        rows = backend.decode([Slice(0, position, [token], True) for position, token in enumerate(ids)])
        return numpy.stack([backend.logits(row) for row in rows if row is not None])

    try:
        return loss(documents, logits_of)
    finally:
        backend.close()


def loss_of_run(run: Path, documents: list[Document]) -> float:
    """The same, by the trainer's network."""
    network = load_network(load_checkpoint(run))

    def logits_of(ids: list[int]) -> NDArray[numpy.float32]:
        with torch.no_grad():
            found: NDArray[numpy.float32] = network(torch.tensor([ids]))[0].numpy()
        return found

    return loss(documents, logits_of)


def replies(file: Path, samples: list[Sample], folder: Path, capsys: Capture) -> list[dict[str, Any]]:
    """What `kangae ask` answers to the questions of some lessons."""
    questions = folder / "questions.jsonl"
    records = [
        {"id": str(number), "question": sample.question, "expected": sample.answer}
        for number, sample in enumerate(samples)
    ]
    questions.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    words = ["ask", "--file", str(questions), "-m", str(file), "--budget", "120", "--max-answer", "16", "--no-store"]
    capsys.readouterr()
    assert kangae.main(words) in (0, FLAGGED)  # it learned to add, not yet to add rightly
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_smoke_run_learns(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [line["held_out"] for line in lines if "held_out" in line]
    assert losses[-1] < losses[0] / 2
    assert load_tokenizer(run).get_vocab_size() == train.SMOKE_SHAPE.vocabulary
    assert train.main([str(run), "--smoke", "--threads", "1"]) == 2  # never over a run that stands


def test_the_smoke_runs_file_has_learned_what_the_run_did(run: Path, tmp_path: Path, capsys: Capture) -> None:
    file, blank = made(run, capsys), made(untrained(run, tmp_path / "untrained"), capsys)
    found = lessons(run)
    documents = [document for _, document in found[:LESSONS]]
    learned, before = loss_of_file(file, documents), loss_of_file(blank, documents)
    assert learned < before / 4
    assert learned == pytest.approx(loss_of_run(run, documents), rel=0.05)  # eight bits a weight round a little

    # So short a run adds hardly anything right, but it thinks aloud in sums and answers with a number.
    samples = [sample for sample, _ in found[:QUESTIONS]]
    told, nothing = replies(file, samples, tmp_path, capsys), replies(blank, samples, tmp_path, capsys)
    assert sum(map(adds, told)) > 3 * QUESTIONS // 4, told
    assert not any(map(adds, nothing))


def adds(reply: dict[str, Any]) -> bool:
    """Whether a reply has the form of an addition: a sum in its thought, a number for an answer."""
    return re.search(r"\d\+\d", reply["thinking"]) is not None and reply["answer"].isdecimal()

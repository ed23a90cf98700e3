"""Documents from the teacher as batches of token ids.

The stream is a pure function of (seed, document index): a run that stops and resumes sees exactly the documents it
would have seen. Documents are never split and never see each other: each stands in a row of its own. The documents of
several steps are sorted by length together and cut into chunks of like lengths; every step gets a chunk of each
stratum, so that it mixes all lengths with little padding.
"""

from __future__ import annotations

import os
import random
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from typing import TYPE_CHECKING

import numpy

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from .teacher import Sample, Teacher

BLOCK_DOCUMENTS = 128
POOL_STEPS = 8
ROW_MULTIPLE = 8


@dataclass(frozen=True)
class StreamSettings:
    """What decides the documents: the same settings give the same stream. `tokenizer` is the text of tokenizer.json."""

    seed: int
    tokenizer: str
    context: int = 2048
    split: str = "train"
    skills: tuple[str, ...] | None = None
    refusals: bool = True


@dataclass(frozen=True)
class Document:
    """Token ids and, for each, whether predicting it is learned."""

    ids: NDArray[numpy.int16]
    learn: NDArray[numpy.bool_]


@dataclass(frozen=True)
class Chunk:
    """Rows of like length: `ids` (rows, length), padded on the right; `positions` (flat) predict `targets`."""

    ids: NDArray[numpy.int64]
    positions: NDArray[numpy.int64]
    targets: NDArray[numpy.int64]


@dataclass(frozen=True)
class Batch:
    """One step: chunks, the number of real tokens and of learned tokens, and where a run goes on after it
    (first document of the pool, batches of that pool to skip)."""

    chunks: tuple[Chunk, ...]
    tokens: int
    learned: int
    next_document: int
    next_skip: int


def encode_sample(sample: Sample, tokenizer: Tokenizer) -> Document:
    """Encodes segment by segment, so that each token belongs to one segment and its mark."""
    ids: list[int] = []
    learn: list[bool] = []
    encoded = tokenizer.encode_batch([segment.text for segment in sample.segments], add_special_tokens=False)
    for segment, encoding in zip(sample.segments, encoded, strict=True):
        ids.extend(encoding.ids)
        learn.extend([segment.learn] * len(encoding.ids))
    return Document(numpy.array(ids, dtype=numpy.int16), numpy.array(learn, dtype=numpy.bool_))


def check_segments(teacher: Teacher, tokenizer: Tokenizer, seed: int, count: int = 1000) -> None:
    """ValueError where cutting a sample into segments changes its token ids in one of the first `count` documents."""
    for index in range(count):
        sample = teacher.sample(document_random(seed, index))
        if sample.mode == "cut":  # what is forced in at the cut is encoded apart, as the engine does it
            continue
        whole = "".join(segment.text for segment in sample.segments)
        if tokenizer.encode(whole, add_special_tokens=False).ids != encode_sample(sample, tokenizer).ids.tolist():
            raise ValueError(f"document {index} has other tokens when it is cut into segments: {whole!r}")


def document_random(seed: int, index: int) -> random.Random:
    """The random numbers of document `index`."""
    return random.Random(f"{seed}:{index}")


class DocumentSource:
    """Makes documents by index, in the process where it lives."""

    def __init__(self, settings: StreamSettings) -> None:
        from tokenizers import Tokenizer

        from .teacher import Teacher

        self.settings = settings
        self.tokenizer = Tokenizer.from_str(settings.tokenizer)
        self.teacher = Teacher(settings.seed, split=settings.split, skills=settings.skills, refusals=settings.refusals)

    def block(self, index: int) -> list[Document | None]:
        """The documents of block `index`; None stands for one that is longer than the context."""
        documents: list[Document | None] = []
        for number in range(index * BLOCK_DOCUMENTS, (index + 1) * BLOCK_DOCUMENTS):
            sample = self.teacher.sample(document_random(self.settings.seed, number))
            document = encode_sample(sample, self.tokenizer)
            documents.append(document if 2 <= len(document.ids) <= self.settings.context else None)
        return documents


_source: DocumentSource | None = None


def _open_source(settings: StreamSettings) -> None:
    """Runs once in a worker process, which has this one source for its life."""
    global _source
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _source = DocumentSource(settings)


def _source_block(index: int) -> list[Document | None]:
    if _source is None:
        raise RuntimeError("the worker was not initialized")
    return _source.block(index)


def make_chunk(documents: Sequence[Document]) -> Chunk:
    """Documents side by side, padded with id 0 to the longest, rounded up to a multiple of 8."""
    longest = max(len(document.ids) for document in documents) - 1
    length = -(-longest // ROW_MULTIPLE) * ROW_MULTIPLE
    ids = numpy.zeros((len(documents), length), dtype=numpy.int64)
    positions, targets = [], []
    for row, document in enumerate(documents):
        ids[row, : len(document.ids) - 1] = document.ids[:-1]
        learned = numpy.flatnonzero(document.learn[1:])
        positions.append(learned + row * length)
        targets.append(document.ids[1:][learned])
    return Chunk(ids, numpy.concatenate(positions), numpy.concatenate(targets).astype(numpy.int64))


def make_pool(documents: Sequence[Document], steps: int, chunks: int, place: int, next_document: int) -> list[Batch]:
    """`steps` batches of `chunks` chunks each from one pool of documents.

    The pool is sorted by length and cut into `steps * chunks` parts of about equal size; each step gets one part of
    every stratum of lengths, drawn with random numbers that depend on `place` (the index of the first document) alone.
    """
    ordered = sorted(documents, key=lambda document: len(document.ids))
    sizes = numpy.cumsum([len(document.ids) for document in ordered])
    count = steps * chunks
    parts = (sizes - 1) * count // sizes[-1]
    cut = [[ordered[index] for index in numpy.flatnonzero(parts == part)] for part in range(count)]
    rng = random.Random(place)
    strata: list[list[list[Document]]] = []
    for first in range(0, count, steps):
        stratum = cut[first : first + steps]
        rng.shuffle(stratum)
        strata.append(stratum)
    mixed = [[stratum[step] for stratum in strata if stratum[step]] for step in range(steps)]
    mixed = [members for members in mixed if members]
    batches = []
    for number, members in enumerate(mixed, start=1):
        made = tuple(make_chunk(member) for member in members)
        tokens = sum(len(document.ids) for member in members for document in member)
        learned = sum(len(chunk.targets) for chunk in made)
        after = (next_document, 0) if number == len(mixed) else (place, number)
        batches.append(Batch(made, tokens, learned, *after))
    return batches


def gather_batches(
    documents: Iterator[tuple[int, Document | None]], batch_tokens: int, steps: int, chunks: int, first: int
) -> Iterator[Batch]:
    """Takes documents in order until a pool is full; those longer than the context are skipped, not cut."""
    pending: list[Document] = []
    tokens, place = 0, first
    for index, document in documents:
        if document is None:
            continue
        pending.append(document)
        tokens += len(document.ids)
        if tokens >= batch_tokens * steps:
            yield from make_pool(pending, steps, chunks, place, index + 1)
            pending, tokens, place = [], 0, index + 1


class BatchStream:
    """Batches without end from `next_document` on, made ahead of need in worker processes. Close it when done."""

    def __init__(
        self,
        settings: StreamSettings,
        batch_tokens: int,
        chunks: int,
        next_document: int = 0,
        skip: int = 0,
        workers: int = 1,
    ) -> None:
        self.pool = ProcessPoolExecutor(
            workers, mp_context=get_context("spawn"), initializer=_open_source, initargs=(settings,)
        )
        self.ahead = 2 * workers + 1 + POOL_STEPS * batch_tokens // (BLOCK_DOCUMENTS * 80)
        self.first = next_document
        gathered = gather_batches(self.documents(), batch_tokens, POOL_STEPS, chunks, next_document)
        self.batches = islice(gathered, skip, None)

    def documents(self) -> Iterator[tuple[int, Document | None]]:
        """(index, document) in order, with several blocks under way."""
        block = self.first // BLOCK_DOCUMENTS
        waiting: deque[Future[list[Document | None]]] = deque()
        while True:
            while len(waiting) < self.ahead:
                waiting.append(self.pool.submit(_source_block, block + len(waiting)))
            for offset, document in enumerate(waiting.popleft().result()):
                index = block * BLOCK_DOCUMENTS + offset
                if index >= self.first:
                    yield index, document
            block += 1

    def __iter__(self) -> Iterator[Batch]:
        return self.batches

    def close(self) -> None:
        """Ends the workers."""
        self.pool.shutdown(wait=False, cancel_futures=True)


def held_out_batch(settings: StreamSettings, documents: int, chunks: int) -> Batch:
    """The first `documents` of a stream as one batch, to measure a loss on."""
    source = DocumentSource(settings)
    found: list[Document] = []
    block = 0
    while len(found) < documents:
        found.extend(document for document in source.block(block) if document is not None)
        block += 1
    return make_pool(found[:documents], 1, chunks, 0, documents)[0]

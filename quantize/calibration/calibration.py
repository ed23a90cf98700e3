"""From a model and the name of a calibration source to a corpus and to an importance matrix: kept, and used again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from models.catalogue import ModelEntry
from models.errors import InternalError, ModelError, UsageError
from models.gguf_file import GgufFile
from models.locations import cache_folder
from models.whole_file import unfinished
from models.whole_folder import temporary_folder
from models.write_fault import write_error
from quantize.calibration.corpus import Corpus
from quantize.calibration.imatrix import ImatrixFile, is_imatrix, read_imatrix, require_fit, require_same_model
from quantize.calibration.prompts import PromptSet, prompts_of, shipped_prompts
from quantize.calibration.record import read_records
from quantize.calibration.tokenizer import opened_tokenizer
from quantize.calibration.traces import ensure_traces
from quantize.child import run_child

TRACES: Final = "traces"
"""The name of the source that is the model's own thoughts on the questions that ship."""
TOKENS: Final = 60_000
"""Of a corpus, at most: for Hessians, which want several tokens a column."""
IMATRIX_TOKENS: Final = 15_000
"""Of a corpus for an importance matrix, at most. Measured on the model that ships, all matrices at Q2_K: KL to F16 on
thoughts .0171 with 5,000 tokens of its own thoughts, .0155 with 15,000, .0159 with 60,000 (95 % interval ±.0023); .0188
with half of 15,000 replaced by English prose, .0251 with prose alone."""
CHUNK: Final = 512
"""What an importance matrix counts its text in, as llama-imatrix does unless told otherwise."""

Progress = Callable[[float], None]


def calibration_corpus(
    entry: ModelEntry, source: str, *, tokens: int = TOKENS, threads: int = 0, progress: Progress | None = None
) -> Corpus:
    """What `entry`, a GGUF model, is calibrated on.

    `source`: "traces", its own thoughts on the questions that ship; a JSONL file of questions, on which it thinks; one
    of kept replies or texts; or a plain text. Raises UsageError (the file is unfit), ModelError, WriteError.
    """
    if source == TRACES:
        return _of_traces(entry, shipped_prompts(), tokens, threads, progress)
    if is_imatrix(Path(source).expanduser()):
        raise UsageError(f"{source} is an importance matrix, which holds no text; give a text, or `traces`.")
    records = read_records(source)
    if all(record.is_question for record in records):
        return _of_traces(entry, prompts_of(records, source), tokens, threads, progress)
    with opened_tokenizer(entry) as tokenizer:
        return tokenizer.corpus(records, Path(source).name, most=tokens)


def _of_traces(entry: ModelEntry, prompts: PromptSet, tokens: int, threads: int, progress: Progress | None) -> Corpus:
    found = ensure_traces(entry, prompts, tokens, threads=threads, progress=progress)
    origin = f"own thoughts of {entry.name} on {prompts.origin}"
    with opened_tokenizer(entry) as tokenizer:
        return tokenizer.corpus([trace.record for trace in found.traces], origin, most=tokens)


def ensure_imatrix(
    entry: ModelEntry, source: str, *, tokens: int = IMATRIX_TOKENS, threads: int = 0, progress: Progress | None = None
) -> ImatrixFile:
    """The importance matrix of `entry`: the file `source`, where it is one, else made from that source (see
    `calibration_corpus`) or found in the cache. Raises UsageError (not of this model), ModelError, WriteError."""
    path = Path(source).expanduser()
    if source != TRACES and is_imatrix(path):
        found = read_imatrix(path)
        require_same_model(found, entry.name)
        require_fit(found, GgufFile.open(entry.path).tensors.values(), entry.name)
        return found
    half = (lambda share: progress(share / 2)) if progress is not None else None
    corpus = calibration_corpus(entry, source, tokens=tokens, threads=threads, progress=half)
    rest = (lambda share: progress(0.5 + share / 2)) if progress is not None else None
    return calibrate(entry, corpus, threads=threads, progress=rest)


def calibrate(entry: ModelEntry, corpus: Corpus, *, threads: int = 0, progress: Progress | None = None) -> ImatrixFile:
    """The importance matrix of a GGUF model on a corpus, from the cache where it was made before.

    Raises ModelError (the model cannot be run, or the text is too short), WriteError.
    """
    from runtime.backends.llama_fit import choose_threads
    from runtime.opening import find_hashed

    _, sha256 = find_hashed(str(entry.path))
    target = cache_folder() / "calibration" / f"{entry.name}-imatrix-{sha256[:12]}-{corpus.sha256[:12]}.gguf"
    own = {"model": entry.name, "model_sha256": sha256, "corpus_sha256": corpus.sha256}
    kept = _kept(target, own)
    if kept is not None:
        return kept
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with unfinished(target) as (part,), temporary_folder(target.with_suffix(".steps")) as folder:
            chunks, steps = folder / "chunks.npz", folder / "steps"
            np.savez(chunks, ids=np.concatenate(corpus.chunks), ends=np.cumsum([len(ids) for ids in corpus.chunks]))

            def tick() -> None:
                if progress is not None and steps.exists():
                    progress(steps.stat().st_size / 1000)

            ended = run_child(
                "quantize.calibration.imatrix_child",
                {
                    "model": str(entry.path.resolve()),
                    "chunks": str(chunks.resolve()),
                    "steps": str(steps.resolve()),
                    "target": str(part.resolve()),
                    "threads": threads or choose_threads(entry.bytes),
                    "datasets": [corpus.origin],
                    "chunk_size": CHUNK,
                    "own": own,
                },
                tick,
            )
            if ended.code < 0:
                raise ModelError(f"{entry.path} made llama.cpp stop (signal {-ended.code}) while it was calibrated.")
            if ended.code:
                raise ModelError(f"{entry.path} cannot be calibrated: {ended.said or 'no reason was given'}")
            read_imatrix(part)
    except OSError as error:
        raise write_error(target, error, "set KANGAE_CACHE_DIR to another folder") from error
    made = _kept(target, own)
    if made is None:
        raise InternalError(f"{target} was written, but is not what was to be written.")
    return made


def _kept(target: Path, own: dict[str, str]) -> ImatrixFile | None:
    """What was made before of the same model on the same corpus; None where it is missing or damaged."""
    if not target.is_file():
        return None
    try:
        found = read_imatrix(target)
    except ModelError:
        return None
    return found if own.items() <= found.imatrix.own.items() else None

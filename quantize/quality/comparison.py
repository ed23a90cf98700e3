"""Two open forms over the same texts, in step: neither's probabilities are ever kept for more than a few places."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.errors import ModelError, UsageError
from quantize.calibration.corpus import PROMPT
from quantize.calibration.record import Record
from quantize.calibration.tokenizer import Tokenizer
from quantize.quality.divergence import Places, divergence
from quantize.quality.open_form import OpenForm
from runtime.backends.backend import Backend, Slice
from runtime.request import Message

Text = tuple[list[int], list[int]]
"""Ids, and the phase of each (see `quantize.calibration.corpus`)."""
LONGEST: Final = 4096
"""Tokens of a text that are compared, at most."""
ROWS: Final = 64
"""Places that are compared at once, at most."""
_NUMBERS: Final = 1 << 22  # of the logits of one step, each several times in float64


def rows_for(vocabulary: int) -> int:
    """Places that are compared at once."""
    return max(4, min(ROWS, _NUMBERS // max(1, vocabulary)))


def held_out_texts(reference: OpenForm, replies: Sequence[Mapping[str, Any]], system: str, tokens: int) -> list[Text]:
    """The reference's own replies, in its own ids, until they hold so many tokens behind their prompts; the last one is
    cut there. What it could not finish stands without an answer that was forced."""
    facts, vocabulary = reference.backend.facts, reference.backend.vocabulary
    tokenizer = Tokenizer(facts, vocabulary, reference.family)
    longest = min(LONGEST, reference.backend.context)
    texts: list[Text] = []
    left = tokens
    for reply in replies:
        if left <= 0:
            break
        try:
            ids, phases = tokenizer.record(_record(reply, system))
        except (ModelError, UsageError):
            continue  # one of its own replies that its vocabulary cannot write again
        start = next((place for place, phase in enumerate(phases) if phase != PROMPT), len(phases))
        end = min(longest, start + left, len(ids))
        if not 0 < start < end:
            continue  # nothing of its own is left: it said nothing, or nothing that it finished
        texts.append((ids[:end], phases[:end]))
        left -= len(ids[:end]) - start
    return texts


def compare(
    reference: Backend, other: Backend, texts: Sequence[Text], progress: Callable[[float], None]
) -> list[Places]:
    """The divergence of `other` at each place of the replies. Both get the same ids. Raises ModelError."""
    rows = min(rows_for(reference.vocabulary.size), reference.batch, other.batch)
    total = sum(len(ids) for ids, _ in texts)
    done, found = 0, []
    for ids, phases in texts:
        found.append(_compare_text(reference, other, ids, phases, rows))
        done += len(ids)
        progress(done / total)
    return found


def _compare_text(reference: Backend, other: Backend, ids: Sequence[int], phases: Sequence[int], rows: int) -> Places:
    own = np.asarray(phases, np.uint8)
    first = int(np.argmax(own != PROMPT)) - 1  # its logits tell the first token of the reply
    for backend in (reference, other):
        backend.rewind(0, 0)
        _fill(backend, ids[:first])
    kl: list[npt.NDArray[np.float64]] = []
    agree: list[npt.NDArray[np.bool_]] = []
    for start in range(first, len(ids) - 1, rows):
        part = ids[start : min(start + rows, len(ids) - 1)]
        here, same = divergence(_logits(reference, start, part), _logits(other, start, part))
        kl.append(here)
        agree.append(same)
    return Places(np.concatenate(kl), np.concatenate(agree), own[first + 1 :])


def _fill(backend: Backend, ids: Sequence[int]) -> None:
    for start in range(0, len(ids), backend.batch):
        backend.decode([Slice(0, start, list(ids[start : start + backend.batch]), False)])


def _logits(backend: Backend, position: int, ids: Sequence[int]) -> npt.NDArray[np.float32]:
    """Shape (tokens, vocabulary): what is likely behind each of these tokens."""
    told = backend.decode([Slice(0, position + index, [token], True) for index, token in enumerate(ids)])
    return np.stack([backend.logits(row).copy() for row in told if row is not None])


def _record(reply: Mapping[str, Any], system: str) -> Record:
    whole = bool(reply["whole"])
    messages = (*((Message("system", system),) if system else ()), Message("user", str(reply["question"])))
    return Record(messages, str(reply["thinking"]), str(reply["answer"]) if whole else "", finished=whole)

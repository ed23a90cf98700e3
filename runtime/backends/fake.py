"""A backend without weights: a script says what follows a history of ids. For tests of everything above the backends.

It keeps a cache as real ones do (shared cells, forks, rewinds, a limit) and raises `InternalError` where a caller
breaks the protocol: a wrong position, too many tokens in a batch, a row read too late.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from models.errors import CannotMeetError, InternalError
from runtime.backends.backend import Aborted, ModelFacts, Slice, State
from runtime.request import Sampling

Script = Callable[[tuple[int, ...]], Sequence[int]]
"""From a sequence's ids to the next ids in order of preference, the most likely first."""

MARKERS = ("<|im_start|>", "<|im_end|>", "<think>", "</think>")
IM_START, IM_END, THINK, CLOSE_THINK = range(256, 256 + len(MARKERS))
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
)
OPEN_TEMPLATE = CHAT_TEMPLATE.replace("{% endif %}", "{% else %}<think>\n{% endif %}")
"""As `CHAT_TEMPLATE`, but the thought is opened by the template."""


class ByteVocabulary:
    """One id a byte, then the markers; with `merges`, further ids for longer pieces of text (the longest match is
    taken)."""

    def __init__(self, merges: Sequence[bytes] = (), *, tag_ids: bool = True) -> None:
        markers = MARKERS if tag_ids else MARKERS[:2]
        self._pieces = [bytes([value]) for value in range(256)] + [marker.encode() for marker in markers] + list(merges)
        self.size = len(self._pieces)
        self.end_ids = frozenset({IM_END})
        self.marker_ids = frozenset(range(256, 256 + len(markers)))
        self._merges = {piece: 256 + len(markers) + index for index, piece in enumerate(merges)}
        self._longest = max((len(piece) for piece in merges), default=1)
        self._markers = {marker.encode(): 256 + index for index, marker in enumerate(markers)}

    def tokenize(self, text: str, *, markers: bool) -> list[int]:
        """Ids of `text`; spellings of markers become markers only if asked for."""
        data, ids, start = text.encode("utf-8", "replace"), [], 0
        while start < len(data):
            token, length = self._match(data, start, markers)
            ids.append(token)
            start += length
        return ids

    def piece(self, token: int) -> bytes:
        """The bytes of an id."""
        return self._pieces[token]

    def spelling(self, token: int) -> str:
        """The text of an id."""
        return self._pieces[token].decode("utf-8", "replace")

    def text(self, ids: Sequence[int]) -> str:
        """What the ids spell."""
        return b"".join(map(self.piece, ids)).decode("utf-8", "replace")

    def _match(self, data: bytes, start: int, markers: bool) -> tuple[int, int]:
        if markers and data[start] == ord("<"):
            for spelling, token in self._markers.items():
                if data.startswith(spelling, start):
                    return token, len(spelling)
        for length in range(min(self._longest, len(data) - start), 1, -1):
            token = self._merges.get(data[start : start + length], -1)
            if token >= 0:
                return token, length
        return data[start], 1


def scripted(vocabulary: ByteVocabulary, text: str, *, answer: str = "", markers: bool = True) -> Script:
    """A model that says `text` after the last assistant header and ends its turn; after a forced closer it says
    `answer`.

    What follows depends on the ids alone, so that forks, rewinds and repeated decodes change nothing.
    """
    plan = [*vocabulary.tokenize(text, markers=markers), IM_END]
    header = vocabulary.tokenize("<|im_start|>assistant\n", markers=True)

    def follow(ids: tuple[int, ...]) -> Sequence[int]:
        start = max(
            (at for at in range(len(ids) - len(header) + 1) if list(ids[at : at + len(header)]) == header), default=0
        )
        said = list(ids[start + len(header) :])
        if said == plan[: len(said)]:
            return (plan[min(len(said), len(plan) - 1)], ord("~"))
        spelled = vocabulary.text(said)
        if "</think>" in spelled:
            rest = spelled.rsplit("</think>", 1)[1].lstrip("\n").encode()
            after = [*vocabulary.tokenize(answer, markers=markers), IM_END]
            taken = len(vocabulary.tokenize(rest.decode("utf-8", "replace"), markers=markers))
            return (after[min(taken, len(after) - 1)], ord("~"))
        opened = spelled.removeprefix("<think>").lstrip("\n")
        own = vocabulary.text(plan[:-1]).removeprefix("<think>").lstrip("\n")
        if own.startswith(opened):
            return (vocabulary.tokenize(own[len(opened) :], markers=markers) or [IM_END])[0], ord("~")
        return (plan[min(len(said), len(plan) - 1)], ord("~"))

    return follow


def by_question(vocabulary: ByteVocabulary, scripts: Mapping[str, Script]) -> Script:
    """The script whose key stands in the prompt's text."""

    def follow(ids: tuple[int, ...]) -> Sequence[int]:
        text = vocabulary.text(ids)
        return next(script for key, script in scripts.items() if key in text)(ids)

    return follow


class _Cell:
    """One cached token; sequences that were forked share it."""

    __slots__ = ("token",)

    def __init__(self, token: int) -> None:
        self.token = token


class _Sampler:
    def __init__(self, sampling: Sampling) -> None:
        self.temperature = sampling.temperature
        self.random = random.Random(sampling.seed)
        self.accepted: list[int] = []


class FakeBackend:
    """Implements `Backend`. `batches` lists every decode that was done; `on_decode` is called before each, as another
    thread would."""

    def __init__(
        self,
        script: Script,
        vocabulary: ByteVocabulary,
        *,
        context: int = 1024,
        sequences: int = 4,
        batch: int = 64,
        chat_template: str | None = CHAT_TEMPLATE,
        can_rewind: bool = True,
        can_fork: bool = True,
        can_batch: bool = True,
        on_decode: Callable[[FakeBackend], None] | None = None,
    ) -> None:
        self.vocabulary = vocabulary
        self.context = context
        self.sequences = sequences
        self.batch = batch
        self.can_rewind = can_rewind
        self.can_fork = can_fork
        self.can_batch = can_batch
        self.facts = ModelFacts("fake", "fake.gguf", "F32", "fake", context, 0, 0, chat_template)
        self.batches: list[list[Slice]] = []
        self.samplers = 0
        self.closed = False
        self._script = script
        self._on_decode = on_decode
        self._cells: list[list[_Cell]] = [[] for _ in range(sequences)]
        self._rows: list[tuple[int, ...]] = []
        self._logits: dict[int, npt.NDArray[np.float32]] = {}
        self._abort = False

    def ids(self, sequence: int) -> list[int]:
        """What stands in the cache."""
        return [cell.token for cell in self._cells[sequence]]

    def decode(self, batch: Sequence[Slice]) -> list[int | None]:
        """Decode by appending to the cache. Raises `Aborted`, `CannotMeetError` (full), `InternalError` (protocol)."""
        if self.closed:
            raise InternalError("The fake is closed.")
        total = sum(len(part.ids) for part in batch)
        if not 0 < total <= self.batch or any(not part.ids for part in batch):
            raise InternalError(f"A batch of {total} tokens in {len(batch)} slices; 1 to {self.batch} are allowed.")
        if not self.can_batch and len(batch) > 1:
            raise InternalError("This fake takes one sequence at a time.")
        for part in batch:
            if part.position != len(self._cells[part.sequence]):
                raise InternalError(f"Position {part.position} after {len(self._cells[part.sequence])} tokens.")
        self._rows = []
        if self._on_decode is not None:
            self._on_decode(self)
        if self._abort:
            self._abort = False
            for part in batch[:1]:  # an interrupted decode leaves some of its work behind
                if self.can_rewind:
                    self._cells[part.sequence] += [_Cell(token) for token in part.ids]
            raise Aborted
        if len({id(cell) for cells in self._cells for cell in cells}) + total > self.context:
            raise CannotMeetError(f"The cache of {self.context} tokens is full.")
        self.batches.append(list(batch))
        rows: list[int | None] = []
        self._logits.clear()
        for part in batch:
            self._cells[part.sequence] += [_Cell(token) for token in part.ids]
            rows.append(len(self._rows) if part.want_logits else None)
            if part.want_logits:
                self._rows.append(tuple(self.ids(part.sequence)))
        return rows

    def new_sampler(self, sampling: Sampling) -> _Sampler:
        """A sampler with its own random numbers."""
        self.samplers += 1
        return _Sampler(sampling)

    def free_sampler(self, sampler: _Sampler) -> None:
        """Count it back."""
        self.samplers -= 1

    def sample(self, row: int, sampler: _Sampler) -> int:
        """The script's first choice, or a draw by the fake's logits."""
        logits = self.logits(row)
        if sampler.temperature == 0.0:
            token = int(np.argmax(logits))
        else:
            weights = np.exp((logits - logits.max()) / sampler.temperature)
            token = sampler.random.choices(range(len(weights)), weights.tolist())[0]
        sampler.accepted.append(token)
        return token

    def accept(self, sampler: _Sampler, token: int) -> None:
        """Remember a token that was put in."""
        sampler.accepted.append(token)

    def logits(self, row: int) -> npt.NDArray[np.float32]:
        """10 for the script's first choice, 1 less for each further one, -10 for all else.

        What a caller changes in them holds for the draw, as in a real backend.
        """
        if row >= len(self._rows):
            raise InternalError(f"Row {row} is not valid any more.")
        if row in self._logits:
            return self._logits[row]
        values = self._logits[row] = np.full(self.vocabulary.size, -10.0, dtype=np.float32)
        for rank, token in enumerate(self._script(self._rows[row])):
            values[token] = max(values[token], 10.0 - rank)
        return values

    def fork(self, source: int, target: int) -> None:
        """Share the source's cells."""
        if not self.can_fork or self._cells[target]:
            raise InternalError("A fork that this backend cannot do, or into a sequence that is not empty.")
        self._cells[target] = list(self._cells[source])

    def rewind(self, sequence: int, position: int) -> None:
        """Drop the cells from `position` on."""
        if not self.can_rewind and 0 < position < len(self._cells[sequence]):
            raise CannotMeetError("This fake cannot rewind.")
        del self._cells[sequence][position:]

    def save(self, sequence: int, most: int | None = None) -> State | None:
        """The ids as JSON; None: they are longer than `most`."""
        state = json.dumps(self.ids(sequence)).encode()
        return state if most is None or len(state) <= most else None

    def restore(self, sequence: int, state: State) -> None:
        """The ids of `save`."""
        self._cells[sequence] = [_Cell(token) for token in json.loads(state)]

    def abort(self) -> None:
        """Interrupt the decode under way or the next one."""
        self._abort = True

    def close(self) -> None:
        """Nothing to free."""
        self.closed = True

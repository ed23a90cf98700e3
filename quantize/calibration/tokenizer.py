"""Records as a model would have them: its template, its tags and its vocabulary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from models.catalogue import ModelEntry
from models.errors import ModelError, UsageError
from models.family import Family
from quantize.calibration.corpus import ANSWER, PROMPT, THINKING, Corpus, Ids, Phases, cut
from quantize.calibration.record import Record
from runtime.backends.backend import ModelFacts, Vocabulary
from runtime.prompt import MarkerCutter, build_prompt

LONGEST = 2048
"""Tokens of a chunk, at most: attention takes the square of it where layers are computed one by one."""
_BLOCK = 1 << 20  # characters of a text that are tokenized at once


@dataclass(frozen=True)
class Tokenizer:
    """A model's vocabulary, what it says of itself, and how it writes its thoughts."""

    facts: ModelFacts
    vocabulary: Vocabulary
    family: Family

    def corpus(self, records: Sequence[Record], origin: str, *, most: int | None = None, longest: int = 0) -> Corpus:
        """All records, each from its own chunk on, until `most` tokens are full. `longest` 0: see LONGEST.

        A record that the model's vocabulary or template cannot write is left out. Raises UsageError where none is left.
        """
        longest = longest or min(LONGEST, self.facts.context_length or LONGEST)
        pairs: list[tuple[list[int], list[int]]] = []
        total, refusal = 0, ""
        for record in records:
            try:
                ids, phases = self.record(record, most=None if most is None else most - total)
            except (ModelError, UsageError) as error:
                refusal = refusal or error.detail
                continue
            begin = self._begin if record.text else []
            for chunk, own in cut(ids, phases, longest - len(begin)):
                pairs.append((_behind(begin, chunk), _behind([PROMPT] * len(begin), own)))
            total += len(ids)
            if most is not None and total >= most:
                break
        if not pairs:
            raise UsageError(f"Nothing in {origin} can be calibrated on{': ' + refusal if refusal else '.'}")
        found = Corpus.of([ids for ids, _ in pairs], [own for _, own in pairs], origin)
        return found if most is None else found.limited(most)

    def record(self, record: Record, *, most: int | None = None) -> tuple[list[int], list[int]]:
        """Ids and phases of one record; of a plain text only the first `most` tokens."""
        if record.text:
            ids = self._text_ids(record.text, most)[:most]
            return ids, [PROMPT] * len(ids)
        thinking, answer = self._split(record)
        prompt = build_prompt(
            record.messages,
            facts=self.facts,
            vocabulary=self.vocabulary,
            family=self.family,
            thinking=bool(thinking) or not answer,
        )
        parts: list[tuple[list[int], int]] = [(list(prompt.ids), PROMPT)]
        cutter = MarkerCutter(self.vocabulary)
        if thinking:
            opener = "" if prompt.starts_in_thinking else self.family.opener + "\n"
            parts.append((self._tags(opener), THINKING))
            closed = record.finished or bool(answer)
            newline = "\n" if closed and not thinking.endswith("\n") else ""
            parts.append((cutter.content_ids(thinking + newline), THINKING))  # many vocabularies join ".\n"
            if closed:
                parts.append((self._tags(self.family.closer), THINKING))
                parts.append((self._tags(self.family.after_closer), ANSWER))
        if answer:
            parts.append((cutter.content_ids(answer), ANSWER))
            if record.finished:
                parts.append((self._turn_end(), ANSWER))
        return [token for ids, _ in parts for token in ids], [phase for ids, phase in parts for _ in ids]

    def _split(self, record: Record) -> tuple[str, str]:
        """Thought and answer; many data sets keep both in one text, between the family's tags."""
        thinking, answer = record.thinking.strip("\n"), record.answer
        closer = next((tag for tag in self.family.closers if tag in answer), None)
        if not thinking and closer is not None:
            before, _, answer = answer.partition(closer)
            opener = next((tag for tag in self.family.openers if before.lstrip().startswith(tag)), "")
            thinking = before.lstrip().removeprefix(opener).strip("\n")
        return thinking, answer.strip()

    def _tags(self, text: str) -> list[int]:
        return self.vocabulary.tokenize(text, markers=True) if text else []

    def _turn_end(self) -> list[int]:
        """The token with which the model ends its turn, where its file names one."""
        for name in ("eot", "eos"):
            text = self.facts.metadata.get(f"tokenizer.ggml.{name}_token_id", "")
            if text.isdecimal() and int(text) in self.vocabulary.end_ids:
                return [int(text)]
        return []

    @property
    def _begin(self) -> list[int]:
        """What the model wants before any text."""
        return list(getattr(self.vocabulary, "begin_ids", ()))

    def _text_ids(self, text: str, most: int | None) -> list[int]:
        """No marker comes out of a text, as none comes out of a user's."""
        cutter = MarkerCutter(self.vocabulary)
        ids: list[int] = []
        for start in range(0, len(text), _BLOCK):
            for piece in cutter.pieces(text[start : start + _BLOCK]):
                ids += self.vocabulary.tokenize(piece, markers=False)
            if most is not None and len(ids) >= most:
                break
        if cutter.control_ids(ids):
            raise ModelError("The model's vocabulary cannot write this text without control tokens; use another text.")
        return ids


def _behind(begin: Sequence[int], rest: Ids | Phases) -> list[int]:
    return [*begin, *rest.tolist()]


@contextmanager
def opened_tokenizer(entry: ModelEntry) -> Iterator[Tokenizer]:
    """The tokenizer of a GGUF model while the block runs. Raises ModelError, ResourceError, MissingPackageError."""
    from runtime.backends.llama_library import llama_library
    from runtime.backends.llama_model import load_model, read_facts
    from runtime.backends.llama_vocabulary import LlamaVocabulary
    from runtime.opening import family_of, find_checked

    find_checked(str(entry.path))
    library = llama_library()
    model = load_model(library, entry.path, 0)
    try:
        facts = read_facts(library, model, entry.path, entry.bytes)
        yield Tokenizer(facts, LlamaVocabulary(library, model), family_of(entry, facts.metadata, facts.chat_template))
    finally:
        library.c.llama_model_free(model)

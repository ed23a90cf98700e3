"""A responder over a scripted model, and short ways to ask it and to read what it says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from models.family import Family, families
from runtime.backends.fake import (
    ByteVocabulary,
    FakeBackend,
    scripted,
)
from runtime.events import AnswerDelta, Done, Event, ThinkingDelta
from runtime.local_responder import LocalResponder
from runtime.reply import Reply
from runtime.request import Budget, Message, Request

FAMILY: Family = replace(next(one for one in families() if one.name == "kangae-tiny"), sure=None)
"""A script's confidence tells nothing, so nothing is made of it."""
VOCABULARY = ByteVocabulary()
WORDS = ByteVocabulary(
    merges=(b"One ", b"plus ", b"one ", b"is ", b"two", b"</", b"think", b"\n\n", b" a", "考".encode())
)
SPELLED = ByteVocabulary(merges=WORDS._pieces[260:], tag_ids=False)
"""A vocabulary in which a tag is several ordinary tokens."""
FORCED_CLOSE = "\nTime is up.\n</think>\n\n"


def ask(text: str = "1+1?", **budget: int | None) -> Request:
    return Request((Message("user", text),), Budget(**budget))  # type: ignore[arg-type]


def model(
    text: str, answer: str = "It is 2", *, vocabulary: ByteVocabulary = VOCABULARY, **more: object
) -> FakeBackend:
    return FakeBackend(scripted(vocabulary, text, answer=answer), vocabulary, **more)  # type: ignore[arg-type]


def responder(backend: FakeBackend, family: Family = FAMILY) -> LocalResponder:
    return LocalResponder(backend, family, backend_name="fake", load_seconds=1.5)


def reply_of(events: Sequence[Event] | Iterator[Event]) -> Reply:
    *_, last = events
    assert isinstance(last, Done)
    return last.reply


def joined(events: Sequence[Event], kind: type[ThinkingDelta] | type[AnswerDelta]) -> str:
    return "".join(event.text for event in events if isinstance(event, kind))


def decoded(backend: FakeBackend) -> list[str]:
    return [backend.vocabulary.text(part.ids) for batch in backend.batches for part in batch]

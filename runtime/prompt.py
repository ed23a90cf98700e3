"""From messages to the ids that a model is given.

A user's text can never become a control token: the chat template is rendered with placeholders that nobody can guess in
place of the messages' contents; what stands between the placeholders is the template's and may hold markers, what they
stand for is the users' and is tokenized apart, cut inside every spelling of a marker, and checked afterwards.

A template that does not leave the placeholders whole (it changes case, escapes, or cuts) is rendered a second way: with
the contents themselves, each marker spelling in them neutralised by a separator inside it. The text is then tokenized
between the separators, and its markers must be exactly those of the same conversation with harmless contents; else the
model's template is refused.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from models.errors import ModelError
from models.family import Family
from models.plain_text import strip_controls
from runtime.backends.backend import ModelFacts, Vocabulary
from runtime.request import Message
from runtime.template import TemplateRefusedError, render_template

PLAIN_TEMPLATE: Final = (
    "{% for message in messages %}"
    "{% if message.role == 'system' %}{{ message.content }}\n\n"
    "{% elif message.role == 'user' %}User: {{ message.content }}\n"
    "{% else %}Assistant: {{ message.content }}\n"
    "{% endif %}{% endfor %}Assistant: "
)
PLAIN_NOTE: Final = (
    "The model's file has no chat template, so it is asked in plain text (User: … Assistant: …); "
    "its replies may be worse than it can do. Use a file of the model that has its template."
)


@dataclass(frozen=True)
class Prompt:
    """What a model is given. `text` is what `ids` spell; `starts_in_thinking`: a thought is open at its end.

    `turn_ids` are the control tokens that lay the conversation out: a model that writes one begins another turn.
    `note` is a sentence for the user where the model's file lacks something, else empty.
    """

    ids: tuple[int, ...]
    starts_in_thinking: bool
    text: str
    note: str = ""
    turn_ids: frozenset[int] = frozenset()


@dataclass(frozen=True)
class _Segment:
    """A stretch of the prompt, the template's or a user's."""

    text: str
    content: bool


def merge_system(messages: Sequence[Message]) -> list[Message]:
    """The conversation without system turns; their text stands before the first user turn's."""
    system = "\n\n".join(message.content for message in messages if message.role == "system" and message.content)
    merged = [message for message in messages if message.role != "system"]
    for index, message in enumerate(merged):
        if system and message.role == "user":
            merged[index] = replace(message, content=f"{system}\n\n{message.content}")
            return merged
    return [Message("user", system), *merged] if system else merged


def strip_thought(content: str, family: Family) -> str:
    """An assistant's old reply without the thought it begins with, if it does."""
    start = content.lstrip()
    if not start.startswith(family.openers):
        return content
    ends = [(found, closer) for closer in family.closers if (found := start.find(closer)) >= 0]
    if not ends:
        return content
    found, closer = min(ends)
    return start[found + len(closer) :].lstrip("\n")


def thought_is_open(text: str, family: Family) -> bool:
    """Whether the last opener in `text` stands after the last closer."""
    return _last(text, family.openers) > _last(text, family.closers)


def _last(text: str, tags: Iterable[str]) -> int:
    return max((text.rfind(tag) for tag in tags), default=-1)


class MarkerCutter:
    """Finds a vocabulary's markers in users' text. Blank and one-character markers are no control signs and stay."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        by_first: dict[str, list[str]] = {}
        for token in vocabulary.marker_ids:
            spelling = vocabulary.spelling(token)
            if len(spelling) > 1 and not spelling.isspace():
                by_first.setdefault(spelling[0], []).append(spelling)
        self._by_first = {first: tuple(spellings) for first, spellings in by_first.items()}
        self._firsts = re.compile("[" + "".join(map(re.escape, self._by_first)) + "]") if by_first else None

    def pieces(self, text: str) -> list[str]:
        """`text` cut after the first character of every marker spelling in it, so that no piece holds a whole one."""
        if self._firsts is None:
            return [text]
        pieces, start = [], 0
        for found in self._firsts.finditer(text):
            if text.startswith(self._by_first[found.group()], found.start()):
                pieces.append(text[start : found.end()])
                start = found.end()
        pieces.append(text[start:])
        return [piece for piece in pieces if piece]

    def control_ids(self, ids: Iterable[int]) -> list[int]:
        """Those of `ids` that steer a model, in order."""
        vocabulary = self._vocabulary
        found = (token for token in ids if token in vocabulary.marker_ids)
        return [token for token in found if len(spelling := vocabulary.spelling(token)) > 1 and not spelling.isspace()]

    def content_ids(self, text: str) -> list[int]:
        """Ids of a user's text, checked: no marker among them, and they spell the text."""
        ids: list[int] = []
        for piece in self.pieces(text):
            own = self._vocabulary.tokenize(piece, markers=False)
            spelled = b"".join(map(self._vocabulary.piece, own)).decode("utf-8", "replace")
            # Some tokenizers put a space before every text that they are given.
            if self.control_ids(own) or spelled not in (piece, " " + piece):
                raise ModelError(
                    f"The model's vocabulary cannot write a part of the text as it stands ({_shown(piece)}); "
                    "change that part, or use another model."
                )
            ids += own
        return ids


def _shown(text: str) -> str:
    plain = strip_controls(text, lines=False, mark="?")
    return repr(plain if len(plain) <= 40 else plain[:40] + "…")


def _halves(content: str) -> tuple[str, str, str]:
    """Blank start, middle and blank end of a content: a template that trims must find something to trim."""
    middle = content.strip()
    start = content.index(middle)
    return content[:start], middle, content[start + len(middle) :]


Render = Callable[[Sequence[Message]], str]


def _by_placeholders(messages: Sequence[Message], render: Render) -> list[_Segment] | None:
    """The prompt's segments, or None where a placeholder did not come through whole."""
    nonce = secrets.token_hex(16)
    placeholders: dict[str, str] = {}
    stand_ins: list[Message] = []
    for index, message in enumerate(messages):
        start, middle, end = _halves(message.content)
        if not middle:
            stand_ins.append(message)
            continue
        # Letters of both cases and a quote: a change of case and any escaping break the placeholder, and are noticed.
        placeholder = f'\ue000Aa"{nonce}-{index}\ue001'
        placeholders[placeholder] = middle
        stand_ins.append(replace(message, content=start + placeholder + end))
    text = render(stand_ins)
    if any(placeholder not in text for placeholder in placeholders):
        return None
    pattern = "|".join(map(re.escape, placeholders))
    parts = re.split(f"({pattern})", text) if placeholders else [text]
    segments = [_Segment(placeholders.get(part, part), part in placeholders) for part in parts if part]
    if any(nonce in segment.text for segment in segments):
        return None
    return segments


def _by_separators(
    messages: Sequence[Message], render: Render, cutter: MarkerCutter, vocabulary: Vocabulary
) -> tuple[list[int], str, str]:
    """Ids and text by the second way, and the text with harmless contents, by which the start state is told."""
    separator = f"\ue000{secrets.randbelow(10**19):019d}\ue001"
    cut = [replace(message, content=separator.join(cutter.pieces(message.content))) for message in messages]
    harmless = render([replace(message, content="x" if message.content.strip() else "") for message in messages])
    parts = render(cut).split(separator)
    ids = [token for part in parts for token in vocabulary.tokenize(part, markers=True)]
    if cutter.control_ids(ids) != cutter.control_ids(vocabulary.tokenize(harmless, markers=True)):
        raise ModelError(
            "The model's chat template rewrites the messages so that their text cannot be kept apart from control "
            "tokens; use another file of the model."
        )
    return ids, "".join(parts), harmless


def _variables(facts: ModelFacts, vocabulary: Vocabulary, family: Family, thinking: bool) -> dict[str, Any]:
    """What a template may ask for besides the messages."""
    values: dict[str, Any] = {}
    for name in ("bos", "eos"):
        token = _token(facts.metadata, name, vocabulary)
        values[f"{name}_token"] = "" if token is None else vocabulary.spelling(token)
    switched_off = not thinking and family.off == "template"
    return {**values, **(family.template_off if switched_off else family.template_on)}


def _token(metadata: Mapping[str, str], name: str, vocabulary: Vocabulary) -> int | None:
    value = metadata.get(f"tokenizer.ggml.{name}_token_id", "")
    return int(value) if value.isdecimal() and int(value) < vocabulary.size else None


def _begin_ids(facts: ModelFacts, vocabulary: Vocabulary) -> tuple[int, ...]:
    """What must stand before any text: what the vocabulary says of itself, else the file's metadata."""
    own: tuple[int, ...] | None = getattr(vocabulary, "begin_ids", None)
    if own is not None:
        return own
    token = _token(facts.metadata, "bos", vocabulary)
    wanted = facts.metadata.get("tokenizer.ggml.add_bos_token", "").lower() == "true"
    return (token,) if wanted and token is not None else ()


def _closing_block(tail: str, family: Family) -> str:
    """What makes an empty thought of the prompt's end; empty where it holds one or none is wanted."""
    if thought_is_open(tail, family):
        blank = "\n" if tail.endswith("\n") else "\n\n"
        return blank + family.closer + family.after_closer
    closed_already = _last(tail, family.closers) >= 0
    return family.empty_block if family.off == "empty_block" and not closed_already else ""


def build_prompt(
    messages: Sequence[Message], *, facts: ModelFacts, vocabulary: Vocabulary, family: Family, thinking: bool
) -> Prompt:
    """The prompt for a reply to `messages`, with a thought allowed or switched off.

    Raises ModelError where the template or the vocabulary cannot be used, TemplateRefusedError (a UsageError) where the
    template refuses the conversation. Where it refuses or drops a system turn, its text goes into the first user turn.
    """
    clean = [replace(message, content=message.content.encode("utf-8", "replace").decode()) for message in messages]
    clean = [
        replace(message, content=strip_thought(message.content, family)) if message.role == "assistant" else message
        for message in clean
    ]
    source = facts.chat_template or PLAIN_TEMPLATE
    variables = _variables(facts, vocabulary, family, thinking)

    def render(turns: Sequence[Message]) -> str:
        return render_template(source, [{"role": turn.role, "content": turn.content} for turn in turns], variables)

    has_system = any(message.role == "system" for message in clean)
    if family.system == "merged" and has_system:
        clean, has_system = merge_system(clean), False
    try:
        segments = _by_placeholders(clean, render)
    except TemplateRefusedError:
        if not has_system:
            raise
        clean, has_system = merge_system(clean), False
        segments = _by_placeholders(clean, render)
    if segments is None and has_system:
        merged = merge_system(clean)
        segments = _by_placeholders(merged, render)
        clean = merged if segments is not None else clean

    cutter = MarkerCutter(vocabulary)
    if segments is None:
        ids, text, tail = _by_separators(clean, render, cutter, vocabulary)
    else:
        ids = []
        for segment in segments:
            content = segment.content
            ids += cutter.content_ids(segment.text) if content else vocabulary.tokenize(segment.text, markers=True)
        text = "".join(segment.text for segment in segments)
        tail = "" if not segments or segments[-1].content else segments[-1].text

    if not thinking and (block := _closing_block(tail, family)):
        ids, text, tail = ids + vocabulary.tokenize(block, markers=True), text + block, tail + block
    begin = _begin_ids(facts, vocabulary)
    if begin and tuple(ids[: len(begin)]) != begin:
        ids, text = [*begin, *ids], "".join(map(vocabulary.spelling, begin)) + text
    note = "" if facts.chat_template else PLAIN_NOTE
    return Prompt(tuple(ids), thought_is_open(tail, family), text, note, _turn_ids(ids, cutter, vocabulary, family))


def _turn_ids(ids: Sequence[int], cutter: MarkerCutter, vocabulary: Vocabulary, family: Family) -> frozenset[int]:
    """The control tokens of a prompt that are no part of a thought's tags."""
    tags = (*family.openers, *family.closers)
    spelled = {token: vocabulary.spelling(token) for token in cutter.control_ids(ids)}
    return frozenset(token for token, text in spelled.items() if not any(text in tag or tag in text for tag in tags))

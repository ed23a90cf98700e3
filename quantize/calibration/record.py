"""The lines of a calibration file: questions, kept replies, conversations, texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from models.errors import UsageError
from runtime.problems import read_lines
from runtime.request import Message

EXAMPLES: Final = (
    '{"question": "…"}, {"question": "…", "thinking": "…", "answer": "…"}, '
    '{"messages": [{"role": "user", "content": "…"}, …]} or {"text": "…"}'
)
PROVENANCE: Final = "provenance"
"""The key of a first line that tells where the rest came from."""
_ROLES = ("system", "user", "assistant")
_THOUGHT_KEYS = ("thinking", "reasoning_content", "reasoning")


@dataclass(frozen=True)
class Record:
    """A conversation up to a reply, and the reply; or a plain `text`, without either. `finished`: the reply came to its
    end, as a kept one does; else it stands only as far as it was thought or said."""

    messages: tuple[Message, ...] = ()
    thinking: str = ""
    answer: str = ""
    text: str = ""
    finished: bool = True

    @property
    def is_question(self) -> bool:
        """Whether the reply is still to be given."""
        return bool(self.messages) and not self.thinking and not self.answer


def read_records(source: str) -> list[Record]:
    """All of a JSONL file, or one record of a plain text. Raises UsageError, at a bad line with its number."""
    lines = list(read_lines(source))
    if not lines:
        raise UsageError(f"The file {source} is empty; give one object a line, as {EXAMPLES}, or a plain text.")
    if Path(source).suffix.lower() not in (".jsonl", ".ndjson") and not lines[0][1].lstrip().startswith("{"):
        text = "\n".join(line for _, line in lines)
        if "\0" in text:
            raise UsageError(f"The file {source} is no text; give a plain text, or JSON lines as {EXAMPLES}.")
        return [Record(text=text if source == "-" else _whole_text(source))]
    if _is_provenance(lines[0][1]):
        lines = lines[1:]
    return [parse_record(line, number) for number, line in lines]


def _is_provenance(line: str) -> bool:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and set(value) == {PROVENANCE}


def _whole_text(source: str) -> str:
    """With its blank lines, which `read_lines` leaves out."""
    try:
        return Path(source).expanduser().read_text("utf-8-sig", "replace")
    except OSError as error:
        raise UsageError(f"The file {source} cannot be read ({error.strerror}); check its permissions.") from error


def parse_record(line: str, number: int) -> Record:
    """The record on a line; raises UsageError that names the line."""
    where = f"Line {number}"
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where} is not JSON; each line is one object, as {EXAMPLES}.") from error
    if not isinstance(value, dict):
        raise UsageError(f"{where} is JSON, but no object; each line is one, as {EXAMPLES}.")
    if "messages" in value:
        return _of_messages(value, where)
    if "text" in value:
        text = _text(value, "text", where)
        if not text.strip():
            raise UsageError(f'{where}: "text" is empty; give some.')
        return Record(text=text)
    name = "question" if "question" in value else "prompt"
    if name not in value:
        raise UsageError(f"{where} holds neither a question nor a text; each line is one object, as {EXAMPLES}.")
    question = _text(value, name, where)
    if not question.strip():
        raise UsageError(f'{where}: "{name}" is empty; give some text.')
    return Record(
        messages=(Message("user", question),),
        thinking=_thought(value, where),
        answer=_text(value, "answer", where),
        finished=value.get("finish", "stop") == "stop" and bool(_text(value, "answer", where).strip()),
    )


def _of_messages(value: Mapping[str, Any], where: str) -> Record:
    given = value["messages"]
    if not isinstance(given, list) or not given or not all(isinstance(one, dict) for one in given):
        raise UsageError(f'{where}: "messages" is no list of objects with "role" and "content".')
    for one in given:
        if one.get("role") not in _ROLES:
            raise UsageError(f'{where}: "role" is {one.get("role")!r}; there are {", ".join(_ROLES)}.')
    last = given[-1]
    earlier = given[:-1] if last["role"] == "assistant" else given
    if not any(one["role"] == "user" for one in earlier):
        raise UsageError(f"{where}: nobody asks anything; a conversation begins with a user's message.")
    messages = tuple(Message(one["role"], _text(one, "content", where)) for one in earlier)
    if last["role"] != "assistant":
        return Record(messages=messages)
    whole = value.get("finish", "stop") == "stop" and value.get("close", "natural") in ("natural", "off")
    return Record(messages, _thought(last, where), _text(last, "content", where), finished=whole)


def _thought(value: Mapping[str, Any], where: str) -> str:
    return next((text for key in _THOUGHT_KEYS if (text := _text(value, key, where))), "")


def _text(value: Mapping[str, Any], key: str, where: str) -> str:
    found = value.get(key)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise UsageError(f'{where}: "{key}" is no text; give it in quotes.')
    return found

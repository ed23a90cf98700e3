"""JSON on a stream: what its encoding would lose is escaped, so that whoever reads it gets every sign."""

from __future__ import annotations

import codecs
import sys
from typing import Any, TextIO

from models.plain_text import ascii_json, json_line


def print_json(value: Any, *, flush: bool = False) -> None:
    """Print `value` as one line of JSON on standard output. Raises OSError where that cannot be written, and ValueError
    for a number that is not finite."""
    print(for_stream(json_line(value), sys.stdout), flush=flush)


def for_stream(text: str, stream: TextIO) -> str:
    """JSON `text` as `stream` takes it whole: where that is not UTF-8, all that is not ASCII is escaped, for JSON in
    another encoding is none (RFC 8259, 8.1). A stream without bytes below it, as in tests, takes any sign."""
    return text if _is_utf8(getattr(stream, "encoding", None) or "utf-8") else ascii_json(text)


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name == "utf-8"

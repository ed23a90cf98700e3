"""Text fit for a terminal and for lines of JSON: what a model or a file says may never steer either."""

from __future__ import annotations

import json
import re
from typing import Any

from models.plain_text import strip_controls as strip_controls  # one function for files' and models' words

_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def as_utf8(text: str) -> str:
    """A word of the command line as UTF-8 text: bytes that the terminal's encoding could not read, and which stand as
    lone surrogates, are read as the UTF-8 that they most likely are; what is none becomes a replacement sign."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()


def one_line(text: str) -> str:
    """`text` on one line: controls taken out, runs of blanks and line ends folded to a space."""
    return " ".join(strip_controls(text).split())


def shorten(text: str, width: int) -> str:
    """`text` on one line of at most `width` signs."""
    line = one_line(text)
    return line if len(line) <= width else line[: width - 1] + "…"


def json_line(value: Any) -> str:
    """`value` as JSON on one line. Controls (bidirectional ones too), what some readers take for a line's end, and lone
    surrogates are escaped; a number that is not finite cannot be written and raises ValueError."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found.group()):04x}", text)

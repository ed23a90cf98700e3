"""Text made fit for a terminal and for lines of JSON: what a file or a model says may steer neither, nor turn the order
of its signs."""

from __future__ import annotations

import json
import re
from typing import Any

_STEERING = "\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_IN_LINES = re.compile(f"[{_STEERING}]")
_ON_ONE_LINE = re.compile(f"[{_STEERING}\t\n\u2028\u2029]")
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


def strip_controls(text: str, *, lines: bool = True, mark: str = "") -> str:
    """`text` without the controls C0, DEL and C1, without the bidirectional embeddings, overrides and isolates, and
    without lone surrogates, which no terminal can be sent. Newlines and tabs stay, unless `lines` is False. `mark`
    stands in the place of what is taken out.

    The marks U+200E, U+200F and U+061C stay: Arabic and Hebrew need them, and they turn no other text around.
    Sign by sign: an escape sequence that is split over two pieces of text loses its first sign all the same, and with
    it its power; the rest stays as plain text.
    """
    return (_IN_LINES if lines else _ON_ONE_LINE).sub(mark, text)


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
    """`value` as JSON on one line. Controls (bidirectional ones and marks too), what some readers take for a line's
    end, and lone surrogates are escaped; a number that is not finite cannot be written and raises ValueError.

    It holds signs that are not ASCII; `models.json_output` prints it on streams that may lose them."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return _UNSAFE_IN_JSON.sub(_escape, text)


def ascii_json(text: str) -> str:
    """JSON `text` in ASCII alone, which says the same: outside its strings JSON has no other signs."""
    return _NOT_ASCII.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    """As UTF-16, whose units JSON's escapes are: two of them beyond U+FFFF."""
    units = found.group().encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))

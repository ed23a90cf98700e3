"""What a file or a model says, made fit for a terminal: it may neither steer it nor turn the order of its signs."""

from __future__ import annotations

import re

_STEERING = "\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_IN_LINES = re.compile(f"[{_STEERING}]")
_ON_ONE_LINE = re.compile(f"[{_STEERING}\t\n\u2028\u2029]")


def strip_controls(text: str, *, lines: bool = True, mark: str = "") -> str:
    """`text` without the controls C0, DEL and C1, without the bidirectional embeddings, overrides and isolates, and
    without lone surrogates, which no terminal can be sent. Newlines and tabs stay, unless `lines` is False. `mark`
    stands in the place of what is taken out.

    The marks U+200E, U+200F and U+061C stay: Arabic and Hebrew need them, and they turn no other text around.
    Sign by sign: an escape sequence that is split over two pieces of text loses its first sign all the same, and with
    it its power; the rest stays as plain text.
    """
    return (_IN_LINES if lines else _ON_ONE_LINE).sub(mark, text)

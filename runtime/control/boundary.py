"""Where a thought may be broken off: behind a newline or at a sentence's end, told from its last characters alone.

Of a point one cannot know before the next token whether a name goes on behind it (`math.` of `math.sqrt`). So there
are two answers: a sentence's end is certain once white space or a closing quote stands behind its mark, and apparent
before.
"""

from __future__ import annotations

import re
from typing import Final

_CLOSING: Final = "\"'”’)]」』）"
_MARKUP: Final = "*_`$"  # may stand behind a sentence's mark as well, but also within a formula or a name
_FULL_WIDTH: Final = "。！？"  # behind these no white space is written

_ABBREVIATION: Final = re.compile(
    r"(?<!\w)(?:(?:[^\W\d_]\.)+[^\W\d_]"  # e.g, i.e, z.B
    r"|approx|bzw|ca|cf|dr|eqs?|etc|excl|figs?|incl|mrs?|nr|pp|prof|resp|st|vgl|vol|vs)\Z",
    re.IGNORECASE,
)
_LIST_NUMBER: Final = re.compile(r"(?:\A|\n)[\s#>*(•-]*(?:\d{1,3}|[^\W\d_])\Z")
_LONE_LETTER: Final = re.compile(r"(?<!\w)[^\W\d_]\Z")
_PART_OF_NAME: Final = re.compile(r"[./\\@_`=<>{}]\S*\Z")  # a path, an address, code


def at_boundary(tail: str, *, certain: bool = False) -> bool:
    """Whether a thought with this end may be broken off here: behind a newline or a sentence's end.

    A point of a decimal number, of an abbreviation, of a list's number or within a name is none. With `certain`,
    nothing that may still come can turn the sentence's end into the middle of a name.
    """
    if tail[-1:].isalnum():  # most ends; this is asked at every token
        return False
    body = tail.rstrip()
    if "\n" in tail[len(body) :]:
        return True
    text = body.rstrip(_CLOSING + _MARKUP)
    mark, before = text[-1:], text[:-1]
    if mark and mark in _FULL_WIDTH:
        return True
    if not mark or mark not in ".!?" or not before:
        return False
    behind = tail[len(text) :]
    spaced = behind[-1:].isspace()
    over = spaced or any(sign in _CLOSING for sign in behind)
    if mark == "." and not _may_be_sentences(before, spaced=spaced, over=over):
        return False
    if mark == "!" and (before[-1].isspace() or before[-1] in "0123456789)" or _LONE_LETTER.search(before)):
        return False  # `!=`, or a factorial
    return over or not certain


def may_close(tail: str, left: float, window: float) -> bool:
    """Whether a thought that must be closed after `left` (tokens, or seconds) may be closed here, where the search for
    a place begins `window` before that. In the second half an apparent end is better than the cut to come."""
    return left <= window and at_boundary(tail, certain=left > window / 2)


def _may_be_sentences(before: str, *, spaced: bool, over: bool) -> bool:
    """Whether a point behind this text may be a sentence's; `spaced`: white space follows; `over`: that, or a closing
    quote."""
    if before[-1].isspace() or _ABBREVIATION.search(before):
        return False
    if before[-1].isdigit():  # else 3.5 may come
        return spaced and not _LIST_NUMBER.search(before)
    if _LONE_LETTER.search(before):  # else e.g. may come, or x.y
        return over and not _LIST_NUMBER.search(before)
    return over or not _PART_OF_NAME.search(before)

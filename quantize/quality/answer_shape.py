"""Whether an answer has the right form, apart from what it says."""

from __future__ import annotations

import re
from typing import Final

_NUMBER: Final = re.compile(r"[-−]?\d[\d.,]*(?<![.,])")
_WORD: Final = re.compile(r"[^\W\d_]+(?:[ ][^\W\d_]+)*")


def answer_shape(answer: str) -> str:
    """Each number counts as 0 and each run of words as a: `583 bolts` is `0 a`."""
    return _WORD.sub("a", _NUMBER.sub("0", " ".join(answer.split())))


def is_formed(answer: str, expected: str, check: str) -> bool:
    """Whether `answer` is built as `expected` is; where answers are compared as mathematics or by a verifier, which
    know many spellings, whether there is one."""
    if not answer.strip():
        return False
    return check != "text" or answer_shape(answer) == answer_shape(expected)

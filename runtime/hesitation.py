"""Words with which a model doubts what it has just said: the tokens that begin one, and how many a text holds.

The words follow arXiv 2606.00206; removing them outright breaks distilled models, a finite penalty does not.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from runtime.backends.backend import Vocabulary

WORDS = (
    "wait", "but", "hmm", "hm", "alternatively", "however", "actually", "maybe", "perhaps", "again", "recheck",
    "double-check", "doublecheck", "verify", "hold", "although", "though", "instead", "otherwise", "unless", "oh", "no",
    "待って", "待て", "しかし", "いや", "うーん", "でも", "やっぱり", "もしかして", "あるいは",
    "等等", "但是", "不过", "或者",
)  # fmt: skip
_MARK = re.compile(r"(?i)\b(?:wait|hmm+|alternatively|let me (?:check|think|re\w+))\b|待って|うーん|いや、")


def hesitation_ids(vocabulary: Vocabulary) -> npt.NDArray[np.int64]:
    """Ids whose piece is one of the words, with or without a space before it and in any case; shape (n,), sorted."""
    words = {word.encode() for word in WORDS}
    found = [
        token
        for token in range(vocabulary.size)
        if token not in vocabulary.marker_ids and vocabulary.piece(token).strip(b" \n\t").lower() in words
    ]
    return np.array(found, np.int64)


def hesitations(text: str) -> int:
    """How often a text doubts itself: what a thought does, and an answer should not."""
    return len(_MARK.findall(text))

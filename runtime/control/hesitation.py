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
    """Ids that are one of the words on their own, with or without a space or newline before it, in small letters,
    capitals or with a capital; shape (n,), sorted."""
    found: set[int] = set()
    for word in WORDS:
        for form in {word, word.capitalize(), word.upper()}:
            for before in ("", " ", "\n"):
                ids = vocabulary.tokenize(before + form, markers=False)
                if len(ids) == 1:
                    found.add(ids[0])
    return np.array(sorted(found), np.int64)


def hesitations(text: str) -> int:
    """How often a text doubts itself: what a thought does, and an answer should not."""
    return len(_MARK.findall(text))

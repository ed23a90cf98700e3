"""What an answer of the model that ships looks like, apart from what it says."""

from __future__ import annotations

import re

from models.tiny.problem import DAYS, ITEMS

_VERDICTS = {"en": ("yes", "no"), "ja": ("はい", "いいえ")}
_KINDS = tuple(
    (kind, sorted((name for each in names.values() for name in each), key=len, reverse=True))
    for kind, names in (("item", ITEMS), ("day", DAYS), ("verdict", _VERDICTS))
)


def answer_form(answer: str) -> str:
    """Numbers, items, weekdays, and yes or no each count as one of their kind: `583 bolts` is `0 item`."""
    for kind, names in _KINDS:
        for name in names:
            answer = re.sub(rf"\b{name}\b", kind, answer)
    return re.sub(r"\d+", "0", answer).strip()

"""Why a thought ended, in words for people."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "natural": "finished by itself",
        "soft": "had said enough",
        "probe": "the answer was settled",
        "loop": "was going in circles",
        "budget": "ended by the budget",  # at its last token, or at a boundary shortly before
        "deadline": "time was up",
        "user": "you asked for the answer",
        "off": "thinking is off",
    }
)


def close_words(reason: str) -> str:
    """`natural` → "finished by itself"; a reason that is not known here is shown as it is."""
    return _WORDS.get(reason, reason)

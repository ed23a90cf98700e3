"""A vocabulary of 256 bytes and some markers, as unfriendly as a real one: user-defined markers are always parsed."""

from __future__ import annotations

import re
from collections.abc import Sequence

QWEN_CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
THINK = ("<think>", "</think>")


class ByteVocabulary:
    """Ids 0-255 are bytes, then control markers (parsed on demand), then user-defined ones (parsed always)."""

    def __init__(self, control: Sequence[str] = QWEN_CONTROL, user_defined: Sequence[str] = THINK) -> None:
        self._markers = {text: 256 + index for index, text in enumerate((*control, *user_defined))}
        self._spellings = {token: text for text, token in self._markers.items()}
        self._always = tuple(user_defined)
        self.size = 256 + len(self._markers)
        self.marker_ids = frozenset(self._spellings)
        self.end_ids = frozenset({self._markers[control[-1]]}) if control else frozenset()

    def tokenize(self, text: str, *, markers: bool) -> list[int]:
        """Longest marker first, as tokenizers do."""
        parsed = sorted(self._markers if markers else self._always, key=len, reverse=True)
        if not parsed:
            return list(text.encode())
        ids: list[int] = []
        for part in re.split(f"({'|'.join(map(re.escape, parsed))})", text):
            ids += [self._markers[part]] if part in parsed else part.encode()
        return ids

    def piece(self, token: int) -> bytes:
        """A byte, or a marker's spelling."""
        return self._spellings[token].encode() if token in self._spellings else bytes([token])

    def spelling(self, token: int) -> str:
        """A marker's spelling."""
        return self._spellings.get(token) or bytes([token]).decode("latin-1")

    def marker(self, text: str) -> int:
        """The id of a marker."""
        return self._markers[text]

    def text(self, ids: Sequence[int]) -> str:
        """What ids spell."""
        return b"".join(map(self.piece, ids)).decode()

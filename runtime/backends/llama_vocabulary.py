"""The vocabulary of an open GGUF model: text to ids and back, and which ids are markers."""

from __future__ import annotations

import ctypes
import re
from itertools import repeat
from typing import Any

from models.errors import InternalError
from runtime.backends.llama_library import LlamaLibrary


class LlamaVocabulary:
    """Ids are 0 <= id < size. Pieces are looked up once each. `begin_ids` are what the model wants before any text."""

    size: int
    end_ids: frozenset[int]
    marker_ids: frozenset[int]
    begin_ids: tuple[int, ...]

    def __init__(self, library: LlamaLibrary, model: Any) -> None:
        c = library.c
        self._c = c
        self._vocab = c.llama_model_get_vocab(model)
        self.size = int(c.llama_vocab_n_tokens(self._vocab))
        marks = c.LLAMA_TOKEN_ATTR_CONTROL | c.LLAMA_TOKEN_ATTR_USER_DEFINED | c.LLAMA_TOKEN_ATTR_UNKNOWN
        # One C call a token, driven by map: 150,000 of them in some 25 ms.
        attributes = map(c.llama_vocab_get_attr, repeat(self._vocab), range(self.size))
        self.marker_ids = frozenset(token for token, attribute in enumerate(attributes) if attribute & marks)
        named = (
            c.llama_vocab_eos,
            c.llama_vocab_eot,
            c.llama_vocab_fim_pad,
            c.llama_vocab_fim_rep,
            c.llama_vocab_fim_sep,
        )
        # The library turns every end token that it knows by its spelling into a control token, and adds the named ones.
        candidates = self.marker_ids | {token for function in named if (token := int(function(self._vocab))) >= 0}
        self.end_ids = frozenset(token for token in candidates if c.llama_vocab_is_eog(self._vocab, token))
        begin = int(c.llama_vocab_bos(self._vocab))
        self.begin_ids = (begin,) if begin >= 0 and c.llama_vocab_get_add_bos(self._vocab) else ()
        self._pieces: list[bytes | None] = [None] * self.size

    def tokenize(self, text: str, *, markers: bool) -> list[int]:
        """Ids of `text`, nothing put before it. With `markers` False, spellings of markers are cut inside and come out
        as plain pieces; a marker of one character, which cannot be cut, stays."""
        ids = self._raw_ids(text, markers)
        if markers or self.marker_ids.isdisjoint(ids):
            return ids
        return self._plain_ids(text, ids)

    def piece(self, token: int) -> bytes:
        """The bytes that `token` stands for; a marker's own spelling for a marker."""
        piece = self._pieces[token]
        if piece is None:
            piece = self._pieces[token] = self._look_up(token)
        return piece

    def spelling(self, token: int) -> str:
        """The text of `token` as the vocabulary spells it."""
        piece = self.piece(token)
        if piece:
            return piece.decode("utf-8", "replace")
        text: bytes = self._c.llama_vocab_get_text(self._vocab, token)
        return text.decode("utf-8", "replace")

    def _look_up(self, token: int) -> bytes:
        # A buffer of its own: the C call frees the interpreter, and another thread may look up a piece meanwhile.
        buffer = ctypes.create_string_buffer(64)
        length = self._c.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, True)
        if length < 0:
            buffer = ctypes.create_string_buffer(-length)
            length = self._c.llama_token_to_piece(self._vocab, token, buffer, -length, 0, True)
        return buffer.raw[: max(0, length)]

    def _raw_ids(self, text: str, markers: bool) -> list[int]:
        if not text:
            return []
        data = text.encode("utf-8", "replace")
        room = len(data) + 16
        for _ in range(2):
            buffer = (self._c.llama_token * room)()
            count = self._c.llama_tokenize(self._vocab, data, len(data), buffer, room, False, markers)
            if count >= 0:
                return list(buffer[:count])
            if count == -(2**31):
                break
            room = -count
        raise InternalError(f"A text of {len(data)} bytes gives more tokens than the C library can count.")

    def _plain_ids(self, text: str, ids: list[int]) -> list[int]:
        """Cut every found marker's spelling after its first character, and tokenize the parts apart."""
        found = {self.spelling(token) for token in self.marker_ids.intersection(ids)}
        long = sorted((spelling for spelling in found if len(spelling) > 1 and spelling in text), key=len, reverse=True)
        if not long:
            return ids
        pattern = re.compile("|".join(re.escape(spelling) for spelling in long))
        parts, start = [], 0
        for match in pattern.finditer(text):
            parts.append(text[start : match.start() + 1])
            start = match.start() + 1
        parts.append(text[start:])
        # What is left after a cut can spell another marker: each part goes the same way, and is shorter.
        return [token for part in parts for token in self.tokenize(part, markers=False)]

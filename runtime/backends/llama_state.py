"""The saved state of one sequence of a llama.cpp context: what the library writes, behind a mark of who wrote it."""

from __future__ import annotations

import ctypes
import hashlib
from typing import Any

import numpy as np

from models.errors import CannotMeetError
from runtime.backends.backend import ModelFacts, State
from runtime.backends.llama_library import LlamaLibrary

_MARK = b"kangae-llama-1:"


class LlamaState:
    """Saves and restores the sequences of a `context`. The mark names the library's build and the model: the library
    ends its process on a state of another one."""

    def __init__(self, library: LlamaLibrary, context: Any, facts: ModelFacts, vocabulary: int) -> None:
        self._c = library.c
        self._context = context
        shape = (facts.architecture, facts.quant, facts.parameters, facts.bytes, vocabulary)
        self._mark = _MARK + hashlib.sha256(repr((library.version, shape)).encode()).digest()

    def save(self, sequence: int, most: int | None = None) -> State | None:
        """The sequence's state, in one buffer; None: it takes more than `most` bytes, and none of them is taken."""
        mark, size = len(self._mark), int(self._c.llama_state_seq_get_size(self._context, sequence))
        if most is not None and mark + size > most:
            return None
        state = bytearray(mark + size)
        state[:mark] = self._mark
        buffer = (ctypes.c_uint8 * size).from_buffer(state, mark)
        written = int(self._c.llama_state_seq_get_data(self._context, buffer, size, sequence))
        del buffer  # a bytearray that is looked into keeps its length
        del state[mark + written :]
        return state

    def restore(self, sequence: int, state: State) -> None:
        """Replace the state of a sequence that is empty. Raises `CannotMeetError` if the cache is full, or the state is
        damaged."""
        data = np.frombuffer(state, np.uint8, offset=len(self._mark)) if len(state) > len(self._mark) else None
        if data is None:
            return
        buffer = ctypes.cast(ctypes.c_void_p(data.ctypes.data), ctypes.POINTER(ctypes.c_uint8))
        if self._c.llama_state_seq_set_data(self._context, buffer, len(data), sequence) == 0:
            raise CannotMeetError("A saved state is damaged or does not fit into the cache; decode the text again.")

    def require_own(self, state: State) -> None:
        """Raises `CannotMeetError` for a state of another model or build."""
        if state[: len(self._mark)] != self._mark:
            raise CannotMeetError("A saved state belongs to another model or another build; decode the text again.")

"""The keys and values of all sequences of an ONNX model: one array a layer and kind, a row a sequence.

A row is read and written in place: the graph's past and present are bound to the same memory, and how much of a row
counts is told by the attention mask alone. So stepping back costs nothing, and neighbouring rows are decoded at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import ResourceError
from runtime.backends.onnx_folder import OnnxFolder


class OnnxCache:
    """Arrays of shape (sequences, heads, room, head), in the machine's memory or, with `device` "cuda", on a GPU. The
    system gives memory page by page as rows fill."""

    def __init__(self, runtime: Any, folder: OnnxFolder, kind: type, sequences: int, room: int, device: str) -> None:
        self.kind, self.room, self.device = kind, room, device
        self._row_shape = (folder.heads, room, folder.head)
        self._row_bytes = int(np.prod(self._row_shape)) * np.dtype(kind).itemsize
        shape = (sequences, *self._row_shape)
        names = folder.names
        self._names = [
            (names[f"past_{part}"] % layer, names[f"present_{part}"] % layer)
            for layer in range(folder.layers)
            for part in ("key", "value")
        ]
        self._arrays: list[npt.NDArray[Any]] = []
        try:
            if device == "cpu":
                self._arrays = [np.zeros(shape, kind) for _ in self._names]
                self._starts = [int(array.ctypes.data) for array in self._arrays]
            else:
                values = [runtime.OrtValue.ortvalue_from_shape_and_type(shape, kind, device, 0) for _ in self._names]
                self._values = values  # they own the memory
                self._starts = [int(value.data_ptr()) for value in values]
        except Exception as error:
            raise ResourceError(
                f"A cache of {room} tokens for {sequences} sequences takes "
                f"{2 * folder.layers * sequences * self._row_bytes >> 20} MiB, more than there is; ask for a smaller "
                "context (--context)."
            ) from error

    def bind(self, binding: Any, first: int, count: int) -> None:
        """Let a run read and write the rows `first` … `first + count` − 1."""
        shape = (count, *self._row_shape)
        for (past, present), start in zip(self._names, self._starts, strict=True):
            place = start + first * self._row_bytes
            binding.bind_input(past, self.device, 0, self.kind, shape, place)
            binding.bind_output(present, self.device, 0, self.kind, shape, place)

    def copy(self, source: int, target: int, length: int) -> None:
        """Give `target` the first `length` tokens of `source` (in the machine's memory alone)."""
        for array in self._arrays:
            array[target, :, :length] = array[source, :, :length]

    def bytes_of(self, length: int) -> int:
        """Bytes that so many tokens of a row take."""
        return len(self._names) * self._row_bytes // self.room * length

    def read(self, row: int, length: int) -> Iterator[npt.NDArray[Any]]:
        """The first `length` tokens of a row, array by array."""
        for array in self._arrays:
            yield array[row, :, :length]

    def write(self, row: int, length: int, data: npt.NDArray[np.uint8]) -> None:
        """Fill the first `length` tokens of a row with what `read` gave, all bytes in one."""
        heads, _, head = self._row_shape
        values: npt.NDArray[Any] = data.view(self.kind).reshape(len(self._arrays), heads, length, head)
        for array, part in zip(self._arrays, values, strict=True):
            array[row, :, :length] = part

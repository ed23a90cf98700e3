"""How AutoGPTQ packs a matrix: integers in 32-bit words, along the inputs for weights and along the outputs for zeros.

Source: AutoGPTQ 0.7.1, nn_modules/qlinear/qlinear_cuda.py (`pack`). Values follow one another as a stream of bits, the
lowest first; with 3 bits 32 values fill 3 words, and two of them lie across a word's end. Format 1 (`gptq`) stores each
zero point less one; format 2 (`gptq_v2`, gptqmodel's) stores it as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.errors import ModelError
from models.gptq.layer import GptqLayer, GptqSettings

PARTS: Final = ("qweight", "qzeros", "scales", "g_idx")
"""The tensors of a matrix, in the order in which they are written; each takes the place of `weight`."""
_WORD: Final = 32
Integers = npt.NDArray[np.uint8]
Words = npt.NDArray[np.int32]


def unit(bits: int) -> tuple[int, int]:
    """(values, words): the least number of values that fills whole words."""
    return (_WORD, bits) if _WORD % bits else (_WORD // bits, 1)


def pack(values: Integers, bits: int) -> Words:
    """Values (n, m), n a multiple of `unit`, as words (n × bits ÷ 32, m)."""
    count, words_of_unit = unit(bits)
    grouped = values.reshape(-1, count, values.shape[1])
    words = np.zeros((len(grouped), words_of_unit, values.shape[1]), np.uint32)
    for number in range(count):
        word, shift = divmod(number * bits, _WORD)
        value = grouped[:, number].astype(np.uint32)
        words[:, word] |= value << np.uint32(shift)
        if shift + bits > _WORD:
            words[:, word + 1] |= value >> np.uint32(_WORD - shift)
    return words.reshape(-1, values.shape[1]).view(np.int32)


def unpack(words: Words, bits: int) -> Integers:
    """Words (n × bits ÷ 32, m), whole units, as values (n, m): what `pack` packed."""
    count, words_of_unit = unit(bits)
    grouped = np.ascontiguousarray(words).view(np.uint32).reshape(-1, words_of_unit, words.shape[1])
    values = np.empty((len(grouped), count, words.shape[1]), np.uint8)
    mask = np.uint32((1 << bits) - 1)
    for number in range(count):
        word, shift = divmod(number * bits, _WORD)
        value = grouped[:, word] >> np.uint32(shift)
        if shift + bits > _WORD:
            value |= grouped[:, word + 1] << np.uint32(_WORD - shift)
        values[:, number] = value & mask
    return values.reshape(-1, words.shape[1])


def part_shapes(rows: int, columns: int, settings: GptqSettings) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type (as safetensors names it) and shape of each of `PARTS` for a matrix of `rows` × `columns`.

    Raises ModelError where rows or columns do not fill whole words of 32 values, as all readers want it.
    """
    if rows % _WORD or columns % _WORD:
        raise ModelError(
            f"A matrix of {rows} × {columns} cannot be packed as GPTQ, whose readers want multiples of {_WORD}; "
            "leave it as it is."
        )
    groups, bits = settings.groups(columns), settings.bits
    return {
        "qweight": ("I32", (columns * bits // _WORD, rows)),
        "qzeros": ("I32", (groups, rows * bits // _WORD)),
        "scales": ("F16", (groups, rows)),
        "g_idx": ("I32", (columns,)),
    }


def encode(layer: GptqLayer) -> dict[str, npt.NDArray[Any]]:
    """The tensors of a matrix in format 1. Raises ModelError for a zero point of 0, which cannot be stored there."""
    if int(layer.zeros.min()) == 0:
        raise ModelError("A zero point of 0 cannot be stored in AutoGPTQ's format; round with zero points from 1 on.")
    return {
        "qweight": pack(np.ascontiguousarray(layer.integers.T), layer.bits),
        "qzeros": np.ascontiguousarray(pack(layer.zeros - np.uint8(1), layer.bits).T),
        "scales": np.ascontiguousarray(layer.scales.T),
        "g_idx": layer.group_index.astype(np.int32),
    }


def decode(
    name: str,
    parts: Mapping[str, npt.NDArray[Any]],
    settings: GptqSettings,
    *,
    zeros_less_one: bool = True,
    borrows: bool = False,
) -> GptqLayer:
    """The matrix that the tensors `parts` hold: qweight, qzeros, scales, and g_idx where it is not plain runs.

    `zeros_less_one`: format 1. `borrows`: its writer took one off whole words, so that a zero point of 0 borrowed from
    the next (gptqmodel); others made such a matrix unreadable. Raises ModelError for what does not fit together.
    """
    bits = settings.bits
    qweight, qzeros, scales = parts["qweight"], parts["qzeros"], parts["scales"]
    for part, tensor in (("qweight", qweight), ("qzeros", qzeros), ("scales", scales)):
        if tensor.ndim != 2 or 0 in tensor.shape:
            raise _unsound(name, f"{part} is no matrix")
    if qweight.dtype != np.int32 or qzeros.dtype != np.int32:
        raise _unsound(name, "its integers are not packed in 32-bit words")
    _, words_of_unit = unit(bits)
    if qweight.shape[0] % words_of_unit or qzeros.shape[1] % words_of_unit:
        raise _unsound(name, f"its words do not hold values of {bits} bits")
    zeros = unpack(_restored(name, qzeros, bits, zeros_less_one, borrows).T, bits)
    integers = unpack(qweight, bits)
    columns, rows = integers.shape
    index = parts.get("g_idx")
    if zeros.shape != scales.shape[::-1] or scales.shape[1] != rows or (index is not None and index.ndim != 1):
        raise _unsound(name, "the shapes of its tensors do not agree")
    own_index = settings.group_index(columns) if index is None else index.astype(np.int32)
    layer = GptqLayer(
        bits,
        np.ascontiguousarray(integers.T),
        np.ascontiguousarray(_halves(name, scales).T),
        zeros,
        own_index,
    )
    layer.check(name)
    return layer


def _restored(name: str, qzeros: Words, bits: int, less_one: bool, borrows: bool) -> Words:
    """Words of true zero points, from stored ones."""
    if not less_one:
        return qzeros
    stored = unpack(np.ascontiguousarray(qzeros.T), bits)
    if int(stored.max()) < (1 << bits) - 1:
        return np.ascontiguousarray(pack(stored + np.uint8(1), bits).T)
    if not borrows or _WORD % bits:
        raise _unsound(name, "zero points wrap around in it, which its readers take in different ways")
    ones = np.uint32(sum(1 << shift for shift in range(0, _WORD, bits)))
    return (np.ascontiguousarray(qzeros).view(np.uint32) + ones).view(np.int32)


def _halves(name: str, scales: npt.NDArray[Any]) -> npt.NDArray[np.float16]:
    halves = scales.astype(np.float16)
    if scales.dtype != np.float16 and not np.array_equal(halves.astype(np.float32), scales.astype(np.float32)):
        raise _unsound(name, "its scales are finer than 16-bit floats")
    return halves


def _unsound(name: str, fault: str) -> ModelError:
    return ModelError(f"The GPTQ matrix {name} cannot be read: {fault}; fetch or make the checkpoint again.")

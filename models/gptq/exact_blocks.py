"""Which type of GGUF holds a GPTQ matrix exactly, and its bytes.

A GPTQ weight is scale × (integer − zero) with a 16-bit scale; a GGUF block of 32 has one such scale. Nothing is rounded
here: what no type holds is refused with the reason.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from models.errors import ModelError
from models.gguf_blocks import BLOCK, SUPER_BLOCK, ZEROS, Blocks, encode_blocks, encode_super_blocks
from models.gptq.layer import GptqLayer, symmetric_zero

TYPES: Final = ("Q2_K", "Q3_K", "Q4_0", "Q4_K", "Q4_1", "Q5_0", "Q8_0")
"""What is tried, the smallest first; of one size the one that runs fastest."""
_LIMITS: Final = {"Q4_0": 15, "Q4_1": 15, "Q5_0": 31, "Q8_0": 255}
_SUPER_BITS: Final = {"Q2_K": 2, "Q3_K": 3, "Q4_K": 4}


def exact_type(name: str, layer: GptqLayer) -> str:
    """The smallest type that holds the matrix exactly. Raises ModelError with the reason where there is none."""
    blocks = _blocks_of_groups(name, layer)
    for kind in TYPES:
        if not _why_not(layer, blocks, kind):
            return kind
    raise ModelError(_refusal(name, _why_not(layer, blocks, TYPES[-1])))


def encode_exactly(name: str, layer: GptqLayer, kind: str) -> npt.NDArray[np.uint8]:
    """The matrix as bytes (rows, bytes of a row) of the type `kind`. Raises ModelError where that is not exact."""
    blocks = _blocks_of_groups(name, layer)
    if kind not in TYPES:
        raise ModelError(_refusal(name, f"GPTQ is packed anew as {', '.join(TYPES)}, not as {kind}"))
    if reason := _why_not(layer, blocks, kind):
        raise ModelError(_refusal(name, reason))
    if kind in _SUPER_BITS:
        groups = blocks[:: SUPER_BLOCK // BLOCK]
        return encode_super_blocks(kind, layer.integers, layer.scales[:, groups], layer.zeros[:, groups])
    scales = layer.scales[:, blocks]
    if kind == "Q4_1":
        return encode_blocks(Blocks(kind, layer.integers, scales, _minima(layer).astype(np.float16)[:, blocks]))
    shift = ZEROS[kind] - layer.zeros.astype(np.int16)[:, blocks]
    shifted = layer.integers.reshape(layer.rows, -1, BLOCK).astype(np.int16) + shift[:, :, None]
    return encode_blocks(Blocks(kind, shifted.astype(np.uint8).reshape(layer.rows, -1), scales))


def _blocks_of_groups(name: str, layer: GptqLayer) -> npt.NDArray[np.int32]:
    """The group of each block of 32 columns. Raises ModelError where a block has columns of several."""
    if layer.columns % BLOCK:
        raise ModelError(_refusal(name, f"its rows of {layer.columns} values are no multiple of {BLOCK}"))
    index = layer.group_index.reshape(-1, BLOCK)
    if (index != index[:, :1]).any():
        raise ModelError(
            _refusal(
                name,
                f"its groups of {layer.run_length} columns are no multiple of {BLOCK}"
                if layer.in_order
                else "its columns were put into groups in the order of activation (act-order without static groups), "
                "while in GGUF neighbours share a scale; quantize it with static groups",
            )
        )
    return index[:, 0]


def _why_not(layer: GptqLayer, blocks: npt.NDArray[np.int32], kind: str) -> str:
    """Why `kind` does not hold the matrix exactly; empty where it does."""
    if kind in _SUPER_BITS:
        return _why_no_super_blocks(layer, blocks, kind)
    if kind == "Q4_1":
        if layer.bits > 4:
            return "Q4_1 holds 4 bits"
        minima = _minima(layer)
        with np.errstate(over="ignore"):
            inexact = int(np.count_nonzero(minima.astype(np.float16).astype(np.float32) != minima))
        if inexact:
            return f"{inexact} of {minima.size} products of scale and zero point are finer than Q4_1's 16-bit floats"
        return ""
    shift = ZEROS[kind] - layer.zeros.astype(np.int16)
    beyond = 0
    for group in np.unique(blocks):  # by columns of a group, so that no wide copy of the matrix is made
        part = layer.integers[:, layer.group_index == group].astype(np.int16) + shift[:, group, None]
        beyond += int(np.count_nonzero((part < 0) | (part > _LIMITS[kind])))
    return f"{beyond} of {layer.integers.size} integers, less their zero points, are beyond {kind}" if beyond else ""


def _why_no_super_blocks(layer: GptqLayer, blocks: npt.NDArray[np.int32], kind: str) -> str:
    if layer.bits != _SUPER_BITS[kind]:
        return f"{kind} holds {_SUPER_BITS[kind]} bits"
    if layer.columns % SUPER_BLOCK:
        return f"its rows of {layer.columns} values are no multiple of {SUPER_BLOCK}"
    index = blocks.reshape(-1, SUPER_BLOCK // BLOCK)
    if (index != index[:, :1]).any():
        return f"a block of {kind} has one scale for {SUPER_BLOCK} columns here, and its groups are smaller"
    if kind == "Q3_K" and (layer.zeros != symmetric_zero(3)).any():
        return "Q3_K has no zero points"
    return ""


def _minima(layer: GptqLayer) -> npt.NDArray[np.float32]:
    """What an integer of 0 stands for, float32 (rows, groups): exact, for 11 bits times 8 fit."""
    return -(layer.scales.astype(np.float32) * layer.zeros.astype(np.float32))


def _refusal(name: str, reason: str) -> str:
    return f"{name} cannot be packed as GGUF without rounding it again: {reason}."

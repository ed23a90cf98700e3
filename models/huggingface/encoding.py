"""Stored values as the bytes of a GGUF tensor: exact, or rounded to the nearest where the type holds fewer bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import ModelError
from models.huggingface.checkpoint import Stored, all_finite, to_float32

BYTES = {"F32": 4, "F16": 2, "BF16": 2}
"""Of one value of each type that is written."""


def encode(name: str, stored: Stored, source: str, target: str) -> npt.NDArray[Any]:
    """Values of a safetensors type as an array whose bytes are of the GGUF type `target` ("F32", "F16", "BF16").

    `name` is for the error: ModelError where a value is NaN or infinite, or larger than the type can hold.
    """
    rounded = target == "BF16" and source != target  # which can carry a NaN over to a number
    if not rounded:
        made = _cast(stored, source, target)
        if all_finite(made, target):  # one look at what comes out tells of both faults
            return made
    if not all_finite(stored, source):
        raise ModelError(f"{name} holds values that are NaN or infinite; the model is damaged: fetch it again.")
    if rounded and all_finite(made := _cast(stored, source, target), target):
        return made
    largest = float(np.abs(to_float32(stored, source)).max())
    wider = "BF16 or F32" if target == "F16" else "F32"
    raise ModelError(f"{name} holds {largest:.4g}, which is more than {target} can hold; convert to {wider}.")


def _cast(stored: Stored, source: str, target: str) -> npt.NDArray[Any]:
    if source == target:
        return stored
    values = to_float32(stored, source)
    if target == "F32":
        return values
    if target == "BF16":
        return to_bfloat16(values)
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(np.float16)


def to_bfloat16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Values (no NaN) rounded to the nearest bfloat16, ties to even, as its bits: ggml's ggml_compute_fp32_to_bf16."""
    bits = values.view(np.uint32)
    return ((bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))) >> np.uint32(16)).astype(np.uint16)

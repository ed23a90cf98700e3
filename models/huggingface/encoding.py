"""Stored values as the bytes of a GGUF tensor: exact, or rounded to the nearest where the type holds fewer bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import ModelError
from models.huggingface.checkpoint import Stored, all_finite, to_float32

BYTES = {"F32": 4, "F16": 2, "BF16": 2}
"""Of one value of each type that is written."""
_LARGEST_F16 = 65504.0


def encode(name: str, stored: Stored, source: str, target: str) -> npt.NDArray[Any]:
    """Values of a safetensors type as an array whose bytes are of the GGUF type `target` ("F32", "F16", "BF16").

    `name` is for the error: ModelError where a value is NaN or infinite, or larger than the type can hold.
    """
    if not all_finite(stored, source):
        raise ModelError(f"{name} holds values that are NaN or infinite; the model is damaged: fetch it again.")
    if source == target:
        return stored
    values = to_float32(stored, source)
    if target == "F32":
        return values
    if target == "F16":
        largest = float(np.abs(values).max(initial=0.0))
        if largest > _LARGEST_F16:
            raise ModelError(f"{name} holds {largest:.4g}, and F16 ends at {_LARGEST_F16:.0f}; convert to BF16 or F32.")
        return values.astype(np.float16)
    rounded = to_bfloat16(values)
    if not all_finite(rounded, "BF16"):
        raise ModelError(f"{name} holds values that BF16 cannot; convert to F32.")
    return rounded


def to_bfloat16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Finite values rounded to the nearest bfloat16, ties to even, as its bits (ggml's ggml_compute_fp32_to_bf16)."""
    bits = values.view(np.uint32)
    return ((bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))) >> np.uint32(16)).astype(np.uint16)

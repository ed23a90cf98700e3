"""Matrices rounded to nearest by ggml itself, as llama-quantize does, with or without the importance of columns."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType
from gguf.quants import dequantize

from models.errors import InternalError
from models.gguf_types import TENSOR_TYPES
from quantize.rounding.hessian import check, loss
from quantize.rounding.rounder import Floats, GgufBlocks, Hessian, Rounded
from runtime.backends.llama_library import llama_library

_KINDS: Final = {kind.name: (number, kind) for number, kind in TENSOR_TYPES.items()}
_INSTEAD: Final = {
    "Q2_K": "IQ4_NL", "Q3_K": "IQ4_NL", "IQ4_XS": "IQ4_NL", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0",
}  # fmt: skip
"""What llama.cpp takes where rows are no multiple of 256 columns (src/llama-quant.cpp, `tensor_type_fallback`)."""

_LEAST: Final = 1 << 16
"""Weights that are worth a thread."""


def fitting_type(kind: str, columns: int) -> str:
    """The type that rows of `columns` get where `kind` is asked for: itself, what llama.cpp takes instead, or F16."""
    for candidate in (kind, _INSTEAD.get(kind, "F16")):
        if candidate in _KINDS and columns % _KINDS[candidate][1].block == 0:
            return candidate
    return "F16"


def quantize_rows(kind: str, weights: Floats, importance: Floats | None = None) -> npt.NDArray[np.uint8]:
    """The bytes, uint8 (rows, bytes of a row), that ggml makes of `weights` (rows, columns) in the type `kind`.

    `importance` (columns,): the weight of a squared error; without it, ggml's own rule.
    """
    number, blocks = _KINDS[kind]
    rows, columns = weights.shape
    source = np.ascontiguousarray(weights, np.float32)
    target = np.empty((rows, columns // blocks.block * blocks.bytes), np.uint8)
    shares = None if importance is None else np.ascontiguousarray(importance, np.float32)
    chunk = _quantize_chunk()

    def quantize(first: int, last: int) -> int:
        return int(
            chunk(
                number,
                source.ctypes.data,
                target.ctypes.data,
                first * columns,
                last - first,
                columns,
                None if shares is None else shares.ctypes.data,
            )
        )

    share = max(_LEAST // columns, -(-rows // (os.cpu_count() or 1)), 1)
    starts = range(0, rows, share)
    if len(starts) == 1:
        written = quantize(0, rows)
    else:
        with ThreadPoolExecutor(len(starts)) as pool:
            written = sum(pool.map(lambda start: quantize(start, min(start + share, rows)), starts))
    assert written == target.nbytes
    return target


def weights_of(blocks: GgufBlocks) -> Floats:
    """What the bytes of a ggml type stand for, float32 (rows, columns)."""
    weights: Floats = dequantize(blocks.data, GGMLQuantizationType[blocks.type])
    return weights


@dataclass(frozen=True)
class NearestRounder:
    """`types`: GGUF tensor name → ggml type. `weighted`: by the diagonal of the Hessian, as with an imatrix."""

    types: Mapping[str, str]
    weighted: bool = True

    @property
    def key(self) -> str:
        """See `Rounder.key`."""
        listed = ",".join(f"{name}={kind}" for name, kind in sorted(self.types.items()))
        return f"nearest weighted={self.weighted} {listed}"

    def type_of(self, name: str, columns: int) -> str:
        """See `Rounder.type_of`."""
        return fitting_type(self.types[name], columns) if name in self.types else ""

    def round(self, name: str, weights: Floats, hessian: Hessian) -> Rounded:
        """See `Rounder.round`."""
        check(name, weights, hessian)
        kind = self.type_of(name, weights.shape[1])
        if not kind:
            raise InternalError(f"No type was chosen for {name}.")
        importance = np.diagonal(hessian).astype(np.float32)
        # Columns that calibration never reached still deserve a scale.
        importance[importance <= 0] = np.float32(1e-6 * float(importance.mean()) or 1.0)
        if kind == "F16":
            encoded = GgufBlocks(kind, weights.astype(np.float16).view(np.uint8))
        else:
            encoded = GgufBlocks(kind, quantize_rows(kind, weights, importance if self.weighted else None))
        rounded = weights_of(encoded)
        errors = np.ascontiguousarray((weights - rounded).T)
        return Rounded(rounded, encoded, float(loss(hessian, errors).sum()))


@functools.cache
def _quantize_chunk() -> Any:
    """ggml_quantize_chunk(type, source, target, start, rows, columns, importance) → bytes."""
    library = llama_library().c._lib
    signature = ctypes.CFUNCTYPE(
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_void_p,
    )
    return signature(("ggml_quantize_chunk", library))

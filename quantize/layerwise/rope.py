"""Rotary positions as llama.cpp computes them: angles for positions, with linear, YaRN, Llama 3 and LongRoPE scaling.

Sources: RoFormer (arXiv 2104.09864), YaRN (arXiv 2309.00071), ggml's rope_yarn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.gguf_file import GgufFile

Floats = npt.NDArray[np.float32]

_BASE = 10_000.0
_BETA_FAST, _BETA_SLOW = 32.0, 1.0


@dataclass(frozen=True, eq=False)
class Rope:
    """`frequencies`: radians a position for each rotated pair, float64 (pairs,). `magnitude`: what cosine and sine are
    multiplied with."""

    frequencies: npt.NDArray[np.float64]
    magnitude: float = 1.0

    def tables(self, positions: int) -> tuple[Floats, Floats]:
        """Cosines and sines for positions 0 … `positions` − 1, float32 (positions, pairs)."""
        angles = np.arange(positions)[:, None] * self.frequencies
        return (np.cos(angles) * self.magnitude).astype(np.float32), (np.sin(angles) * self.magnitude).astype(
            np.float32
        )


def rotate(values: Floats, cosines: Floats, sines: Floats, *, interleaved: bool) -> Floats:
    """Rotate the first 2 × pairs values of each head; `values` (tokens, heads, head), tables (tokens, pairs)."""
    pairs = cosines.shape[1]
    turned = values.copy()
    if interleaved:
        first, second = values[..., 0 : 2 * pairs : 2], values[..., 1 : 2 * pairs : 2]
        places: tuple[slice, slice] = slice(0, 2 * pairs, 2), slice(1, 2 * pairs, 2)
    else:
        first, second = values[..., :pairs], values[..., pairs : 2 * pairs]
        places = slice(0, pairs), slice(pairs, 2 * pairs)
    cosine, sine = cosines[:, None], sines[:, None]
    turned[..., places[0]] = first * cosine - second * sine
    turned[..., places[1]] = first * sine + second * cosine
    return turned


def read_rope(file: GgufFile, head: int) -> Rope:
    """From a GGUF's metadata and its tensors of factors. LongRoPE's short factors are taken: calibration texts are
    shorter than the original context."""
    name = file.header.architecture
    size = _number(file, f"{name}.rope.dimension_count", head)
    base = _number(file, f"{name}.rope.freq_base", _BASE)
    pairs = int(size) // 2
    frequencies: npt.NDArray[np.float64] = np.power(base, -2.0 * np.arange(pairs) / size)
    for factors in ("rope_freqs.weight", "rope_factors_short.weight"):
        if factors in file.tensors:
            frequencies = frequencies / file.values(factors).reshape(-1).astype(np.float64)[:pairs]
            break
    magnitude = _number(file, f"{name}.rope.scaling.attn_factor", 1.0)
    kind = file.scalar(f"{name}.rope.scaling.type")
    factor = _number(file, f"{name}.rope.scaling.factor", 1.0) or 1.0
    if kind == "linear":
        return Rope(frequencies / factor, magnitude)
    if kind == "yarn":
        original = _number(file, f"{name}.rope.scaling.original_context_length", 0) or _number(
            file, f"{name}.context_length", 4096
        )
        kept = _kept_share(pairs, base, original)
        return Rope(frequencies / factor * (1 - kept) + frequencies * kept, magnitude * (1 + 0.1 * math.log(factor)))
    return Rope(frequencies, magnitude)


def _kept_share(pairs: int, base: float, original: float) -> npt.NDArray[np.float64]:
    """How much of each frequency YaRN keeps: all of the fast ones, none of the slow."""

    def dimension(rotations: float) -> float:
        return 2 * pairs * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(base))

    low = max(0.0, math.floor(dimension(_BETA_FAST)))
    high = min(2 * pairs - 1.0, math.ceil(dimension(_BETA_SLOW)))
    share: npt.NDArray[np.float64] = 1 - np.clip((np.arange(pairs) - low) / max(0.001, high - low), 0, 1)
    return share


def _number(file: GgufFile, key: str, usual: float) -> float:
    value = file.scalar(key)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else usual

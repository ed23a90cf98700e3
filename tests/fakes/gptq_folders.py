"""GPTQ matrices and folders for tests, rounded to the nearest: no calibration, all else as the product writes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.gptq.layer import GptqLayer, GptqSettings, symmetric_zero
from models.gptq.writer import write_gptq
from models.huggingface.checkpoint import Checkpoint

PROVENANCE = {"quantizer": ["kangae:test"], "calibration": "none: rounded to the nearest"}


def round_to_nearest(
    weights: npt.NDArray[np.float32], settings: GptqSettings, order: npt.NDArray[np.int32] | None = None
) -> GptqLayer:
    """Weights (rows, columns) on the nearest point of each group's grid. `order`: the group of each column, if other
    than runs."""
    rows, columns = weights.shape
    index = settings.group_index(columns) if order is None else order
    groups, top = settings.groups(columns), (1 << settings.bits) - 1
    scales, zeros = np.empty((rows, groups), np.float16), np.empty((rows, groups), np.uint8)
    for group in range(groups):
        part = weights[:, index == group]
        if settings.symmetric:
            scale = np.abs(part).max(1) * 2 / top
            zero = np.full(rows, symmetric_zero(settings.bits))
        else:
            low, high = np.minimum(part.min(1), 0), np.maximum(part.max(1), 0)
            scale = (high - low) / (top - 1)  # one less, for zero points begin at 1
            zero = np.clip(np.round(-low / np.maximum(scale, 1e-6)), 1, top)
        scales[:, group] = np.maximum(scale, 1e-6)
        zeros[:, group] = zero
    step, middle = scales.astype(np.float32)[:, index], zeros.astype(np.float32)[:, index]
    integers = np.clip(np.round(weights / step) + middle, 0, top).astype(np.uint8)
    return GptqLayer(settings.bits, integers, scales, zeros, index.astype(np.int32))


def rounded_layers(source: Path, settings: GptqSettings) -> dict[str, GptqLayer]:
    """Every matrix inside of a layer of a Hugging Face folder, rounded, by the weight's name."""
    checkpoint = Checkpoint.open(source)
    names = [
        name
        for name, info in checkpoint.tensors.items()
        if (".layers." in name or ".h." in name) and len(info.shape) == 2
    ]
    return {name: round_to_nearest(checkpoint.values(name), settings) for name in names}


def make_gptq_folder(source: Path, target: Path, settings: GptqSettings) -> dict[str, GptqLayer]:
    """A GPTQ folder of a Hugging Face folder; returns what is in it."""
    layers = rounded_layers(source, settings)
    write_gptq(source, target, layers, settings, PROVENANCE)
    return layers

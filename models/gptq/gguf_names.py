"""GPTQ matrices that are known by GGUF's names and rows, as a Hugging Face folder has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from models.gptq.layer import GptqLayer
from models.huggingface.architectures import Architecture


class FolderLayers(Mapping[str, GptqLayer]):
    """`layers` by GGUF's names ("blk.0.attn_q.weight", rows as there) under the folder's
    ("model.layers.0.self_attn.q_proj.weight", rows as there). Each is made when it is asked for, and not kept."""

    def __init__(self, layers: Mapping[str, GptqLayer], architecture: Architecture) -> None:
        self._layers = layers
        self._architecture = architecture
        self._names = {architecture.hf_name(name): name for name in layers}

    def __getitem__(self, name: str) -> GptqLayer:
        layer = self._layers[self._names[name]]
        return replace(
            layer,
            integers=folder_rows(self._architecture, name, layer.integers),
            scales=folder_rows(self._architecture, name, layer.scales),
            zeros=folder_rows(self._architecture, name, layer.zeros),
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def folder_rows(architecture: Architecture, name: str, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Rows in GGUF's order, in that of the folder's tensor `name`."""
    order = architecture.permutation(name)
    if order is None:
        return rows
    moved = np.empty_like(rows)
    moved[order] = rows
    return moved

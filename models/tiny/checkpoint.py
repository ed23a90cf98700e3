"""Checkpoints: one file with the network, the optimizer and the place in the run, replaced atomically.

The file holds tensors and plain values only and is read with `weights_only`, so that opening one runs no code.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .network import Network, NetworkShape

FORMAT = 1
FILE_NAME = "checkpoint.pt"


@dataclass(frozen=True)
class Progress:
    """Where a run stands. (`next_document`, `next_skip`) is the place in the stream; `decay` is (begin, end) in seconds
    of training where the last slope was asked for."""

    step: int = 0
    tokens: int = 0
    next_document: int = 0
    next_skip: int = 0
    elapsed_seconds: float = 0.0
    decay: tuple[float, float] | None = None

    def after(self, tokens: int, place: tuple[int, int], elapsed_seconds: float) -> Progress:
        """The place after one more step."""
        return replace(
            self,
            step=self.step + 1,
            tokens=self.tokens + tokens,
            next_document=place[0],
            next_skip=place[1],
            elapsed_seconds=elapsed_seconds,
        )


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on, and all that an export needs."""

    shape: NetworkShape
    progress: Progress
    weights: dict[str, Tensor]
    optimizer: dict[str, object]
    settings: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> Path:
    """Writes `checkpoint.pt`; a reader sees the old file or the new one, never a part of either."""
    folder.mkdir(parents=True, exist_ok=True)
    path, unfinished = folder / FILE_NAME, folder / (FILE_NAME + ".unfinished")
    contents = {
        "format": FORMAT,
        "shape": checkpoint.shape.to_dict(),
        "progress": asdict(checkpoint.progress),
        "weights": checkpoint.weights,
        "optimizer": checkpoint.optimizer,
        "settings": checkpoint.settings,
    }
    with unfinished.open("wb") as file:
        torch.save(contents, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)
    return path


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint (a file, or the folder that holds one) onto the CPU; FileNotFoundError, ValueError."""
    path = path / FILE_NAME if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: there is no checkpoint to read")
    contents = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(contents, dict) or contents.get("format") != FORMAT:
        raise ValueError(f"{path} is not a checkpoint of this trainer (format {FORMAT})")
    progress = dict(contents["progress"])
    decay = progress.get("decay")
    progress["decay"] = None if decay is None else (float(decay[0]), float(decay[1]))
    return Checkpoint(
        NetworkShape(**contents["shape"]),
        Progress(**progress),
        contents["weights"],
        contents["optimizer"],
        contents["settings"],
    )


def load_network(checkpoint: Checkpoint) -> Network:
    """The network of a checkpoint, ready to evaluate."""
    network = Network(checkpoint.shape)
    network.load_state_dict(checkpoint.weights)
    return network.eval()

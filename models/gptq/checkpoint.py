"""A GPTQ checkpoint in a folder, read: AutoGPTQ's and gptqmodel's, from a hub or our own. Nothing in it is trusted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from models.errors import ModelError
from models.gptq.layer import GptqLayer
from models.gptq.layout import PARTS, decode
from models.gptq.settings import CheckpointSettings, read_settings
from models.gptq.writer import part_name
from models.huggingface.checkpoint import Checkpoint
from models.huggingface.config import ModelConfig

_REQUIRED = PARTS[:3]


@dataclass(frozen=True)
class GptqCheckpoint:
    """An open GPTQ folder. `layers` are the names of its quantized matrices as a whole checkpoint has them
    ("model.layers.0.mlp.up_proj.weight"); `plain` those of its other tensors."""

    folder: Path
    settings: CheckpointSettings
    config: ModelConfig
    tensors: Checkpoint
    layers: tuple[str, ...]
    plain: tuple[str, ...]

    @classmethod
    def open(cls, folder: Path) -> GptqCheckpoint:
        """Read settings and headers. Raises ModelError for what is no GPTQ checkpoint, unsound, or of another kind."""
        settings = read_settings(folder)
        tensors = Checkpoint.open(folder)
        names = tensors.tensors
        layers = tuple(name.removesuffix("qweight") + "weight" for name in names if name.endswith(".qweight"))
        if not layers:
            raise ModelError(f"{folder} holds no matrix in GPTQ's form; fetch the model again.")
        parts = {part_name(layer, part): layer for layer in layers for part in PARTS}
        for layer in layers:
            missing = [part for part in _REQUIRED if part_name(layer, part) not in names]
            if missing or layer in names:
                fault = f"lacks its {missing[0]}" if missing else "is there twice, whole and quantized"
                raise ModelError(f"{folder}: {layer} {fault}; fetch the model again.")
        plain = tuple(name for name in names if name not in parts)
        return cls(folder, settings, ModelConfig.read(folder), tensors, layers, plain)

    def layer(self, name: str) -> GptqLayer:
        """One quantized matrix, by its name in `layers`. Raises ModelError where its tensors are unsound."""
        there = self.tensors.tensors
        parts = {part: self.tensors.raw(part_name(name, part)) for part in PARTS if part_name(name, part) in there}
        if there[part_name(name, "scales")].type != "F16":
            parts["scales"] = self.tensors.values(part_name(name, "scales"))
        return decode(
            name,
            parts,
            self.settings.gptq,
            zeros_less_one=self.settings.zeros_less_one,
            borrows=self.settings.borrows,
        )

    def mapping(self) -> Mapping[str, GptqLayer]:
        """All quantized matrices by name, each read when it is asked for."""
        return _Layers(self)

    def shape(self, name: str) -> tuple[int, int]:
        """(rows, columns) of a quantized matrix, by the headers alone."""
        words, rows = self.tensors.tensors[part_name(name, "qweight")].shape
        return rows, words * 32 // self.settings.gptq.bits


class _Layers(Mapping[str, GptqLayer]):
    def __init__(self, checkpoint: GptqCheckpoint) -> None:
        self._checkpoint = checkpoint

    def __getitem__(self, name: str) -> GptqLayer:
        if name not in self._checkpoint.layers:
            raise KeyError(name)
        return self._checkpoint.layer(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._checkpoint.layers)

    def __len__(self) -> int:
        return len(self._checkpoint.layers)

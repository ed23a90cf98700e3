"""A GGUF of Q4_0, Q4_1 or Q8_0 as a GPTQ folder: the same integers and scales in AutoGPTQ's layout, where it can hold
them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.errors import ModelError
from models.gguf_blocks import BLOCK, Blocks, decode_blocks
from models.gguf_file import GgufFile
from models.gptq.gguf_names import FolderLayers, folder_rows
from models.gptq.layer import GptqLayer, GptqSettings, symmetric_zero
from models.gptq.layout import encode, part_shapes
from models.gptq.writer import HEAD, part_name, plain_values, write_folder
from models.huggingface.architectures import architecture_of
from models.huggingface.config import ModelConfig
from models.huggingface.shapes import tied
from models.safetensors_writer import TensorPlan

BITS_OF: Final = {"Q4_0": 4, "Q4_1": 4, "Q8_0": 8}
"""The GPTQ bits of each type that can be packed so."""
_GROUP_SIZES: Final = (128, 64, 32)
_COMPUTED: Final = ("rope_freqs.", "rope_factors_")
"""Tensors that the conversion to GGUF computes from config.json."""


def gguf_to_gptq(
    gguf: Path,
    source: Path,
    target: Path,
    provenance: Mapping[str, Any],
    *,
    replace: bool = False,
    progress: Callable[[float], None] | None = None,
) -> GptqSettings:
    """Write the GGUF to the folder `target` in AutoGPTQ's layout; returns its settings.

    `source`: the Hugging Face folder of the same model, for config.json and the tokenizer; its weights are not read.
    The group size is the largest of a row, 128, 64 and 32 in which every matrix has one scale.

    Raises ModelError where a matrix has another type or is not exact in that layout, or `source` is another model's;
    UsageError (`target` is there), WriteError.
    """
    file = GgufFile.open(gguf)
    config = ModelConfig.read(source)
    architecture = architecture_of(config)
    if file.header.architecture != architecture.name:
        raise ModelError(
            f"{gguf} is a {file.header.architecture}, {source} a {architecture.name}; give its own folder."
        )
    matrices = [name for name, info in file.tensors.items() if name.startswith("blk.") and len(info.shape) == 2]
    if not matrices:
        raise ModelError(f"{gguf} holds no matrix of a layer; give a whole model.")
    settings = _settings(file, matrices)
    layers = FolderLayers(_GgufLayers(file, matrices, settings), architecture)
    plan: list[TensorPlan] = []
    plain: dict[str, str] = {}
    for name in file.tensors:
        if name.startswith(_COMPUTED):
            continue
        own = architecture.hf_name(name)
        if name in matrices:
            columns, rows = file.tensors[name].shape
            plan += [
                TensorPlan(part_name(own, part), *shape) for part, shape in part_shapes(rows, columns, settings).items()
            ]
        else:
            plain[own] = name
            plan.append(TensorPlan(own, plain_values(file.values(name))[0], file.tensors[name].shape[::-1]))
    embedding = architecture.hf_name("token_embd.weight")
    if HEAD not in plain and tied(config, architecture) and embedding in plain:
        plain[HEAD] = plain[embedding]
        plan += [TensorPlan(HEAD, one.type, one.shape) for one in plan if one.name == embedding]
    held: dict[str, npt.NDArray[Any]] = {}

    def data(name: str) -> npt.NDArray[Any]:
        if name in plain:
            return folder_rows(architecture, name, plain_values(file.values(plain[name]))[1])
        if name not in held:
            weight = name.rpartition(".")[0] + ".weight"
            held.clear()
            held.update({part_name(weight, part): tensor for part, tensor in encode(layers[weight]).items()})
        return held.pop(name)

    write_folder(source, target, plan, data, settings, provenance, replace=replace, progress=progress)
    return settings


def layer_of_blocks(name: str, blocks: Blocks, settings: GptqSettings) -> GptqLayer:
    """The matrix that blocks of 32 hold, in groups of `settings`. Raises ModelError where that is not exact."""
    columns = blocks.integers.shape[1]
    step = (columns if settings.group_size == -1 else settings.group_size) // BLOCK
    zeros = np.full(blocks.scales.shape, symmetric_zero(settings.bits), np.uint8)
    if blocks.minima is not None:
        zeros = _zeros(name, blocks)
    return GptqLayer(
        settings.bits,
        blocks.integers,
        np.ascontiguousarray(blocks.scales[:, ::step]),
        np.ascontiguousarray(zeros[:, ::step]),
        settings.group_index(columns),
    )


def _zeros(name: str, blocks: Blocks) -> npt.NDArray[np.uint8]:
    """Zero points, where every minimum is a whole multiple of its scale within the range."""
    assert blocks.minima is not None
    scales, minima = blocks.scales.astype(np.float32), blocks.minima.astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        zeros = np.round(-minima / scales)
    wrong = int(np.count_nonzero(~((zeros * scales == -minima) & (zeros >= 1) & (zeros <= 15))))
    if wrong:
        raise ModelError(
            f"{name} cannot be packed as GPTQ without rounding it again: {wrong} of its {minima.size} minima are no "
            "zero points of 1 to 15."
        )
    return zeros.astype(np.uint8)


def _settings(file: GgufFile, matrices: list[str]) -> GptqSettings:
    """Bits and group size that hold all of the matrices. Raises ModelError where none do."""
    found: dict[int, str] = {}
    fitting = set(_GROUP_SIZES) | {-1}
    symmetric = True
    for name in matrices:
        info = file.tensors[name]
        if info.type not in BITS_OF:
            raise ModelError(
                f"{name} is {info.type}; only {', '.join(BITS_OF)} can be packed as GPTQ without rounding again."
            )
        found[BITS_OF[info.type]] = name
        if len(found) > 1:
            raise ModelError(
                f"{' and '.join(found.values())} differ in bits, and a GPTQ folder has one number of bits for all; "
                "quantize the model again."
            )
        symmetric &= info.type != "Q4_1"
        blocks = decode_blocks(file.raw(name), info.type)
        fitting -= {size for size in fitting if not _has_groups(blocks, size)}
    size = -1 if -1 in fitting else max(fitting)
    return GptqSettings(bits=next(iter(found)), group_size=size, symmetric=symmetric)


def _has_groups(blocks: Blocks, size: int) -> bool:
    columns = blocks.integers.shape[1]
    if size != -1 and columns % size:
        return False
    step = columns // BLOCK if size == -1 else size // BLOCK
    kept = [blocks.scales] if blocks.minima is None else [blocks.scales, blocks.minima]
    return all(np.array_equal(one, np.repeat(one[:, ::step], step, 1)) for one in kept)


class _GgufLayers(Mapping[str, GptqLayer]):
    def __init__(self, file: GgufFile, names: list[str], settings: GptqSettings) -> None:
        self._file = file
        self._names = names
        self._settings = settings

    def __getitem__(self, name: str) -> GptqLayer:
        if name not in self._names:
            raise KeyError(name)
        blocks = decode_blocks(self._file.raw(name), self._file.tensors[name].type)
        return layer_of_blocks(name, blocks, self._settings)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

"""A GPTQ checkpoint in AutoGPTQ's layout, written as a folder: whole or not at all, one matrix in memory at a time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.errors import ModelError, UsageError, WriteError
from models.gptq.layer import GptqLayer, GptqSettings
from models.gptq.layout import PARTS, encode, part_shapes
from models.gptq.settings import QUANTIZE_CONFIG, settings_table
from models.huggingface.checkpoint import Checkpoint
from models.huggingface.config import read_json
from models.safetensors_writer import SHARD_BYTES, TensorPlan, write_checkpoint
from models.whole_folder import unfinished_folder
from models.write_fault import write_error

WEIGHT: Final = ".weight"
HEAD: Final = "lm_head.weight"
_EMBEDDINGS: Final = ("embed_tokens.weight", "wte.weight")
_OWN_FILES: Final = frozenset({"config.json", QUANTIZE_CONFIG, "quant_config.json", "model.safetensors.index.json"})
_KEPT_SUFFIXES: Final = frozenset({".json", ".jinja", ".txt", ".model", ".tiktoken", ".py"})
_KEPT_NAMES: Final = ("license", "licence", "notice", "copying")
_MAX_SIDE_FILE: Final = 256 << 20
_SPARE_BYTES: Final = 1 << 20
_PROJECTIONS_BEGIN: Final = (".layers.", ".h.")

Data = Callable[[str], npt.NDArray[Any]]


def write_gptq(
    source: Path,
    target: Path,
    layers: Mapping[str, GptqLayer],
    settings: GptqSettings,
    provenance: Mapping[str, Any],
    *,
    replace: bool = False,
    shard_bytes: int = SHARD_BYTES,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write the Hugging Face folder `source` to the folder `target` with the matrices of `layers` in GPTQ's form.

    `layers`: by the names of the weights in `source` ("model.layers.0.mlp.up_proj.weight"), rows as there; each is
    asked for once, when it is written, so that a mapping may read them from a disk. All other tensors, the tokenizer
    and the settings are copied as they are. `provenance`: who rounded and on what, kept in both configs. `replace`: a
    `target` that is there is taken away. `progress`: share of the bytes.

    Raises UsageError (`target` is there), ModelError (`source` is unsound, `layers` do not fit it), WriteError.
    """
    checkpoint = Checkpoint.open(source)
    _require_projections(checkpoint, layers)
    plan: list[TensorPlan] = []
    for name, info in checkpoint.tensors.items():
        if name in layers:
            rows, columns = _matrix(name, info.shape)
            parts = part_shapes(rows, columns, settings)
            plan += [TensorPlan(part_name(name, part), *parts[part]) for part in PARTS]
        else:
            plan.append(TensorPlan(name, info.type, info.shape))
    tied = tied_embedding(checkpoint.tensors)
    if tied is not None:
        plan.append(TensorPlan(HEAD, checkpoint.tensors[tied].type, checkpoint.tensors[tied].shape))
    held: dict[str, npt.NDArray[Any]] = {}

    def data(name: str) -> npt.NDArray[Any]:
        if name == HEAD and tied is not None:
            return checkpoint.raw(tied)
        if name in checkpoint.tensors:
            return checkpoint.raw(name)
        if name not in held:
            stem = name.rpartition(".")[0]
            held.clear()  # of the matrix before
            held.update(_parts(stem + WEIGHT, layers, settings, checkpoint.tensors[stem + WEIGHT].shape))
        return held.pop(name)

    write_folder(
        source,
        target,
        plan,
        data,
        settings,
        provenance,
        lm_head=HEAD in layers,
        replace=replace,
        shard_bytes=shard_bytes,
        progress=progress,
    )


def write_folder(
    source: Path,
    target: Path,
    plan: Sequence[TensorPlan],
    data: Data,
    settings: GptqSettings,
    provenance: Mapping[str, Any],
    *,
    lm_head: bool = False,
    replace: bool = False,
    shard_bytes: int = SHARD_BYTES,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write tensors as `plan` has them, and beside them the small files of `source` with the settings put in. Raises
    as `write_gptq`."""
    table = settings_table(settings, provenance) | ({"lm_head": True} if lm_head else {})
    config = read_json(source / "config.json")
    if target.exists() and not replace:
        raise UsageError(f"{target} exists; name another output with -o, or replace it with --force.")
    if target.exists() and target.samefile(source):
        raise UsageError(f"{target} is the source itself; name another output with -o.")
    try:
        with unfinished_folder(target, replace=replace) as part:
            _require_room(part, sum(one.bytes for one in plan))
            _copy_side_files(source, part)
            _write_json(part / QUANTIZE_CONFIG, table)
            _write_json(part / "config.json", {**config, "quantization_config": table})
            write_checkpoint(part, plan, data, {"format": "pt"}, shard_bytes=shard_bytes, progress=progress)
    except OSError as error:
        raise write_error(target, error, "choose another place with -o") from error


def part_name(weight: str, part: str) -> str:
    """The name of a part of a quantized matrix: "….up_proj.weight" and "scales" are "….up_proj.scales"."""
    return weight.removesuffix(WEIGHT) + "." + part


def tied_embedding(names: Iterable[str]) -> str | None:
    """The embedding that is the output matrix too; None where the model has one of its own. It is written twice, as
    AutoGPTQ does: that reader forgets the tie while it loads, and would answer with zeros."""
    held = list(names)
    return None if HEAD in held else next((name for name in held if name.endswith(_EMBEDDINGS)), None)


def _parts(
    name: str, layers: Mapping[str, GptqLayer], settings: GptqSettings, shape: tuple[int, ...]
) -> dict[str, npt.NDArray[Any]]:
    layer = layers[name]
    layer.check(name)
    if layer.integers.shape != shape or layer.bits != settings.bits or layer.groups != settings.groups(layer.columns):
        raise ModelError(
            f"The GPTQ matrix {name} ({layer.rows} × {layer.columns}, {layer.bits} bits, {layer.groups} groups) does "
            "not fit the model or the settings; quantize it again."
        )
    return {part_name(name, part): tensor for part, tensor in encode(layer).items()}


def _require_projections(checkpoint: Checkpoint, layers: Mapping[str, GptqLayer]) -> None:
    """Readers make every matrix inside of a layer a GPTQ matrix: all must be given, and nothing that is not there."""
    strange = next((name for name in layers if name not in checkpoint.tensors), None)
    if strange is not None:
        raise ModelError(
            f"The model has no tensor {strange} to be written as GPTQ; give the model it was rounded from."
        )
    for name, info in checkpoint.tensors.items():
        inside = any(mark in name for mark in _PROJECTIONS_BEGIN) and name.endswith(WEIGHT) and len(info.shape) == 2
        if inside and name not in layers:
            raise ModelError(
                f"{name} was not quantized, but GPTQ's readers want every matrix of a layer to be; quantize it too."
            )


def _matrix(name: str, shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) != 2:
        raise ModelError(f"{name} is no matrix, so that GPTQ cannot hold it; leave it as it is.")
    return shape[0], shape[1]


def _copy_side_files(source: Path, part: Path) -> None:
    for file in sorted(source.iterdir()):
        kept = file.suffix in _KEPT_SUFFIXES or file.name.lower().startswith(_KEPT_NAMES)
        if kept and file.name not in _OWN_FILES and file.is_file() and file.stat().st_size <= _MAX_SIDE_FILE:
            shutil.copyfile(file, part / file.name)


def _write_json(path: Path, table: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(table, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _require_room(folder: Path, expected: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < expected + _SPARE_BYTES:
        raise WriteError(
            f"{folder.parent.resolve()} has {free / 1e6:,.0f} MB free, but about {expected / 1e6:,.0f} MB are needed; "
            "free some, or choose another place with -o."
        )


def plain_values(values: npt.NDArray[np.float32]) -> tuple[str, npt.NDArray[Any]]:
    """(type, values) of a tensor that stays whole: F16 where that holds it exactly, else F32."""
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    return ("F16", halves) if np.array_equal(halves.astype(np.float32), values) else ("F32", values)

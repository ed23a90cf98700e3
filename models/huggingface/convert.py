"""A Hugging Face folder as one GGUF file, without torch: lossless where the types allow, streamed.

Keys and tensors are those of llama.cpp's own converter of the pinned version. What is otherwise, on purpose: keys of
our own (`kangae.*`), a temperature of 0 where generation_config.json says not to sample, no output matrix that is the
embedding once more, scores from the merges where a SentencePiece tokenizer comes as tokenizer.json alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.errors import InternalError, ModelError, UsageError, WriteError
from models.gguf_types import FILE_TYPES, TENSOR_TYPES
from models.huggingface.architectures import Architecture, architecture_of, row_order
from models.huggingface.checkpoint import FLOATS, Checkpoint
from models.huggingface.encoding import BYTES, encode
from models.huggingface.model_card import provenance, read_model_card
from models.huggingface.parameters import Parameters, read_parameters
from models.huggingface.shapes import check_rows, check_shapes, tied
from models.huggingface.stream import Entry, Header, write_model
from models.huggingface.tokenizer import read_tokenizer
from models.whole_file import unfinished
from models.write_fault import write_error

OUTTYPES: Final = ("auto", "f16", "bf16", "f32")
"""`auto` keeps the type that the folder stores its matrices in."""
_CHUNK = 1 << 20
"""Values that are in memory at once: 4 MB as float32, which is faster than more."""
_SPARE_BYTES = 1 << 20
_BLOCKS = {kind.name: kind for kind in TENSOR_TYPES.values()}


@dataclass(frozen=True)
class StandIn:
    """A tensor that is written in the place of a folder's own (GPTQ's layers as Q4_0): `name` as the whole weight is
    called in the folder, "model.layers.0.self_attn.q_proj.weight"; `shape` (rows, columns) in values; `type` a ggml
    type; `data` gives uint8 (rows, bytes of a row), rows in the folder's order (they are moved here where GGUF has
    another)."""

    name: str
    shape: tuple[int, int]
    type: str
    data: Callable[[], npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class Converted:
    """What was written. `type`: of the matrices ("F16"), or the quant of stand-ins; `notes`: what a person should know
    of it; `converter`: "kangae", or llama.cpp's with its version."""

    architecture: str
    type: str
    tensors: int
    parameters: int
    bytes: int
    converter: str = "kangae"
    notes: tuple[str, ...] = ()


def convert(
    folder: Path,
    target_part: Path,
    *,
    outtype: str = "auto",
    pre: str | None = None,
    stand_ins: Sequence[StandIn] = (),
    file_type: str | None = None,
    progress: Callable[[float], None] | None = None,
) -> Converted:
    """Write the folder to `target_part`, an unfinished file of the caller's.

    `pre` names llama.cpp's pre-tokenizer where it is not recognized. `stand_ins` take the place of what the folder has
    under the same stem (".qweight", ".scales" …), biases stay; `file_type` is then the quant that the file is called
    ("Q4_0"). `progress`: share of the bytes written.

    Raises ModelError where the folder is damaged or cannot be carried over (UnknownArchitecture for one that is not
    known here), UsageError for a wrong `outtype` or `pre` and for weights that were quantized before, OSError where
    `target_part` cannot be written, WriteError where the disk has too little room.
    """
    if outtype.lower() not in OUTTYPES:
        raise UsageError(f"--outtype {outtype} is unknown; give one of {', '.join(OUTTYPES)}.")
    checkpoint = Checkpoint.open(folder)
    if not stand_ins:
        _refuse_quantized(checkpoint)
    architecture = architecture_of(checkpoint.config)
    parameters = read_parameters(checkpoint.config, architecture)
    embedding = checkpoint.tensors.get(architecture.hf_name("token_embd.weight"))
    check_rows(checkpoint.config, architecture, embedding.shape if embedding is not None else None)
    tokenizer = read_tokenizer(folder, checkpoint.config, architecture.name, pre)
    kept = _kept(checkpoint, architecture, stand_ins)
    stored = _stored_type(checkpoint, kept)
    matrices = stored if outtype.lower() == "auto" else outtype.upper()
    entries = list(_entries(checkpoint, architecture, parameters, kept, stand_ins, matrices))
    names = [entry.name for entry in entries]
    if len(set(names)) < len(names):
        raise ModelError(f"{folder} holds the same tensor under two names; fetch the model again.")
    shapes = {entry.name: entry.shape for entry in entries if entry.name not in parameters.factors}
    check_shapes(checkpoint.config, architecture, shapes)
    count = sum(int(np.prod(entry.shape)) for entry in entries)
    card, notes = read_model_card(folder, count)
    header = Header(
        architecture.name,
        parameters.keys,
        _file_type(file_type or matrices),
        tokenizer,
        card,
        provenance(folder, stored),
    )
    _check_room(target_part, sum(entry.bytes for entry in entries))
    size = write_model(target_part, header, entries, progress)
    return Converted(
        architecture.name,
        file_type or matrices,
        len(entries),
        count,
        size,
        notes=(*parameters.notes, *notes),
    )


def convert_whole(folder: Path, target: Path, **options: Any) -> Converted:
    """`convert` into a file that appears whole or not at all. Raises as it does; WriteError instead of OSError."""
    try:
        with unfinished(target) as (part,):
            return convert(folder, part, **options)
    except OSError as error:
        raise write_error(target, error, "name another file with -o") from error


def _refuse_quantized(checkpoint: Checkpoint) -> None:
    method = checkpoint.config.quantization
    if not method:
        return
    if method == "gptq":
        todo = "quantize or run the folder itself: its integers are re-packed into a GGUF bit for bit"
    else:
        todo = "give the folder of whole weights that it came from"
    raise UsageError(
        f"{checkpoint.folder} was quantized before ({method[:40]}), and rounding twice loses twice; {todo}."
    )


def _kept(checkpoint: Checkpoint, architecture: Architecture, stand_ins: Sequence[StandIn]) -> list[tuple[str, str]]:
    """(name in the folder, name in the GGUF) of what is written as the folder has it."""
    replaced = {one.name.rpartition(".")[0] for one in stand_ins}
    kept = []
    for name in checkpoint.tensors:
        stem, _, kind = name.rpartition(".")
        if stem in replaced and kind != "bias":
            continue
        written = architecture.gguf_name(name)
        if written is not None and not (written == "output.weight" and _is_embedding(checkpoint, architecture, name)):
            kept.append((name, written))
    return kept


def _is_embedding(checkpoint: Checkpoint, architecture: Architecture, output: str) -> bool:
    """Whether an output matrix that is tied to the embedding is stored a second time (transformers, too, looks whether
    they differ before it ties them)."""
    embedding = architecture.hf_name("token_embd.weight")
    if not tied(checkpoint.config, architecture) or embedding not in checkpoint.tensors:
        return False
    one, other = checkpoint.tensor(embedding), checkpoint.tensor(output)
    if (one.shape, one.type) != (other.shape, other.type) or one.type not in FLOATS:
        return False
    pairs = zip(checkpoint.chunks(embedding, _CHUNK), checkpoint.chunks(output, _CHUNK), strict=True)
    return all(np.array_equal(left.view(np.uint8), right.view(np.uint8)) for left, right in pairs)


def _stored_type(checkpoint: Checkpoint, kept: Iterable[tuple[str, str]]) -> str:
    """The type of the matrices in the folder. Raises ModelError for a type that holds no plain floats."""
    found = ""
    for name, _ in kept:
        tensor = checkpoint.tensors[name]
        if tensor.type not in FLOATS:
            raise ModelError(
                f"{name} is stored as {tensor.type}, and only F16, BF16 and F32 weights are converted; "
                "give the folder of whole weights that it came from."
            )
        if len(tensor.shape) > 1 and not found:
            found = tensor.type
    return found or "F16"


def _entries(
    checkpoint: Checkpoint,
    architecture: Architecture,
    parameters: Parameters,
    kept: Sequence[tuple[str, str]],
    stand_ins: Sequence[StandIn],
    matrices: str,
) -> Iterable[Entry]:
    for name, values in parameters.factors.items():
        yield Entry(name, values.shape, "F32", values.nbytes, partial(_whole, values))
    for name, written in kept:
        shape = checkpoint.tensors[name].shape
        plain = len(shape) < 2 or written.endswith("_norm.weight") or not written.endswith(".weight")
        kind = "F32" if plain else matrices
        size = checkpoint.tensors[name].values * BYTES[kind]
        yield Entry(written, shape, kind, size, partial(_chunks, checkpoint, architecture, name, kind))
    for one in stand_ins:
        place = architecture.gguf_name(one.name)
        if place is None or one.type not in _BLOCKS or one.shape[1] % _BLOCKS[one.type].block:
            raise InternalError(f"{one.name} cannot be written as {one.type} in the shape {one.shape}.")
        size = one.shape[0] * (one.shape[1] // _BLOCKS[one.type].block) * _BLOCKS[one.type].bytes
        yield Entry(place, one.shape, one.type, size, partial(_moved, architecture, one))


def _chunks(checkpoint: Checkpoint, architecture: Architecture, name: str, kind: str) -> Iterable[npt.NDArray[Any]]:
    """A tensor of the folder, encoded part by part."""
    tensor = checkpoint.tensors[name]
    heads = architecture.moved_heads(name)
    if heads is None:
        parts: Iterable[npt.NDArray[Any]] = checkpoint.chunks(name, _CHUNK)
    else:
        rows = checkpoint.raw(name).reshape(tensor.shape[0], -1)
        order = row_order(len(rows), heads)
        step = max(1, _CHUNK // rows.shape[1])
        parts = (rows[order[start : start + step]].reshape(-1) for start in range(0, len(rows), step))
    for part in parts:
        yield encode(name, part, tensor.type, kind)


def _moved(architecture: Architecture, one: StandIn) -> Iterable[npt.NDArray[Any]]:
    data = one.data()
    heads = architecture.moved_heads(one.name)
    yield data if heads is None else data[row_order(len(data), heads)]


def _whole(values: npt.NDArray[Any]) -> Iterable[npt.NDArray[Any]]:
    yield values


def _file_type(name: str) -> int:
    found = [number for number, known in FILE_TYPES.items() if known == name]
    if not found:
        raise InternalError(f"GGUF has no file type {name}.")
    return found[0]


def _check_room(target: Path, size: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if free < size + _SPARE_BYTES:
        raise WriteError(
            f"{target.parent} has {free / 1e9:.2f} GB free, and the model takes {size / 1e9:.2f} GB; free space there, "
            "or name another place with -o."
        )

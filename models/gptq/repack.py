"""A GPTQ folder as one GGUF: the same integers and scales in llama.cpp's blocks, nothing rounded again.

Metadata, tokenizer and names are the conversion's (`models.huggingface.convert`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from models.errors import ModelError, UsageError
from models.gguf_header import read_header
from models.gguf_types import TENSOR_TYPES
from models.gptq.checkpoint import GptqCheckpoint
from models.gptq.exact_blocks import encode_exactly, exact_type
from models.gptq.writer import HEAD
from models.huggingface.architectures import architecture_of
from models.huggingface.convert import StandIn, convert
from models.huggingface.shapes import tied
from models.whole_file import unfinished
from models.write_fault import write_error

EMBEDDINGS: Final = ("F16", "Q8_0")
"""Of the embedding and the output matrix, which GPTQ leaves whole."""
_FILE_TYPES: Final = {"Q3_K": "Q3_K_S", "Q4_K": "Q4_K_S"}
_BITS: Final = {kind.name: kind.bits_per_weight for kind in TENSOR_TYPES.values()}


@dataclass(frozen=True)
class Repacked:
    """A GGUF that was made. `type`: what most of its matrices are; `tensors`: how many there are of each type;
    `notes`: what a person should know of it."""

    file: Path
    type: str
    bytes: int
    bits_per_weight: float
    tensors: Mapping[str, int]
    notes: tuple[str, ...]


def repack_to_gguf(
    folder: Path,
    target: Path,
    *,
    wanted: str | None = None,
    embedding: str = "F16",
    pre: str | None = None,
    replace: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Repacked:
    """Write the GPTQ checkpoint in `folder` to the GGUF `target`, which appears only when it is whole.

    `wanted`: the type that its matrices must take (None: the smallest that holds each exactly). `embedding`: one of
    `EMBEDDINGS`. `pre`: llama.cpp's pre-tokenizer, where it is not recognized. `replace`: a file that is there is
    replaced. `progress`: share of the bytes.

    Raises ModelError where the folder is unsound, or a matrix cannot be packed anew without rounding it (act-order
    without static groups, say); UsageError where `target` is there or an option is unknown; WriteError.
    """
    if embedding not in EMBEDDINGS:
        raise UsageError(f"The embedding cannot be {embedding}; give {' or '.join(EMBEDDINGS)}.")
    if target.exists() and not replace:
        raise UsageError(f"{target} exists; name another output with -o, or replace it with --force.")
    checkpoint = GptqCheckpoint.open(folder)
    types = {name: _type_of(checkpoint, name, wanted) for name in checkpoint.layers}
    common = Counter(types.values()).most_common(1)[0][0]
    stand_ins = [_stand_in(checkpoint, name, kind) for name, kind in types.items()]
    if embedding != "F16":
        stand_ins += _rounded_embeddings(checkpoint, embedding)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with unfinished(target) as (part,):
            converted = convert(
                folder,
                part,
                outtype="f16",
                pre=pre,
                stand_ins=stand_ins,
                file_type=_FILE_TYPES.get(common, common),
                progress=progress,
            )
            header = read_header(part)
    except OSError as error:
        raise write_error(target, error, "choose another place with -o") from error
    return Repacked(
        file=target,
        type=common,
        bytes=target.stat().st_size,
        bits_per_weight=header.bits_per_weight,
        tensors=MappingProxyType(dict(Counter(tensor.type for tensor in header.tensors).most_common())),
        notes=(*_notes(checkpoint, types), *converted.notes),
    )


def _type_of(checkpoint: GptqCheckpoint, name: str, wanted: str | None) -> str:
    layer = checkpoint.layer(name)
    if wanted is None:
        return exact_type(name, layer)
    try:
        encode_exactly(name, layer, wanted)
    except ModelError as error:
        raise ModelError(f"{error.detail} As {exact_type(name, layer)} it can be.") from error
    return wanted


def _stand_in(checkpoint: GptqCheckpoint, name: str, kind: str) -> StandIn:
    def data() -> npt.NDArray[np.uint8]:
        return encode_exactly(name, checkpoint.layer(name), kind)

    return StandIn(name, checkpoint.shape(name), kind, data)


def _rounded_embeddings(checkpoint: GptqCheckpoint, kind: str) -> list[StandIn]:
    """The embedding, and the output matrix where it is another and was not quantized."""
    architecture = architecture_of(checkpoint.config)
    names = [architecture.hf_name("token_embd.weight")]
    if not tied(checkpoint.config, architecture):
        names.append(HEAD)
    found = []
    for name in names:
        shape = checkpoint.tensors.tensors[name].shape if name in checkpoint.plain else ()
        if len(shape) == 2 and shape[1] % 32 == 0:
            found.append(StandIn(name, (shape[0], shape[1]), kind, _Rounded(checkpoint, name, kind)))
    return found


@dataclass(frozen=True)
class _Rounded:
    """The bytes of a whole matrix, rounded to the nearest."""

    checkpoint: GptqCheckpoint
    name: str
    kind: str

    def __call__(self) -> npt.NDArray[np.uint8]:
        import gguf

        values = self.checkpoint.tensors.values(self.name)
        data: npt.NDArray[np.uint8] = gguf.quants.quantize(values, gguf.GGMLQuantizationType[self.kind])
        return data


def _notes(checkpoint: GptqCheckpoint, types: Mapping[str, str]) -> list[str]:
    """Where matrices take more room than their bits ask for, and why."""
    bits, symmetric = checkpoint.settings.gptq.bits, checkpoint.settings.gptq.symmetric
    notes = []
    for kind, count in Counter(types.values()).items():
        if kind == "Q5_0" and bits == 4 and not symmetric:
            why = "scale times zero point is finer than Q4_1's 16-bit floats"
        elif _BITS[kind] > bits + 1:
            why = f"no smaller type holds {bits} bits in groups of {checkpoint.settings.gptq.group_size} exactly"
        else:
            continue
        notes.append(f"{count} of {len(types)} matrices are {kind} ({_BITS[kind]:g} bits a weight): {why}.")
    return notes

"""The `auto` mixture: types for a model's matrices, from what they cost, under a limit of bytes for the file."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.errors import CannotMeetError
from models.gguf_file import GgufFile
from models.gguf_types import TENSOR_TYPES
from quantize.gguf_types import TensorOverride, overridden
from quantize.recipe.recipe import Choice, choose, least_bytes
from quantize.recipe.sensitivity import EMBEDDING, OUTPUT, Sensitivities

_BLOCKS = {kind.name: kind for kind in TENSOR_TYPES.values()}
BASE = "Q4_K_M"
"""The type whose size is the limit unless another is given, and which the file is said to be."""
_ALIGNMENT = 32
_METADATA_BYTES = 2048
"""More than what is written besides the model's own metadata: who made the file, on what, by which mixture."""


@dataclass(frozen=True)
class AutoMixture:
    """`types` of the tensors that were chosen for; `limit` of the file in bytes; `kl`: the sum of what the types cost,
    each measured alone."""

    types: Mapping[str, str]
    limit: int
    kl: float
    places: int

    @property
    def overrides(self) -> tuple[TensorOverride, ...]:
        """For llama.cpp's quantizer: each tensor by its exact name."""
        return tuple(TensorOverride(f"^{re.escape(name)}$", kind) for name, kind in self.types.items())

    @property
    def told(self) -> str:
        """For the file's metadata, 127 bytes at most."""
        return f"auto: {self.limit} bytes, least sum of KL, each tensor measured alone on {self.places} held-out tokens"

    @property
    def note(self) -> str:
        """For a person."""
        counts = ", ".join(f"{count} {kind}" for kind, count in Counter(self.types.values()).most_common())
        return f"Chosen by measured KL for at most {self.limit:,} bytes: {counts}."


def mix(
    model: GgufFile,
    sensitivities: Sensitivities,
    limit: int,
    *,
    tensor_types: Sequence[TensorOverride] = (),
    output_type: str | None = None,
    embedding_type: str | None = None,
) -> AutoMixture:
    """The mixture whose file takes `limit` bytes or less. Types that a person gave stay as given. Raises
    CannotMeetError, which tells the least possible size."""
    head = OUTPUT if OUTPUT in model.tensors else EMBEDDING
    ends = {EMBEDDING: embedding_type, **({head: output_type} if output_type else {})}
    rest = model.header.data_start + _METADATA_BYTES
    choices: dict[str, list[Choice]] = {}
    for name, info in model.tensors.items():
        given = ends.get(name) or overridden(name, tensor_types)
        measured = sensitivities.kl.get(name)
        if measured is None or (given is not None and given.upper() not in measured):
            kind = given.upper() if given is not None and len(info.shape) > 1 else info.type
            rest += _bytes(info.shape, kind)
            continue
        kept = measured if given is None else {given.upper(): measured[given.upper()]}
        choices[name] = [Choice(kind, _bytes(info.shape, kind), kl) for kind, kl in kept.items()]
    least = least_bytes(choices) + rest
    if limit < least:
        raise CannotMeetError(
            f"The smallest mixture of {model.path.name} takes {least:,} bytes, and {limit:,} were allowed; give "
            f"--size {least} or more, or take a smaller model."
        )
    found = choose(choices, limit - rest)
    types = {name: choice.type for name, choice in found.items()}
    return AutoMixture(types, limit, math.fsum(one.loss for one in found.values()), sensitivities.places)


def _bytes(shape: Sequence[int], kind: str) -> int:
    """Of a tensor in a file, padding included."""
    blocks = _BLOCKS[kind]
    size = math.prod(shape) // blocks.block * blocks.bytes
    return -(-size // _ALIGNMENT) * _ALIGNMENT

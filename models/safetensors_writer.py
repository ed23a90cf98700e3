"""A .safetensors checkpoint written tensor by tensor, in one file or in several with an index.

Format: https://github.com/huggingface/safetensors; the index is that of transformers (`weight_map`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.errors import InternalError

SHARD_BYTES: Final = 5_000_000_000
"""The most that one file holds, as transformers has it, unless one tensor is larger."""
_ITEM_BYTES: Final = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
_ALIGNMENT: Final = 8
_CHUNK: Final = 1 << 24


@dataclass(frozen=True)
class TensorPlan:
    """A tensor to be written: `type` as safetensors names it, `shape` in row-major order."""

    name: str
    type: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Its size in the file."""
        return math.prod(self.shape) * _ITEM_BYTES[self.type]


def write_checkpoint(
    folder: Path,
    plan: Sequence[TensorPlan],
    data: Callable[[str], npt.NDArray[Any]],
    metadata: Mapping[str, str],
    *,
    shard_bytes: int = SHARD_BYTES,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write `model.safetensors` into `folder`, or shards and their index. `data` is asked for one tensor at a time, in
    the plan's order. `progress`: share of the bytes. Raises OSError; InternalError where data and plan do not agree."""
    shards = list(_shards(plan, shard_bytes))
    whole = sum(one.bytes for one in plan) or 1
    done = 0
    places = {}
    for number, shard in enumerate(shards, 1):
        name = "model.safetensors" if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        with open(folder / name, "wb") as file:
            file.write(_header(shard, metadata))
            for one in shard:
                tensor = np.ascontiguousarray(data(one.name))
                if tensor.nbytes != one.bytes:
                    raise InternalError(f"{one.name} takes {one.bytes} bytes, not {tensor.nbytes}.")
                flat = tensor.reshape(-1).view(np.uint8)
                for start in range(0, len(flat), _CHUNK):
                    file.write(flat[start : start + _CHUNK].data)
                places[one.name] = name
                done += one.bytes
                if progress is not None:
                    progress(done / whole)
    if len(shards) > 1:
        index = {"metadata": {"total_size": whole}, "weight_map": places}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _shards(plan: Sequence[TensorPlan], limit: int) -> Iterator[list[TensorPlan]]:
    shard: list[TensorPlan] = []
    size = 0
    for one in plan:
        if shard and size + one.bytes > limit:
            yield shard
            shard, size = [], 0
        shard.append(one)
        size += one.bytes
    if shard:
        yield shard


def _header(shard: Sequence[TensorPlan], metadata: Mapping[str, str]) -> bytes:
    table: dict[str, Any] = {"__metadata__": dict(metadata)}
    offset = 0
    for one in shard:
        table[one.name] = {"dtype": one.type, "shape": one.shape, "data_offsets": [offset, offset + one.bytes]}
        offset += one.bytes
    raw = json.dumps(table, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % _ALIGNMENT)
    return len(raw).to_bytes(8, "little") + raw

"""The names of a split GGUF's parts: NAME-00001-of-00003.gguf, as llama.cpp writes them."""

from __future__ import annotations

import re
from pathlib import Path

from models.errors import ModelError

_FIRST = re.compile(r"(.*-)00001-of-(\d{5})(\.gguf)")
_ANY = re.compile(r"(.*-)(\d{5})-of-(\d{5})(\.gguf)")


def part_paths(path: Path) -> list[Path]:
    """The file itself, or all parts of the split model whose first is `path`. Raises ModelError if one is missing, or
    `path` is a later one."""
    other = _ANY.fullmatch(path.name)
    if other is not None and int(other[2]) != 1:
        first = path.with_name(f"{other[1]}00001-of-{other[3]}{other[4]}")
        raise ModelError(f"{path} is part {int(other[2])} of a split model; give its first part, {first}.")
    split = _FIRST.fullmatch(path.name)
    if split is None:
        return [path]
    paths = [path.with_name(f"{split[1]}{number:05}-of-{split[2]}{split[3]}") for number in range(1, int(split[2]) + 1)]
    for part in paths:
        if not part.is_file():
            raise ModelError(f"{part} is missing: the model is split in {len(paths)} files that must lie together.")
    return paths


def part_name(stem: str, number: int, count: int) -> str:
    """The name of part `number` (from 1) of `count`."""
    return f"{stem}-{number:05}-of-{count:05}.gguf"

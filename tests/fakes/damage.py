"""Ways in which the folder of a model can be damaged, by a name each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.safetensors_header import read_header
from tests.fakes.huggingface_folders import stored, write_safetensors

Damage = Callable[[Path], object]
GONE: Final = object()
"""In a table of changes: the key is taken away."""
_WEIGHTS = "model.safetensors"


def changed(name: str, value: Any, *keys: str | int) -> Damage:
    """The value behind `keys` in a JSON file is another one, or gone; without keys, the whole file."""

    def damage(folder: Path) -> None:
        path = folder / name
        whole = json.loads(path.read_text())
        if not keys:
            path.write_text(json.dumps(value))
            return
        place = whole
        for key in keys[:-1]:
            place = place[key]
        if value is GONE:
            del place[keys[-1]]
        else:
            place[keys[-1]] = value
        path.write_text(json.dumps(whole))

    return damage


def content(name: str, data: bytes) -> Damage:
    """A file holds something else."""
    return lambda folder: _put(folder / name, data)


def gone(name: str) -> Damage:
    """A file is missing."""
    return lambda folder: (folder / name).unlink()


def folder_instead(name: str) -> Damage:
    """A folder stands where the file should be."""

    def damage(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return damage


def looped(name: str) -> Damage:
    """The file is a link that leads to itself."""

    def damage(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(name)

    return damage


def dangling(name: str) -> Damage:
    """The file is a link to nothing."""

    def damage(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to("nowhere")

    return damage


def cut(name: str, keep: float) -> Damage:
    """Only the first part of a file came."""

    def damage(folder: Path) -> None:
        data = (folder / name).read_bytes()
        _put(folder / name, data[: int(len(data) * keep)])

    return damage


def swapped(one: str, other: str) -> Damage:
    """Two files have each other's names."""

    def damage(folder: Path) -> None:
        (folder / one).rename(folder / "between")
        (folder / other).rename(folder / one)
        (folder / "between").rename(folder / other)

    return damage


def header(change: Callable[[dict[str, Any]], object], name: str = _WEIGHTS) -> Damage:
    """The header of a .safetensors file is another one; the weights behind it are the same."""

    def damage(folder: Path) -> None:
        data = (folder / name).read_bytes()
        length = int.from_bytes(data[:8], "little")
        table = json.loads(data[8 : 8 + length])
        change(table)
        encoded = json.dumps(table).encode()
        encoded += b" " * (-len(encoded) % 8)
        _put(folder / name, len(encoded).to_bytes(8, "little") + encoded + data[8 + length :])

    return damage


def raw_header(encoded: bytes, claimed: int | None = None) -> Damage:
    """A .safetensors file begins with these bytes, which claim to be so many."""

    def damage(folder: Path) -> None:
        length = len(encoded) if claimed is None else claimed
        _put(folder / _WEIGHTS, length.to_bytes(8, "little") + encoded)

    return damage


Tensors = dict[str, tuple[str, npt.NDArray[Any]]]


def tensors(change: Callable[[Tensors], object], name: str = _WEIGHTS) -> Damage:
    """Other tensors in a .safetensors file, which is sound in itself."""

    def damage(folder: Path) -> None:
        found = read_tensors(folder / name)
        change(found)
        write_safetensors(folder / name, found)

    return damage


_NUMPY = {"BF16": np.uint16, "F16": np.float16, "F32": np.float32, "I32": np.int32}


def read_tensors(path: Path) -> Tensors:
    """(type, values as stored) of each tensor."""
    about = read_header(path)
    data = path.read_bytes()[about.data_start :]
    return {
        one.name: (one.type, np.frombuffer(data[one.start : one.end], _NUMPY[one.type]).reshape(one.shape).copy())
        for one in about.tensors
    }


def value(name: str, bad: float) -> Damage:
    """One value of a tensor is `bad`."""

    def change(found: Tensors) -> None:
        kind, values = found[name]
        values.reshape(-1)[-1] = stored(np.array([bad], np.float32), kind)[0] if kind != "I32" else int(bad)

    return tensors(change)


def without(name: str) -> Damage:
    """A tensor is missing."""
    return tensors(lambda found: found.pop(name))


def renamed(name: str, other: str) -> Damage:
    """A tensor has another name."""
    return tensors(lambda found: found.update({other: found.pop(name)}))


def as_type(name: str, kind: str) -> Damage:
    """A tensor is stored as another type."""

    def change(found: Tensors) -> None:
        _, values = found[name]
        made = stored(np.ones(values.shape, np.float32), kind) if kind in ("F32", "F16", "BF16") else None
        found[name] = kind, np.ones(values.shape, np.int8) if made is None else made

    return tensors(change)


def reshaped(name: str, change: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> Damage:
    """A tensor has another shape."""

    def apply(found: Tensors) -> None:
        kind, values = found[name]
        found[name] = kind, np.ascontiguousarray(change(values))

    return tensors(apply)


def all_of(*damages: Damage) -> Damage:
    """Several at once."""

    def damage(folder: Path) -> None:
        for one in damages:
            one(folder)

    return damage


def _put(path: Path, data: bytes) -> None:
    path.write_bytes(data)

"""Layers that are rounded, kept in a folder one by one, so that a run that was broken off goes on behind the last."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import InternalError
from models.gptq.layer import GptqLayer
from models.whole_file import unfinished, write_whole
from quantize.rounding.rounder import GgufBlocks, Rounded

Encoded = GgufBlocks | GptqLayer
Floats = npt.NDArray[np.float32]

_KEY = "key.json"
_HIDDEN = "hidden.npz"
_PARTS = ("integers", "scales", "zeros", "group_index")
_LAYER = re.compile(r"layer-(\d{4})\.npz")


class LayerStore(Mapping[str, Encoded]):
    """Rounded tensors by name; each is read when it is asked for. `losses`: what rounding each lost."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.types: dict[str, str] = {}
        self.losses: dict[str, float] = {}
        self._files: dict[str, Path] = {}
        for file in sorted(folder.glob("layer-*.npz")):
            self._list(file)

    @classmethod
    def open(cls, folder: Path, key: str) -> LayerStore:
        """The store of work that `key` describes; what was kept of other work is cleared. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        own = folder / _KEY
        try:
            known = json.loads(own.read_text("utf-8"))
        except (OSError, ValueError):
            known = None
        if known != key:
            for file in folder.iterdir():
                if file.is_file():
                    file.unlink()
            write_whole(own, json.dumps(key))
        return cls(folder)

    @property
    def done(self) -> int:
        """How many layers stand here whole, from the first on, with the hidden states behind the last of them."""
        try:
            with np.load(self.folder / _HIDDEN) as held:
                return int(held["layers"])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return 0

    def hidden(self) -> tuple[Floats, Floats | None]:
        """The hidden states behind the last finished layer, (tokens, hidden); those of the unrounded model, where they
        were kept as well."""
        with np.load(self.folder / _HIDDEN) as held:
            return held["hidden"], held.get("reference")

    def put(
        self, layer: int, rounded: Mapping[str, Rounded], hidden: Floats | None, reference: Floats | None = None
    ) -> None:
        """Keep a layer, and the hidden states behind it (None: nothing follows), with those of the unrounded model.
        Raises OSError."""
        arrays: dict[str, npt.NDArray[Any]] = {}
        told = {}
        for name, one in rounded.items():
            arrays |= {f"{name}|{part}": values for part, values in _parts(one.encoded).items()}
            told[name] = {"type": type_name(one.encoded), "loss": one.loss}
        arrays["told"] = np.frombuffer(json.dumps(told).encode(), np.uint8)
        file = self.folder / f"layer-{layer:04}.npz"
        with unfinished(file) as (part,), open(part, "wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
        if hidden is not None:
            with unfinished(self.folder / _HIDDEN) as (part,), open(part, "wb") as stream:
                states = {"hidden": hidden} | ({} if reference is None else {"reference": reference})
                np.savez(stream, allow_pickle=False, layers=np.array(layer + 1), **states)
        self._list(file)

    def drop_after(self, layers: int) -> None:
        """Take away what was kept of layers from number `layers` on: their hidden states are not there."""
        for file in self.folder.glob("layer-*.npz"):
            found = _LAYER.fullmatch(file.name)
            if found is None or int(found[1]) >= layers:
                file.unlink()
                for name in [name for name, place in self._files.items() if place == file]:
                    del self._files[name], self.types[name], self.losses[name]

    def __getitem__(self, name: str) -> Encoded:
        file = self._files[name]
        with np.load(file) as held:
            kind = self.types[name]
            if f"{name}|data" in held:
                return GgufBlocks(kind, held[f"{name}|data"])
            return GptqLayer(int(held[f"{name}|bits"]), *(held[f"{name}|{part}"] for part in _PARTS))

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def blocks(self, name: str) -> npt.NDArray[np.uint8]:
        """The bytes of a tensor in a ggml type, (rows, bytes of a row)."""
        found = self[name]
        if not isinstance(found, GgufBlocks):
            raise InternalError(f"{name} was rounded as GPTQ, not for GGUF.")
        return found.data

    def _list(self, file: Path) -> None:
        with np.load(file) as held:
            told = json.loads(bytes(held["told"]))
        for name, one in told.items():
            self._files[name], self.types[name], self.losses[name] = file, one["type"], one["loss"]


def type_name(encoded: Encoded) -> str:
    """A ggml type, or GPTQ with its bits."""
    return encoded.type if isinstance(encoded, GgufBlocks) else f"GPTQ-{encoded.bits}"


def _parts(encoded: Encoded) -> dict[str, npt.NDArray[Any]]:
    if isinstance(encoded, GgufBlocks):
        return {"data": encoded.data}
    return {"bits": np.array(encoded.bits), **{part: getattr(encoded, part) for part in _PARTS}}

"""Importance matrices: of every weight matrix the mean square of each of its inputs, over a calibration text.

The file is llama.cpp's (tools/imatrix/README.md): a GGUF of `general.type` "imatrix" with `NAME.in_sum2`, the sums of
squares, and `NAME.counts`, the rows that they are sums over; of a mixture of experts one row for each expert. The older
binary form is read as well.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from models.errors import ModelError, UsageError
from models.gguf_file import GgufFile
from models.gguf_header import GgufHeader, ListSummary, TensorInfo

MAGIC: Final = b"GGUF"
_MOST_BYTES = 4 << 30
_MOST_ENTRIES = 65_536
_SUMS, _COUNTS = ".in_sum2", ".counts"
_OWN = "kangae.imatrix."
_OWN_KEYS = ("model", "model_sha256", "corpus_sha256", "tokens")
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Entry:
    """`sums`: shape (matrices, columns); `counts`: shape (matrices,), the rows that each was summed over."""

    sums: Floats
    counts: Floats

    @property
    def importance(self) -> Floats:
        """What the quantizer is given, shape (matrices * columns,): the means; 1 for an expert that was never asked."""
        counts = self.counts[:, None]
        means = np.divide(self.sums, counts, out=np.ones_like(self.sums), where=counts > 0)
        return means.reshape(-1)


@dataclass(frozen=True)
class Imatrix:
    """`entries` by the names of the weights. `own`: what ours tells besides (of which model, on which corpus)."""

    entries: Mapping[str, Entry]
    datasets: tuple[str, ...]
    chunk_count: int
    chunk_size: int
    own: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class ImatrixFile:
    """An importance matrix, where it stands, and the SHA-256 of that file."""

    path: Path
    sha256: str
    imatrix: Imatrix

    @property
    def metadata(self) -> dict[str, str | int]:
        """What a file that is made with it should tell besides the keys of llama-quantize: so that it can be made
        again."""
        own = self.imatrix.own
        told: dict[str, str | int] = {"kangae.imatrix.sha256": self.sha256}
        if "corpus_sha256" in own:
            told["kangae.imatrix.corpus_sha256"] = own["corpus_sha256"]
        if own.get("tokens", "").isdecimal():
            told["kangae.imatrix.tokens"] = int(own["tokens"])
        return told


def is_imatrix(path: Path) -> bool:
    """Whether the file looks like one, in either form. Nothing but its beginning is read."""
    try:
        with open(path, "rb") as file:
            start = file.read(4)
            if start != MAGIC:
                count, length = struct.unpack("<ii", (start + file.read(4)).ljust(8, b"\0"))
                name = file.read(max(0, min(length, 64)))
                return 0 < count <= _MOST_ENTRIES and name.endswith((b".weight", b".bias"))
        return GgufFile.open(path).header.text("general.type") == "imatrix"
    except (OSError, ModelError):
        return False


def write_imatrix(imatrix: Imatrix, path: Path) -> None:
    """Write the GGUF form to `path`, an unfinished file of the caller's. Raises OSError."""
    import gguf

    class Writer(gguf.GGUFWriter):
        def add_architecture(self) -> None:
            """An importance matrix has none."""

    writer = Writer(path, "")
    writer.add_type("imatrix")
    writer.add_array(gguf.Keys.IMatrix.DATASETS, list(imatrix.datasets))
    writer.add_uint32(gguf.Keys.IMatrix.CHUNK_COUNT, imatrix.chunk_count)
    writer.add_uint32(gguf.Keys.IMatrix.CHUNK_SIZE, imatrix.chunk_size)
    for key, value in imatrix.own.items():
        writer.add_string(_OWN + key, value)
    for name, entry in sorted(imatrix.entries.items()):
        writer.add_tensor(name + _SUMS, np.ascontiguousarray(entry.sums, np.float32))
        writer.add_tensor(name + _COUNTS, np.ascontiguousarray(entry.counts, np.float32).reshape(-1, 1))
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def read_imatrix(path: Path) -> ImatrixFile:
    """Read either form. Raises ModelError where it is missing, broken, or no importance matrix."""
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise ModelError(f"{path} holds {size >> 20} MiB, more than any importance matrix; give another file.")
        with open(path, "rb") as file:
            start = file.read(4)
        digest = _digest(path)
        imatrix = _read_gguf(path) if start == MAGIC else _read_legacy(path, path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); check the path and its permissions.") from error
    for name, entry in imatrix.entries.items():
        if not (np.isfinite(entry.sums).all() and np.isfinite(entry.counts).all()):
            raise ModelError(f"{path} holds no number where one should be, in {name}; make the matrix again.")
        if (entry.sums < 0).any() or (entry.counts < 0).any():
            raise ModelError(f"{path} holds negative squares or counts, in {name}; make the matrix again.")
    return ImatrixFile(path, digest, imatrix)


def require_fit(found: ImatrixFile, tensors: Iterable[TensorInfo], model: str) -> None:
    """Raise UsageError where the matrix was made of another model than the one called `model`."""
    matrices = {tensor.name: tensor for tensor in tensors if len(tensor.shape) > 1}
    entries = found.imatrix.entries
    shared = [name for name in entries if name in matrices]
    advice = f"make one with `kangae quantize {model} --calibrate traces`"
    if not shared:
        raise UsageError(f"{found.path} names no weight of {model}: it was made of another model; {advice}.")
    for name in shared:
        shape = matrices[name].shape
        wanted = shape[0] * (shape[2] if len(shape) > 2 else 1)
        if entries[name].sums.size != wanted:
            raise UsageError(
                f"{found.path} has {entries[name].sums.size} inputs for {name}, but {model} has {wanted}: "
                f"it was made of another model; {advice}."
            )
    foreign = [name for name in entries if name.startswith("blk.") and name not in matrices]
    if foreign:
        raise UsageError(
            f"{found.path} also names {foreign[0]}, which {model} has not: it is another model's; {advice}."
        )


def require_same_model(found: ImatrixFile, model: str) -> None:
    """Raise UsageError where the file itself says that it was made of another model."""
    made_of = found.imatrix.own.get("model", model)
    if made_of != model:
        raise UsageError(
            f"{found.path} was made of {made_of}, not of {model}; "
            f"make one with `kangae quantize {model} --calibrate traces`."
        )


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_gguf(path: Path) -> Imatrix:
    file = GgufFile.open(path)
    header = file.header
    if header.text("general.type") != "imatrix":
        raise ModelError(f"{path} is a GGUF file, but no importance matrix; give one that llama-imatrix or we made.")
    entries: dict[str, Entry] = {}
    for name in file.tensors:
        if not name.endswith(_SUMS):
            continue
        weight = name.removesuffix(_SUMS)
        if weight + _COUNTS not in file.tensors:
            raise ModelError(f"{path} has sums but no counts for {weight}; make the matrix again.")
        if {file.info(name).type, file.info(weight + _COUNTS).type} != {"F32"}:
            raise ModelError(f"{path} holds {weight} in another form than F32; make the matrix again.")
        counts = file.values(weight + _COUNTS).reshape(-1)
        sums = file.values(name).reshape(-1)
        if not len(counts) or len(sums) % len(counts):
            raise ModelError(f"{path} has {len(sums)} sums for {len(counts)} counts of {weight}; make it again.")
        entries[weight] = Entry(sums.reshape(len(counts), -1).copy(), counts.copy())
    if not entries:
        raise ModelError(f"{path} is an importance matrix without any entry; make it again.")
    datasets = header.metadata.get("imatrix.datasets")
    named = datasets.values if isinstance(datasets, ListSummary) else ()
    return Imatrix(
        entries,
        tuple(str(one) for one in named),
        _number(header, "imatrix.chunk_count"),
        _number(header, "imatrix.chunk_size"),
        MappingProxyType({key: text for key in _OWN_KEYS if (text := header.text(_OWN + key))}),
    )


def _number(header: GgufHeader, key: str) -> int:
    value = header.metadata.get(key, 0)
    return value if isinstance(value, int) else 0


class _Bytes:
    """A cursor that never leaves what is there."""

    def __init__(self, path: Path, data: bytes) -> None:
        self._path, self._data, self._at = path, data, 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int, what: str) -> bytes:
        if not 0 <= count <= self.left:
            raise ModelError(f"{self._path} is no importance matrix, or it is cut off (in {what}); fetch it again.")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, what: str) -> int:
        return int(struct.unpack("<i", self.take(4, what))[0])


def _read_legacy(path: Path, data: bytes) -> Imatrix:
    """Entries of name, calls and values, where a value is the mean of squares times the calls; then all calls, and the
    data set's name."""
    cursor = _Bytes(path, data)
    count = cursor.number("its count")
    if not 0 < count <= _MOST_ENTRIES:
        raise ModelError(f"{path} is no importance matrix; give a file that llama-imatrix or we made.")
    entries: dict[str, Entry] = {}
    for number in range(1, count + 1):
        name = cursor.take(cursor.number("a name"), "a name").decode("utf-8", "replace")
        calls = cursor.number(name)
        values = cursor.number(name)
        if values < 1 or calls < 0:
            raise ModelError(f"{path} is no importance matrix (entry {number} has {values} values); fetch it again.")
        sums = np.frombuffer(cursor.take(4 * values, name), "<f4").astype(np.float32).reshape(1, -1)
        entries[name] = Entry(sums, np.array([max(1, calls)], np.float32))
    chunks = cursor.number("its end") if cursor.left else 0
    named = cursor.take(cursor.number("its end"), "its end").decode("utf-8", "replace") if cursor.left >= 4 else ""
    return Imatrix(entries, (named,) if named else (), chunks, 0)

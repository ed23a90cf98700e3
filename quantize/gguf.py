"""GGUF to GGUF at fewer bits, by llama.cpp's own quantizer: in a child process, under another name until whole."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.catalogue import ModelEntry, find
from models.errors import InternalError, ModelError, UsageError, WriteError
from models.gguf_file import GgufFile
from models.gguf_header import TensorInfo
from models.gguf_split import part_name, part_paths
from models.gguf_types import TENSOR_TYPES
from models.whole_file import unfinished
from models.write_fault import write_error
from quantize.calibration.imatrix import ImatrixFile, require_fit
from quantize.child import Ended, run_child
from quantize.gguf_shards import plan_shards, write_shards
from quantize.gguf_types import (
    NEED_IMATRIX,
    TensorOverride,
    gguf_types,
    overridden,
    require_overrides,
    tensor_type_number,
    type_number,
)
from quantize.work_folder import work_folder

__all__ = ["NEED_IMATRIX", "Quantized", "TensorOverride", "gguf_types", "quantize_gguf", "type_number"]

WHOLE_TYPES = ("F32", "F16", "BF16")
"""What may be quantized: values that were not rounded to a grid before."""
_SPARE_BYTES = 1 << 20
_WRITE_FAULTS = ("iostream", "basic_ios", "failed to open", "No space left", "write error")
_INVALID = re.compile(r"tensor '(.*?)' has invalid data")
_MISSING = re.compile(r"Missing importance matrix for tensor (\S+)")

Value = str | int | float | bool
Progress = Callable[[float], None]


@dataclass(frozen=True)
class Quantized:
    """A model that was made. `file`: of a split one the first; `bytes` of all. `bits_per_weight` counts its tensors;
    `tensors` how many there are of each type."""

    source: Path
    file: Path
    form: str
    bytes: int
    bits_per_weight: float
    tensors: Mapping[str, int]
    seconds: float
    files: int = 1
    imatrix: ImatrixFile | None = None

    @property
    def fell_back(self) -> bool:
        """Whether some matrices could not take the type's super-blocks of 256 columns and took a wider type of 32."""
        small = sum(count for name, count in self.tensors.items() if name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL"))
        return "_K" in self.form and small > 0

    def as_json(self) -> dict[str, Any]:
        """The object of `kangae quantize --json`."""
        found: dict[str, Any] = {
            "source": str(self.source),
            "file": str(self.file),
            "form": self.form,
            "bytes": self.bytes,
            "bpw": round(self.bits_per_weight, 3),
            "tensors": dict(self.tensors),
            "seconds": round(self.seconds, 3),
        }
        if self.files > 1:
            found["files"] = self.files
        if self.imatrix is not None:
            found["imatrix"] = {
                "file": str(self.imatrix.path),
                "sha256": self.imatrix.sha256,
                "datasets": list(self.imatrix.imatrix.datasets),
            }
        return found


def open_master(source: str) -> ModelEntry:
    """The model to quantize: of a name with several quants the widest. Raises ModelError (none), UsageError (unfit)."""
    entry = _named_master(source) or find(source)
    if entry.form != "gguf" or entry.header is None:
        raise UsageError(
            f"{source} is a folder in the form {entry.form}; only GGUF files are quantized by this version: "
            "convert it first with llama.cpp's convert_hf_to_gguf.py --outtype f16."
        )
    tensors = GgufFile.open(entry.path).tensors.values()
    rounded = sorted({tensor.type for tensor in tensors} - {*WHOLE_TYPES, "F64", "I8", "I16", "I32", "I64"})
    if rounded:
        raise UsageError(
            f"{entry.path.name} was quantized before (it holds {', '.join(rounded)}), and rounding twice loses twice; "
            "give the F16 or F32 file that it came from."
        )
    return entry


def _named_master(source: str) -> ModelEntry | None:
    if ":" in source or source.lower().endswith(".gguf") or Path(source).exists():
        return None
    for quant in WHOLE_TYPES:
        try:
            return find(f"{source}:{quant}")
        except ModelError:
            continue
    return None


def output_path(entry: ModelEntry, quant: str, output: str | None) -> Path:
    """Where the result goes: `output`, in `output` where that is a folder, else in the current folder."""
    name = f"{entry.name}-{quant}.gguf"
    if output is None:
        return Path(name)
    path = Path(output).expanduser()
    return path / name if path.is_dir() or output.endswith(("/", os.sep)) else path


def quantize_gguf(
    entry: ModelEntry,
    quant: str,
    target: Path,
    *,
    imatrix: ImatrixFile | None = None,
    tensor_types: Sequence[TensorOverride] = (),
    output_type: str | None = None,
    embedding_type: str | None = None,
    shard_bytes: int | None = None,
    metadata: Mapping[str, Value] | None = None,
    force: bool = False,
    threads: int = 0,
    progress: Progress | None = None,
) -> Quantized:
    """Write `entry` as GGUF of the type `quant` to `target`, which appears only when it is whole.

    The bytes are those of llama-quantize with the same `imatrix`, `tensor_types` (in order, the first that is found
    holds), `output_type` and `embedding_type` (ggml's names), and its --override-kv for `metadata` (texts of 127 bytes
    at most). `shard_bytes`: where the whole takes more, it is written in files of at most so many, named
    NAME-00001-of-0000N.gguf. `threads` 0 = as many as this process may use. `progress` is told the share done (0 to 1,
    an estimate) now and then. Raises UsageError (unknown type, `target` exists, another model's imatrix), ModelError
    (the source cannot be quantized), WriteError.
    """
    name, number = type_number(quant, imatrix=imatrix is not None)
    if entry.header is None:
        raise ModelError(f"{entry.path} has no GGUF header to quantize by; give a .gguf file.")
    source = GgufFile.open(entry.path)
    require_overrides(tensor_types, source.tensors)
    if imatrix is not None:
        require_fit(imatrix, source.tensors.values(), entry.name)
    _require_free(entry, target, force, shard_bytes is not None)
    overrides = (*tensor_types, *_own_overrides(name, source))
    expected = expected_bytes(source, name, (*overrides, *_ends(source, output_type, embedding_type)))
    job = {
        "source": str(entry.path.resolve()),
        "type": number,
        "threads": threads or len(_allowed_cores()),
        "imatrix": str(imatrix.path.resolve()) if imatrix is not None else None,
        "metadata": [*(metadata or {}).items(), *_told_of(imatrix)],
        "tensor_types": [(one.pattern, tensor_type_number(one.type)) for one in overrides],
        "output_type": tensor_type_number(output_type) if output_type else None,
        "embedding_type": tensor_type_number(embedding_type) if embedding_type else None,
    }
    started = time.monotonic()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if shard_bytes is None:
            with unfinished(target) as (part,):
                _require_room(target.parent, expected)
                _run(job, part, expected, progress)
                made = GgufFile.open(part)
            files = [target]
        else:
            _require_room(target.parent, 2 * expected)
            with work_folder(target, f"{job} {shard_bytes}") as folder:
                whole = folder / "whole.gguf"
                _run(job, whole, expected, progress)
                made = GgufFile.open(whole)
                files = _write_files(made, whole, target, shard_bytes)
    except OSError as error:
        raise write_error(target, error, "choose another place with -o") from error
    tensors = made.tensors.values()
    return Quantized(
        source=entry.path,
        file=files[0],
        form=f"gguf:{name}",
        bytes=sum(file.stat().st_size for file in files),
        bits_per_weight=sum(one.bytes for one in tensors) * 8 / max(1, sum(one.elements for one in tensors)),
        tensors=dict(Counter(one.type for one in tensors).most_common()),
        seconds=time.monotonic() - started,
        files=len(files),
        imatrix=imatrix,
    )


def _require_free(entry: ModelEntry, target: Path, force: bool, sharded: bool) -> None:
    """Raise UsageError where `target`, or a part of a split model of its name, stands in the way."""
    there = [target] if target.exists() else []
    if sharded:
        part = re.compile(re.escape(target.stem) + r"-\d{5}-of-\d{5}\.gguf")
        there += sorted(path for path in target.parent.glob("*-of-*.gguf") if part.fullmatch(path.name))
    sources = part_paths(entry.path)
    for path in there:
        if any(path.samefile(source) for source in sources):
            raise UsageError(f"{path} is the source itself; name another output with -o.")
        if not force:
            raise UsageError(f"{path} exists; name another output with -o, or replace it with --force.")


def _own_overrides(quant: str, source: GgufFile) -> tuple[TensorOverride, ...]:
    """llama.cpp writes MXFP4 for experts alone: a dense model under that name would be Q8_0."""
    experts = any(len(tensor.shape) > 2 for tensor in source.tensors.values())
    return (TensorOverride(r"^blk\.", "MXFP4"),) if quant == "MXFP4" and not experts else ()


def _ends(source: GgufFile, output: str | None, embedding: str | None) -> list[TensorOverride]:
    """The types of the first and last tensor as overrides, for the estimate: tied ones follow the output's."""
    tied = "output.weight" not in source.tensors
    found = [TensorOverride("^output.weight$", output)] if output else []
    found += [TensorOverride("^token_embd.weight$", embedding)] if embedding else []
    return found + ([TensorOverride("^token_embd.weight$", output)] if output and tied else [])


def _told_of(imatrix: ImatrixFile | None) -> list[tuple[str, Value]]:
    """What llama-quantize writes of an importance matrix, by the same keys and in the same order."""
    if imatrix is None:
        return []
    found = imatrix.imatrix
    told: list[tuple[str, Value]] = [("quantize.imatrix.file", imatrix.path.name)]
    if found.datasets:
        told.append(("quantize.imatrix.dataset", found.datasets[0]))
    told.append(("quantize.imatrix.entries_count", len(found.entries)))
    return [*told, ("quantize.imatrix.chunks_count", found.chunk_count)] if found.chunk_count > 0 else told


def _write_files(made: GgufFile, whole: Path, target: Path, most: int) -> list[Path]:
    """The parts beside `target`, or `target` itself where all fits into one."""
    if whole.stat().st_size <= most:
        whole.replace(target)
        return [target]
    parts = plan_shards(made, most)
    files = [target.with_name(part_name(target.stem, number, len(parts))) for number in range(1, len(parts) + 1)]
    with unfinished(*files) as unfinished_files:
        write_shards(made, parts, unfinished_files)
    return files


def expected_bytes(source: GgufFile, quant: str, overrides: Sequence[TensorOverride] = ()) -> int:
    """About how large the result becomes, rather more than less: mixtures keep some tensors wider than named."""
    named = {kind.name: kind.bits_per_weight for kind in TENSOR_TYPES.values()}
    digit = re.search(r"\d+", quant)
    near = float(digit.group()) + 0.5 if digit else 8.5
    base = next((named[name] for name in (quant, quant.rsplit("_", 1)[0]) if name in named), near)
    if quant not in WHOLE_TYPES:
        base = max(base * 1.25, base + 1.0)

    def bits(tensor: TensorInfo) -> float:
        kind = overridden(tensor.name, overrides) if overrides else None
        return base if kind is None else max(base, named[kind.upper()])

    weights = sum(tensor.elements * bits(tensor) for tensor in source.tensors.values())
    return int(weights / 8) + source.header.data_start


def _allowed_cores() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _require_room(folder: Path, expected: int) -> None:
    """Raises WriteError where the result would not fit."""
    free = shutil.disk_usage(folder).free
    if free < expected + _SPARE_BYTES:
        raise WriteError(
            f"{folder.resolve()} has {free / 1e6:,.0f} MB free, but about {expected / 1e6:,.0f} MB are needed; "
            "free some, or choose another place with -o."
        )


def _run(job: dict[str, Any], part: Path, expected: int, progress: Progress | None) -> None:
    """Quantize in a process of its own: the library ends its process on what it cannot stand."""

    def tick() -> None:
        if progress is not None and part.exists():
            progress(min(0.99, part.stat().st_size / max(1, expected)))

    ended = run_child("quantize.gguf_child", {**job, "target": str(part.resolve())}, tick)
    if ended.code:
        raise _failure(Path(job["source"]), part, ended)


def _failure(source: Path, part: Path, ended: Ended) -> Exception:
    said = ended.said
    if any(fault in said for fault in _WRITE_FAULTS) or shutil.disk_usage(part.parent).free < _SPARE_BYTES:
        return WriteError(
            f"{part.parent.resolve()} could not take the file ({said or 'no space left'}); free some space."
        )
    if ended.code < 0:
        return ModelError(f"{source} made llama.cpp's quantizer stop (signal {-ended.code}); the file is unsound.")
    if (bad := _INVALID.search(said)) is not None:
        return ModelError(
            f"{source} holds NaN or infinity in {bad[1]}: the file is damaged; fetch or convert it again."
        )
    if (missing := _MISSING.search(said)) is not None:
        return UsageError(
            f"The importance matrix has nothing of {missing[1]}, which this type needs; "
            "make another with --calibrate traces."
        )
    if "requires an imatrix" in said:
        return UsageError(
            f"{source.name} needs an importance matrix for this type: add --calibrate traces, or choose one such as "
            "gguf:Q3_K_M."
        )
    if not said:
        return InternalError("llama.cpp's quantizer failed without a word.")
    return ModelError(f"{source} cannot be quantized: {said}.")

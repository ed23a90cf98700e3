"""GGUF to GGUF at fewer bits, by llama.cpp's own quantizer: in a child process, under another name until whole."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.catalogue import ModelEntry, find
from models.errors import InternalError, ModelError, UsageError, WriteError
from models.gguf_header import GgufHeader, read_header
from models.gguf_types import FILE_TYPES, TENSOR_TYPES
from models.whole_file import unfinished
from models.write_fault import write_error

WHOLE_TYPES = ("F32", "F16", "BF16")
"""What may be quantized: values that were not rounded to a grid before."""
NEED_IMATRIX = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS", "Q2_K_S"})
"""Types that llama.cpp's quantizer refuses without an importance matrix (where rows are a multiple of 256)."""
_NOT_WRITTEN = frozenset({"NVFP4"})  # enumerated, but its quantizer refuses it as an output
_SPARE_BYTES = 1 << 20
_WRITE_FAULTS = ("iostream", "basic_ios", "failed to open", "No space left", "write error")


@dataclass(frozen=True)
class Quantized:
    """A file that was made. `bits_per_weight` counts its tensors; `tensors` how many there are of each type."""

    source: Path
    file: Path
    form: str
    bytes: int
    bits_per_weight: float
    tensors: Mapping[str, int]
    seconds: float

    @property
    def fell_back(self) -> bool:
        """Whether some matrices could not take the type's super-blocks of 256 columns and took a wider type of 32."""
        small = sum(count for name, count in self.tensors.items() if name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL"))
        return "_K" in self.form and small > 0

    def as_json(self) -> dict[str, Any]:
        """The object of `kangae quantize --json`."""
        return {
            "source": str(self.source),
            "file": str(self.file),
            "form": self.form,
            "bytes": self.bytes,
            "bpw": round(self.bits_per_weight, 3),
            "tensors": dict(self.tensors),
            "seconds": round(self.seconds, 3),
        }


def gguf_types() -> dict[str, int]:
    """Every type that this build of llama.cpp writes and we read, from its enumeration: name ("Q4_K_M") → number."""
    from runtime.backends.llama_library import llama_library

    c = llama_library().c
    found: dict[str, int] = {}
    for name in dir(c):
        prefix, _, short = name.rpartition("_MOSTLY_" if "_MOSTLY_" in name else "_ALL_")
        if prefix == "LLAMA_FTYPE" and getattr(c, name) in FILE_TYPES and short not in _NOT_WRITTEN:
            found[short] = int(getattr(c, name))
    return dict(sorted(found.items(), key=lambda item: item[1]))


def type_number(name: str) -> tuple[str, int]:
    """(name, number) of a type in any case. Raises UsageError with the list of those that can be written."""
    types = gguf_types()
    wanted = name.upper()
    if wanted not in types:
        possible = [one for one in types if one not in NEED_IMATRIX]
        raise UsageError(f"gguf:{name} is unknown; choose one of {', '.join(possible)}.")
    if wanted in NEED_IMATRIX:
        raise UsageError(
            f"gguf:{wanted} needs an importance matrix, which this version cannot make; "
            "choose a type that does without, such as gguf:Q2_K or gguf:Q3_K_M."
        )
    return wanted, types[wanted]


def open_master(source: str) -> ModelEntry:
    """The model to quantize: of a name with several quants the widest. Raises ModelError (none), UsageError (unfit)."""
    entry = _named_master(source) or find(source)
    if entry.form != "gguf" or entry.header is None:
        raise UsageError(
            f"{source} is a folder in the form {entry.form}; only GGUF files are quantized by this version: "
            "convert it first with llama.cpp's convert_hf_to_gguf.py --outtype f16."
        )
    rounded = sorted(
        {tensor.type for tensor in entry.header.tensors} - {*WHOLE_TYPES, "F64", "I8", "I16", "I32", "I64"}
    )
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
    force: bool = False,
    threads: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Quantized:
    """Write `entry` as GGUF of the type `quant` to `target`, which appears only when it is whole.

    `threads` 0 = as many as this process may use. `progress` is told the share done (0 to 1, an estimate) now and then.
    Raises UsageError (unknown type, `target` exists), ModelError (the source cannot be quantized), WriteError.
    """
    name, number = type_number(quant)
    if entry.header is None:
        raise ModelError(f"{entry.path} has no GGUF header to quantize by; give a .gguf file.")
    if target.exists():
        if target.samefile(entry.path):
            raise UsageError(f"{target} is the source itself; name another output with -o.")
        if not force:
            raise UsageError(f"{target} exists; name another output with -o, or replace it with --force.")
    expected = expected_bytes(entry.header, name)
    started = time.monotonic()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with unfinished(target) as (part,):
            _require_room(target.parent, expected)
            _run_child(entry.path, part, number, threads or len(_allowed_cores()), expected, progress)
            header = read_header(part)
    except OSError as error:
        raise write_error(target, error, "choose another place with -o") from error
    return Quantized(
        source=entry.path,
        file=target,
        form=f"gguf:{name}",
        bytes=target.stat().st_size,
        bits_per_weight=header.bits_per_weight,
        tensors=dict(Counter(tensor.type for tensor in header.tensors).most_common()),
        seconds=time.monotonic() - started,
    )


def expected_bytes(header: GgufHeader, quant: str) -> int:
    """About how large the result becomes, rather more than less: mixtures keep some tensors wider than named."""
    named = {kind.name: kind.bits_per_weight for kind in TENSOR_TYPES.values()}
    digit = re.search(r"\d+", quant)
    near = float(digit.group()) + 0.5 if digit else 8.5
    base = next((named[name] for name in (quant, quant.rsplit("_", 1)[0]) if name in named), near)
    if quant not in WHOLE_TYPES:
        base = max(base * 1.25, base + 1.0)
    return int(header.parameters * base / 8) + header.data_start


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


def _run_child(
    source: Path, part: Path, number: int, threads: int, expected: int, progress: Callable[[float], None] | None
) -> None:
    """Quantize in a process of its own: the library ends its process on what it cannot stand."""
    job = {"source": str(source.resolve()), "target": str(part.resolve()), "type": number, "threads": threads}
    # -P: a folder called like one of ours, where the command is given, must not be taken for it.
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "quantize.gguf_child", json.dumps(job)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        stdin=subprocess.PIPE,  # its end tells the child that we are gone
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,  # Ctrl-C is ours to handle
    )
    try:
        while True:
            try:
                child.wait(timeout=0.25)
                break
            except subprocess.TimeoutExpired:
                if progress is not None:
                    progress(min(0.99, part.stat().st_size / max(1, expected)))
    except BaseException:
        child.kill()
        child.wait()
        raise
    said = child.stdout.read().strip() if child.stdout else ""
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()
    if child.returncode == 0:
        return
    if any(fault in said for fault in _WRITE_FAULTS) or shutil.disk_usage(part.parent).free < _SPARE_BYTES:
        raise WriteError(
            f"{part.parent.resolve()} could not take the file ({said or 'no space left'}); free some space."
        )
    if child.returncode < 0:
        raise ModelError(f"{source} made llama.cpp's quantizer stop (signal {-child.returncode}); the file is unsound.")
    if "requires an imatrix" in said:
        raise UsageError(f"{source.name} needs an importance matrix for this type; choose one such as gguf:Q3_K_M.")
    if not said:
        raise InternalError("llama.cpp's quantizer failed without a word.")
    raise ModelError(f"{source} cannot be quantized: {said}.")

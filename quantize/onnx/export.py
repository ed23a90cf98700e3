"""A Hugging Face or GPTQ folder to a folder for onnxruntime: by onnxruntime-genai's builder in a process of its own.

The result is tried before it takes its place: the builder can write graphs that do not load.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import MissingPackageError, ModelError, UsageError, WriteError
from models.whole_folder import unfinished_folder
from models.write_fault import write_error
from quantize.child import run_child
from quantize.onnx.settings import OnnxSettings
from quantize.onnx.source import OnnxSource
from runtime.backends.onnx_check import OnnxVerdict, try_onnx
from runtime.backends.onnx_folder import PROVENANCE

_PACKAGES = ("onnxruntime_genai", "onnx", "onnx_ir", "torch", "transformers")
_CHILD = "quantize.onnx.builder_child"
_SPARE_BYTES = 16 << 20
_CACHE = ".cache"
_FULL = ("28", "122", "27")
"""ENOSPC, EDQUOT, EFBIG."""


@dataclass(frozen=True)
class OnnxExport:
    """A folder that was made. `bytes` of all its files; `bits_per_weight` counts them over the weights."""

    source: Path
    folder: Path
    form: str
    bytes: int
    bits_per_weight: float
    quantizer: str
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The object of `kangae quantize --json`."""
        return {
            "source": str(self.source),
            "file": str(self.folder),
            "form": self.form,
            "bytes": self.bytes,
            "bpw": round(self.bits_per_weight, 3),
            "quantizer": self.quantizer,
            "seconds": round(self.seconds, 3),
        }


def export_onnx(
    folder: Path,
    target: Path,
    settings: OnnxSettings,
    *,
    name: str,
    force: bool = False,
    progress: Callable[[float], None] | None = None,
) -> OnnxExport:
    """Write the model in `folder` (whole weights, or GPTQ in AutoGPTQ's layout) to the folder `target`.

    The integers of a GPTQ checkpoint are kept as they are; the embedding and the output are rounded by the builder, as
    are all weights of a whole one. `name`: what the model is called. `force`: a `target` that is there is replaced.
    `progress`: share of the bytes. Raises ModelError, UsageError, WriteError, MissingPackageError (extra `onnx`).
    """
    started = time.monotonic()
    source = OnnxSource.open(folder, settings)
    _require_free(target, force, folder)
    expected = expected_bytes(source, settings)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(target.parent).free
        if free < 2 * expected + _SPARE_BYTES:  # the builder keeps a copy of its own while it writes
            raise WriteError(
                f"{target.parent.resolve()} has {free / 1e6:,.0f} MB free, but about {2 * expected / 1e6:,.0f} MB are "
                "needed while the model is written; free some, or choose another place with -o."
            )
        with unfinished_folder(target, replace=force) as part:
            version = _build(source, part, settings, lambda: _tell(progress, part, expected))
            _write_provenance(source, part, settings, name, version)
            _try(part, settings)
            size = sum(file.stat().st_size for file in part.iterdir())
    except OSError as error:
        raise write_error(target, error, "choose another place with -o") from error
    return OnnxExport(
        source=folder,
        folder=target,
        form=f"onnx:{settings.precision}",
        bytes=size,
        bits_per_weight=8 * size / max(1, source.weights),
        quantizer=source.quantizer,
        seconds=time.monotonic() - started,
    )


def require_builder() -> None:
    """Raise MissingPackageError where a package that the builder imports is not installed."""
    for name in _PACKAGES:
        if importlib.util.find_spec(name) is None:
            raise _not_installed(name)


def _not_installed(package: str) -> MissingPackageError:
    return MissingPackageError(
        f"--to onnx needs the package {package}, which is not installed; install it with: "
        "make run EXTRAS=onnx, or pip install 'kangae[onnx]'."
    )


def expected_bytes(source: OnnxSource, settings: OnnxSettings) -> int:
    """About how large the result becomes, rather more than less: scales, and a table of tokens that stays wide."""
    narrow = settings.bits < 16
    wide = source.embedding * 4 if narrow else 0
    bits = settings.bits + 1 if narrow else settings.bits
    return source.weights * bits // 8 + wide


def _require_free(target: Path, force: bool, source: Path) -> None:
    if not target.exists():
        return
    if target.resolve() == source.resolve():
        raise UsageError(f"{target} is the model itself; name another folder with -o.")
    if not target.is_dir():
        raise UsageError(f"{target} is a file; an ONNX model is a folder: name another one with -o.")
    if not force and any(target.iterdir()):
        raise UsageError(f"{target} exists; name another folder with -o, or replace it with --force.")
    if force and any(target.iterdir()) and not (target / "genai_config.json").is_file():
        raise UsageError(f"{target} holds something else than an ONNX model; name another folder with -o.")


def _build(source: OnnxSource, part: Path, settings: OnnxSettings, tick: Callable[[], None]) -> str:
    """Run the builder; returns its version."""
    cache = part / _CACHE
    with tempfile.TemporaryDirectory(prefix="kangae-onnx-") as staged:
        source.stage(Path(staged))
        arguments = ["-i", staged, "-o", str(part.resolve()), "-c", str(cache.resolve())]
        arguments += ["-p", settings.precision, "-e", settings.target]
        arguments += ["--extra_options", *settings.options(rounded=source.gptq is not None)]
        ended = run_child(_CHILD, {"arguments": arguments}, tick)
    shutil.rmtree(cache, ignore_errors=True)
    try:
        report = json.loads(ended.said.splitlines()[-1])
    except (ValueError, IndexError):
        raise ModelError(
            f"{source.folder} made onnxruntime-genai's builder stop (exit code {ended.code}); "
            "free memory and try again, or choose another form."
        ) from None
    if "missing" in report:
        raise _not_installed(report["missing"])
    if "fault" in report:
        if report.get("number") in _FULL or shutil.disk_usage(part).free < _SPARE_BYTES:
            raise WriteError(f"{part.parent.resolve()} could not take the model ({report['fault']}); free some space.")
        fault = str(report["fault"]).replace(staged, str(source.folder))
        raise ModelError(
            f"{source.folder} cannot be written as ONNX: onnxruntime-genai's builder fails on it ({fault}); "
            "choose another form, such as --to gguf:Q4_K_M."
        )
    return str(report.get("builder", ""))


def _write_provenance(source: OnnxSource, part: Path, settings: OnnxSettings, name: str, version: str) -> None:
    """What the model is and came from, beside it, and the licence that goes with it."""
    table = {
        "name": name,
        "form": f"onnx:{settings.precision}",
        "precision": settings.precision,
        "provider": settings.target,
        "quantizer": source.quantizer,
        "builder": f"onnxruntime-genai {version}".strip(),
        "options": settings.options(rounded=source.gptq is not None),
        "source": source.folder.resolve().name,
        "weights": source.weights,
    }
    (part / PROVENANCE).write_text(json.dumps(table, indent=2) + "\n", "utf-8")
    for file in source.licences():
        with contextlib.suppress(shutil.SameFileError):
            shutil.copyfile(file, part / file.name)


def _try(part: Path, settings: OnnxSettings) -> OnnxVerdict | None:
    """Open what was built and decode with it; on this machine a model for GPUs may find none, and is not tried."""
    try:
        return try_onnx(part)
    except MissingPackageError:
        if settings.target == "cuda":
            return None
        raise
    except ModelError as error:
        raise ModelError(
            "onnxruntime-genai's builder wrote a model that does not run, and it was thrown away "
            f"({error.detail.replace(f'{part.name}/', '')}); choose another form, such as --to gguf:Q4_K_M."
        ) from error


def _tell(progress: Callable[[float], None] | None, part: Path, expected: int) -> None:
    if progress is not None:
        written = sum(file.stat().st_size for file in part.rglob("*") if file.is_file())
        progress(min(0.99, written / max(1, expected)))

"""Folders of safetensors opened with torch, and when that is the way to run them.

A GPTQ folder can be run in two ways: by gptqmodel's kernels, or packed anew as GGUF, with the same integers, by
llama.cpp. On a CUDA GPU the first is taken where its packages are there; on a CPU always the second, which decodes some
times faster there and wants no torch. A folder of whole weights is run by transformers, or converted by a person.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from models.errors import UsageError

if TYPE_CHECKING:
    from models.catalogue import ModelEntry
    from runtime.responder import Responder

BackendName = Literal["llama", "onnx", "gptq", "hf"]
_CAN: Final[dict[str, tuple[BackendName, ...]]] = {
    "gguf": ("llama",),
    "onnx": ("onnx",),
    "gptq": ("llama", "gptq"),
    "hf": ("hf",),
}
_GPU_FILES: Final = ("/dev/nvidiactl", "/dev/dxg")
"""One of them is there where a CUDA driver is (Linux, and Linux in Windows): torch takes seconds to say so."""


def choose_backend(entry: ModelEntry, wish: str | None = None, gpu_layers: int | None = None) -> BackendName:
    """What runs a model: `wish`, where its form allows it, else the fastest way here. Raises `UsageError`."""
    can = _CAN[entry.form]
    if wish is not None:
        found = next((name for name in can if name == wish), None)
        if found is None:
            raise UsageError(
                f"{entry.path} cannot be run by the backend {wish}; its form ({entry.form}) is run by "
                f"{' or '.join(can)}."
            )
        return found
    if entry.form == "gptq" and gpu_layers != 0 and _has_gptq_packages() and _has_gpu():
        return "gptq"
    return can[0]


def why_repacked(wish: str | None) -> str:
    """What keeps a GPTQ folder from being run as it is, or why it is not, to follow "it is a GPTQ model, and"."""
    if wish is not None:
        return f"{wish} is to run it"
    if not _has_gptq_packages():
        return "the extra `gptq` is not installed"
    return "no CUDA GPU is used"


def open_by_torch(
    entry: ModelEntry,
    sha256: str,
    *,
    context: int | None,
    sequences: int,
    spare: int,
    threads: int | None,
    gpu_layers: int | None,
    started: float,
    profile: bool,
    on_progress: Callable[[float], None] | None,
) -> Responder:
    """A responder over torch for a folder of safetensors with this content. Arguments and errors as `open_model`'s."""
    from runtime.backends.gptq import open_folder
    from runtime.local_responder import LocalResponder
    from runtime.opening import family_of, speed_record
    from runtime.profile.profile_store import load_profile

    calibrated = load_profile(sha256) if profile else None
    if calibrated is not None and calibrated.confidence is not None:
        spare = max(spare, 1)  # its trial answers need a place
    form: Literal["gptq", "hf"] = "gptq" if entry.form == "gptq" else "hf"
    prepared = time.perf_counter()
    backend = open_folder(
        entry.path,
        form=form,
        context=context,
        sequences=sequences + spare,
        threads=threads,
        gpu_layers=gpu_layers,
        on_progress=on_progress,
    )
    try:
        family = family_of(entry, backend.facts.metadata, backend.facts.chat_template)
        backend.facts = replace(
            backend.facts, name=entry.name or backend.facts.name, file=str(entry.path), profile=calibrated
        )
        return LocalResponder(
            backend,
            family,
            backend_name=form,
            load_seconds=time.perf_counter() - started,
            prepare_seconds=prepared - started,
            record=speed_record(replace(entry, quant=f"{form} {backend.kernel}"), threads, gpu_layers),
            spare=spare,
            weights=sha256,
        )
    except BaseException:
        backend.close()
        raise


def _has_gptq_packages() -> bool:
    return all(find_spec(name) is not None for name in ("torch", "transformers", "gptqmodel"))


def _has_gpu() -> bool:
    if not any(Path(file).exists() for file in _GPU_FILES):
        return False
    from runtime.backends.torch_library import has_gpu

    return has_gpu()

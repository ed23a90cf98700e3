"""From a model's name to a responder that answers: catalogue, check of the file, backend, engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from models.errors import ModelError, ResourceError

if TYPE_CHECKING:
    from models.catalogue import ModelEntry
    from models.family import Family
    from runtime.request import Sampling
    from runtime.responder import Responder
    from runtime.speed_record import SpeedRecord

_LIBRARY_ROOM = 96 << 20
"""Bytes of addresses that the C library takes with few threads; with less it ends the process."""
_OTHER_FORMS = {"onnx": "an ONNX model", "gptq": "a GPTQ model", "hf": "a model in safetensors"}


def open_model(
    name: str,
    *,
    context: int | None = None,
    sequences: int = 1,
    spare: int = 0,
    threads: int | None = None,
    gpu_layers: int | None = None,
    started: float | None = None,
    profile: bool = True,
    backend_name: str | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Responder:
    """Open the model that `name` means (catalogue name, hub id, file or folder) in this process.

    `spare` places more are kept for trial answers. `context`: tokens of cache that all `sequences` share; None: what
    the model was trained for and the memory carries. `started`: when loading began, by `time.perf_counter` (None: now);
    a command gives its own start, so that the load time that replies tell is the one its user waited. `profile`: use
    what `kangae calibrate` found for this file. `backend_name`: what runs it, where its form leaves a choice (see
    `runtime.torch_opening`); None: the fastest here. `on_progress` is told the fraction that is loaded. Raises
    ModelError, ResourceError, MissingPackageError, UsageError (a backend that cannot run it).
    """
    started = time.perf_counter() if started is None else started
    entry, sha256 = find_hashed(name, backend_name, gpu_layers)
    if entry.form in ("gptq", "hf"):
        from runtime.torch_opening import open_by_torch

        return open_by_torch(
            entry,
            sha256,
            context=context,
            sequences=sequences,
            spare=spare,
            threads=threads,
            gpu_layers=gpu_layers,
            started=started,
            profile=profile,
            on_progress=on_progress,
        )
    if entry.form == "onnx":
        return _open_onnx(
            entry,
            sha256,
            context=context,
            sequences=sequences,
            spare=spare,
            threads=threads,
            started=started,
            profile=profile,
        )
    from runtime.backends.llama import open_llama
    from runtime.backends.llama_library import llama_library
    from runtime.local_responder import LocalResponder
    from runtime.profile.profile_store import load_profile

    calibrated = load_profile(sha256) if profile else None
    if calibrated is not None and calibrated.confidence is not None:
        spare = max(spare, 1)  # its trial answers need a place
    record = speed_record(entry, threads, gpu_layers)
    sequences = min(
        sequences, int(llama_library().c.llama_max_parallel_sequences()) - spare
    )  # the rest waits for a place
    prepared = time.perf_counter()
    try:
        backend = open_llama(
            entry.path,
            context=context,
            sequences=sequences + spare,
            threads=threads,
            gpu_layers=gpu_layers,
            widths=record.widths(),
            on_progress=on_progress,
        )
    except (FileNotFoundError, PermissionError) as error:
        raise _gone(entry, error) from error
    try:
        family = family_of(entry, backend.facts.metadata, backend.facts.chat_template)
        backend.facts = replace(backend.facts, name=entry.name, file=str(entry.path), profile=calibrated)
        return LocalResponder(
            backend,
            family,
            load_seconds=time.perf_counter() - started,
            prepare_seconds=prepared - started,
            record=record,
            spare=spare,
            weights=sha256,
        )
    except BaseException:
        backend.close()
        raise


def _open_onnx(
    entry: ModelEntry,
    sha256: str,
    *,
    context: int | None,
    sequences: int,
    spare: int,
    threads: int | None,
    started: float,
    profile: bool,
) -> Responder:
    """A responder over onnxruntime for a folder that was checked."""
    from models.locations import cache_folder
    from runtime.backends.onnx import open_onnx
    from runtime.backends.onnx_check import check_onnx
    from runtime.local_responder import LocalResponder
    from runtime.profile.profile_store import load_profile

    calibrated = load_profile(sha256) if profile else None
    if calibrated is not None and calibrated.confidence is not None:
        spare = max(spare, 1)
    record = speed_record(entry, threads, None)
    told = check_onnx(entry.path, cache_folder() / "checks")
    prepared = time.perf_counter()
    backend = open_onnx(
        entry.path,
        context=context,
        sequences=sequences + spare,
        threads=threads,
        parameters=told.parameters,
        quant=told.quant,
    )
    try:
        family = family_of(entry, backend.facts.metadata, backend.facts.chat_template)
        backend.facts = replace(backend.facts, profile=calibrated)
        return LocalResponder(
            backend,
            family,
            backend_name="onnx",
            load_seconds=time.perf_counter() - started,
            prepare_seconds=prepared - started,
            record=record,
            spare=spare,
            weights=sha256,
        )
    except BaseException:
        backend.close()
        raise


def speed_record(entry: ModelEntry, threads: int | None, gpu_layers: int | None) -> SpeedRecord:
    """What is known of this file's speed when it is opened in this way."""
    from models.locations import cache_folder
    from runtime.backends.llama_fit import choose_threads
    from runtime.speed_record import SpeedRecord

    way = (entry.name, entry.quant, entry.bytes, threads or choose_threads(entry.bytes), gpu_layers)
    return SpeedRecord(cache_folder() / "speeds.json", " ".join(str(part) for part in way))


def find_checked(name: str) -> ModelEntry:
    """As `find_runnable`, a GGUF file alone (of a GPTQ folder its GGUF), and it was opened by a child: from here on the
    C library may have it."""
    entry = find_runnable(name)
    if entry.form not in ("gguf", "gptq"):
        raise ModelError(f"{entry.path} is {_OTHER_FORMS[entry.form]}; this needs a GGUF file: name one of the model.")
    return find_hashed(name, "llama")[0]


def find_hashed(name: str, backend_name: str | None = None, gpu_layers: int | None = None) -> tuple[ModelEntry, str]:
    """The model that a backend is to open, checked by a child where one does that, with the SHA-256 of its file (of a
    split model or a folder: of all files, one after another). Of a GPTQ folder that llama.cpp runs: its GGUF."""
    entry = find_runnable(name)
    from models.locations import cache_folder
    from runtime.torch_opening import choose_backend

    way = choose_backend(entry, backend_name, gpu_layers)
    if way == "onnx":
        return entry, _checked_onnx(entry)
    if way in ("gptq", "hf"):
        from runtime.folder_hash import folder_hash

        return entry, folder_hash(entry.path, cache_folder())
    if entry.form == "gptq":
        entry = _repacked(entry, backend_name)
    from runtime import machine

    room = machine.address_room()
    if room is not None and room < _LIBRARY_ROOM:
        raise ResourceError(
            f"This process may take {room >> 20} MiB more of memory, but the C library alone takes "
            f"{_LIBRARY_ROOM >> 20} MiB; raise the limit (`ulimit -v`)."
        )
    from runtime.model_check import check_model

    try:
        verdict = check_model(entry.path, cache_folder() / "checks")
    except (FileNotFoundError, PermissionError) as error:
        raise _gone(entry, error) from error
    except (BlockingIOError, MemoryError) as error:
        raise ResourceError(
            f"{entry.path} could not be checked in a process of its own ({error}); close other programs and try again."
        ) from error
    return entry, verdict.sha256


def _repacked(entry: ModelEntry, backend_name: str | None) -> ModelEntry:
    """The GGUF of a GPTQ folder, which runs without torch."""
    from models.locations import cache_folder
    from runtime.repacked_model import repacked_entry
    from runtime.torch_opening import why_repacked

    return repacked_entry(entry, cache_folder() / "repacked", why_repacked(backend_name))


def _checked_onnx(entry: ModelEntry) -> str:
    """The SHA-256 of an ONNX folder that a child opened."""
    from models.locations import cache_folder
    from runtime.backends.onnx_check import check_onnx

    try:
        return check_onnx(entry.path, cache_folder() / "checks").sha256
    except (FileNotFoundError, PermissionError) as error:
        raise _gone(entry, error) from error


def _gone(entry: ModelEntry, error: OSError) -> ModelError:
    """The file was there a moment ago."""
    return ModelError(f"{entry.path} cannot be read ({error.strerror}); check the path and its permissions.")


def find_runnable(name: str) -> ModelEntry:
    """The catalogue's entry for `name`; raises ModelError where there is none. Every form is run by some backend."""
    from models.catalogue import find

    return find(name)


def family_of(entry: ModelEntry, metadata: object, chat_template: str | None) -> Family:
    """How the model writes its thoughts: from the typed header where there is one, else from the backend's metadata."""
    from collections.abc import Mapping

    from models.family import resolve_family

    if entry.header is not None:
        return resolve_family(entry.header.metadata, entry.header.chat_template)
    return resolve_family(metadata if isinstance(metadata, Mapping) else {}, chat_template)


def responder_family(responder: Responder) -> Family:
    """The family of an open model, by what it says of itself."""
    own: Family | None = getattr(responder, "family", None)
    if own is not None:
        return own
    from models.family import resolve_family

    return resolve_family(responder.facts.metadata, responder.facts.chat_template)


def default_sampling(responder: Responder, *, thinking: bool) -> Sampling:
    """How this model draws where nothing else is said."""
    from runtime.local_responder import default_sampling as of_family

    return of_family(responder_family(responder), thinking=thinking)

"""From a model's name to a responder that answers: catalogue, check of the file, backend, engine."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from models.errors import ModelError

if TYPE_CHECKING:
    from models.catalogue import ModelEntry
    from models.family import Family
    from runtime.request import Sampling
    from runtime.responder import Responder

_OTHER_FORMS = {"onnx": "an ONNX model", "gptq": "a GPTQ model", "hf": "a model in safetensors"}


def open_model(
    name: str,
    *,
    context: int | None = None,
    sequences: int = 1,
    threads: int | None = None,
    gpu_layers: int | None = None,
    started: float | None = None,
) -> Responder:
    """Open the model that `name` means (catalogue name, hub id, file or folder) in this process.

    `context`: tokens of cache that all `sequences` share; None: what the model was trained for and the memory carries.
    `started`: when loading began, by `time.perf_counter` (None: now); a command gives its own start, so that the load
    time that replies tell is the one its user waited. Raises ModelError, ResourceError, MissingPackageError.
    """
    started = time.perf_counter() if started is None else started
    entry = find_runnable(name)
    from models.locations import cache_folder
    from runtime.backends.llama import open_llama
    from runtime.local_responder import LocalResponder
    from runtime.model_check import check_model

    check_model(entry.path, cache_folder() / "checks")
    backend = open_llama(entry.path, context=context, sequences=sequences, threads=threads, gpu_layers=gpu_layers)
    try:
        family = family_of(entry, backend.facts.metadata, backend.facts.chat_template)
        backend.facts = replace(backend.facts, name=entry.name, file=str(entry.path))
        return LocalResponder(backend, family, load_seconds=time.perf_counter() - started)
    except BaseException:
        backend.close()
        raise


def find_runnable(name: str) -> ModelEntry:
    """The catalogue's entry for `name`, of a form that this version runs; raises ModelError otherwise."""
    from models.catalogue import find

    entry = find(name)
    if entry.form != "gguf":
        raise ModelError(
            f"{entry.path} is {_OTHER_FORMS[entry.form]}; this version runs GGUF files: name a .gguf file of the model."
        )
    return entry


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

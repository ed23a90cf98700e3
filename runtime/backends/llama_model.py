"""A GGUF in the C library: its files, the loaded model, a context for the sequences, what the model says of itself."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.errors import ModelError, ResourceError
from models.gguf_split import part_paths
from models.gguf_types import FILE_TYPES
from runtime.backends.backend import ModelFacts
from runtime.backends.llama_library import LlamaLibrary

_BATCH = 512
"""Tokens in one decode: beyond this a CPU's prefill gains nothing, and on a GPU an abort waits for a batch's end."""
_PLAIN_BATCH = 128
"""Tokens whose scores plain attention holds at once, each over the whole cache."""


def model_files(path: Path) -> list[Path]:
    """The file, or all files of a split model whose first is `path`. Raises `ModelError` if one is missing."""
    if not path.exists():
        raise ModelError(f"There is no file {path}; check the path, or see `kangae models list`.")
    if not path.is_file():
        raise ModelError(f"{path} is not a file; a GGUF model is one file (or the first of a split model).")
    return part_paths(path)


def load_model(
    library: LlamaLibrary, path: Path, gpu_layers: int, progress: Callable[[float], bool] | None = None
) -> Any:
    """The C library's model, mapped from its file. Raises `ModelError` with the library's own last words.

    `progress` is told the fraction that is loaded; the load ends, and fails, when it returns False.
    """
    c = library.c
    parameters = c.llama_model_default_params()
    parameters.n_gpu_layers = gpu_layers
    parameters.load_mode = c.LLAMA_LOAD_MODE_MMAP if c.llama_supports_mmap() else c.LLAMA_LOAD_MODE_NONE
    if progress is not None:
        parameters.progress_callback = c.llama_progress_callback(lambda fraction, _: progress(fraction))
    library.forget_words()
    library.forget_buffers()
    model = c.llama_model_load_from_file(os.fsencode(path), parameters)
    if not model:
        raise ModelError(f"{path} cannot be loaded: {library.last_words() or 'the C library gives no reason'}.")
    if c.llama_model_has_encoder(model) or not c.llama_model_has_decoder(model) or c.llama_model_is_diffusion(model):
        c.llama_model_free(model)
        raise ModelError(f"{path} is no model that writes text token by token; choose a causal language model.")
    return model


def new_context(
    library: LlamaLibrary,
    model: Any,
    name: str,
    *,
    context: int,
    sequences: int,
    threads: int,
    outputs: int | None,
    flash: bool = True,
) -> Any:
    """A context: `context` tokens of cache that `sequences` share, and at most `outputs` rows of logits in one decode
    (None: one a sequence). `flash`: flash attention, where the library has it for the model.
    Raises `ResourceError` if the library cannot make it."""
    c = library.c
    parameters = c.llama_context_default_params()
    parameters.n_ctx = context
    parameters.n_batch = parameters.n_ubatch = max(_BATCH, sequences, outputs or 0)
    parameters.n_seq_max = sequences
    # Without it the library reserves room for one row of logits for every token of a batch: 300 MB with 150,000 tokens.
    parameters.n_outputs_max = max(sequences, outputs or 0)
    parameters.n_threads = parameters.n_threads_batch = threads
    parameters.flash_attn_type = c.LLAMA_FLASH_ATTN_TYPE_AUTO
    if not flash:
        parameters.flash_attn_type = c.LLAMA_FLASH_ATTN_TYPE_DISABLED
        parameters.n_ubatch = _PLAIN_BATCH
    parameters.kv_unified = True
    parameters.no_perf = True
    library.forget_words()
    handle = c.llama_init_from_model(model, parameters)
    if not handle:
        raise ResourceError(
            f"{name} loads, but a cache of {context} tokens for {sequences} sequences cannot be made "
            f"({library.last_words() or 'the C library gives no reason'}); ask for a smaller context."
        )
    return handle


def read_facts(library: LlamaLibrary, model: Any, path: Path, size: int) -> ModelFacts:
    """What an open model of `size` bytes on disk says of itself."""
    c = library.c
    metadata = _metadata(c, model)
    template = c.llama_model_chat_template(model, None)
    return ModelFacts(
        name=metadata.get("general.name") or path.stem,
        file=str(path),
        quant=_quant(c, model),
        architecture=metadata.get("general.architecture", "unknown"),
        context_length=int(c.llama_model_n_ctx_train(model)),
        parameters=int(c.llama_model_n_params(model)),
        bytes=size,
        chat_template=template.decode("utf-8", "replace") if template else None,
        metadata=metadata,
    )


def _quant(c: Any, model: Any) -> str:
    """The declared file type as the field names it, `Q4_K_M`."""
    number = int(c.llama_model_ftype(model)) & ~int(c.LLAMA_FTYPE_GUESSED)
    name: bytes | None = c.llama_ftype_name(number)
    return FILE_TYPES.get(number) or (name.decode() if name else "unknown")


def _metadata(c: Any, model: Any) -> dict[str, str]:
    """All scalar metadata as text (the library lists no arrays)."""
    found = {}
    buffer = ctypes.create_string_buffer(4096)
    for index in range(c.llama_model_meta_count(model)):
        length = c.llama_model_meta_key_by_index(model, index, buffer, len(buffer))
        key = buffer.value.decode("utf-8", "replace")
        if length < 0:
            continue
        length = c.llama_model_meta_val_str_by_index(model, index, buffer, len(buffer))
        if length >= len(buffer):
            buffer = ctypes.create_string_buffer(length + 1)
            c.llama_model_meta_val_str_by_index(model, index, buffer, len(buffer))
        if length >= 0:
            found[key] = buffer.value.decode("utf-8", "replace")
    return found

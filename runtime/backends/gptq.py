"""GPTQ folders, and folders of whole weights, opened with torch: by gptqmodel, or by transformers alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from models.errors import InternalError
from models.gptq.checkpoint import GptqCheckpoint
from models.huggingface.checkpoint import Checkpoint
from runtime import machine
from runtime.backends.folder_facts import context_length, read_facts
from runtime.backends.folder_vocabulary import FolderVocabulary
from runtime.backends.llama_fit import choose_context, choose_threads, require_room
from runtime.backends.torch_backend import TorchBackend
from runtime.backends.torch_library import choose_device, torch_and_transformers
from runtime.backends.torch_model import FolderWeights, cache_shape, cache_shapes, load_gptq, load_whole

_WIDE = 4  # bytes of a value in 32 bits


def open_folder(
    folder: Path,
    *,
    form: Literal["gptq", "hf"],
    context: int | None,
    sequences: int,
    memory_limit: int | None = None,
    threads: int | None = None,
    gpu_layers: int | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> TorchBackend:
    """Open a folder of safetensors: `gptq` in GPTQ's form (extra `gptq`), `hf` of whole weights.

    It runs on the first CUDA GPU, or with `gpu_layers` 0 or without one on the CPU. `context`: tokens of cache that all
    sequences share; None: as `choose_context` has it. `memory_limit`: bytes that weights and cache may take on the CPU;
    None: what is available now. `threads` None: see `choose_threads`; torch has one number of threads for the process.
    `on_progress` is told the fraction that is loaded.
    Raises `ModelError`, `ResourceError` (does not fit), `MissingPackageError`.
    """
    if sequences < 1:
        raise InternalError(f"A backend was asked for {sequences} sequences.")
    checkpoint = Checkpoint.open(folder)
    config = checkpoint.config
    extra = "train" if form == "hf" else "gptq"
    torch, transformers = torch_and_transformers(extra)
    whole = form == "hf"
    weights = FolderWeights.whole(checkpoint) if whole else FolderWeights.packed(GptqCheckpoint.open(folder))
    shape = cache_shape(cache_shapes(config))
    trained = context_length(config)
    vocabulary = FolderVocabulary.open(folder, extra=extra)
    facts = read_facts(
        folder, config, vocabulary, quant=weights.quant, parameters=weights.parameters, size=weights.bytes
    )
    device = choose_device(torch, gpu_layers)
    memory = memory_limit if memory_limit is not None else machine.memory_available()
    taken = _WIDE * weights.parameters if whole else weights.bytes
    if device.type == "cpu":
        require_room(folder.name, weights=taken, cache=0, memory=memory)
        torch.set_num_threads(threads or choose_threads(weights.bytes))
    if on_progress is not None:
        on_progress(0.0)
    if whole:
        model = load_whole(torch, transformers, folder, weights, config, device)
    else:
        model = load_gptq(torch, folder, config, device)
    if on_progress is not None:
        on_progress(1.0)
    widths = max(1, model.dtype.itemsize // 2)  # `CacheShape` counts 16 bits a value
    room = memory - taken if device.type == "cpu" else torch.cuda.mem_get_info(device)[0]
    if context is None:
        context = choose_context(trained, shape, sequences, room // widths)
    elif device.type == "cpu":
        require_room(folder.name, weights=taken, cache=shape.bytes(context) * widths, memory=memory, context=context)
    backend = TorchBackend(model, facts, vocabulary, context=context, sequences=sequences)
    backend.try_out()
    return backend

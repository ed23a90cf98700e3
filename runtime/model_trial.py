"""What the child of `runtime.model_check` does: load a model and decode a text within limits, and say how it went.

It prints one JSON object: `{"reason": ""}` when all went well, a sentence otherwise; `{"missing": …}` without the
C library.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import resource
from pathlib import Path
from typing import Any

from models.errors import KangaeError, MissingPackageError
from runtime.backends.llama_library import LlamaLibrary, llama_library

_CONTEXT = 256


def main(order: str) -> None:
    """`order`: a JSON object with `path`, `decode` and the fields of `runtime.model_check.Limits`."""
    wanted = json.loads(order)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_CPU, int(wanted["cpu_seconds"]))
    _limit(resource.RLIMIT_AS, int(wanted["address_space"]))
    _limit(resource.RLIMIT_DATA, int(wanted["private_memory"]))
    try:
        report = {"reason": _trial(llama_library(), Path(wanted["path"]), bool(wanted["decode"]))}
    except MissingPackageError as error:
        report = {"missing": error.detail}
    except KangaeError as error:
        report = {"reason": error.detail}
    except MemoryError:
        report = {"reason": "opening it takes more memory than a model of its size needs."}
    print(json.dumps(report), flush=True)


def _limit(kind: int, value: int) -> None:
    """Lower a limit; one that the system does not know or does not lower stays."""
    try:
        _, hard = resource.getrlimit(kind)
        # The soft limit alone: that of CPU time ends the process by a signal of its own, the hard one by a bare kill.
        resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
    except (OSError, ValueError):
        return


def _trial(library: LlamaLibrary, path: Path, decode: bool) -> str:
    """Why the model cannot be used; empty if it can."""
    c = library.c
    parameters = c.llama_model_default_params()
    parameters.n_gpu_layers = 0
    parameters.load_mode = c.LLAMA_LOAD_MODE_MMAP if c.llama_supports_mmap() else c.LLAMA_LOAD_MODE_NONE
    # Blocks of weights that hold no numbers are found here; repacking them would only cost time.
    parameters.check_tensors = True
    parameters.use_extra_bufts = False
    library.forget_words()
    model = c.llama_model_load_from_file(os.fsencode(path), parameters)
    if not model:
        return f"the C library cannot load it ({library.last_words() or 'no reason given'})."
    if c.llama_model_has_encoder(model) or not c.llama_model_has_decoder(model) or c.llama_model_is_diffusion(model):
        return "it is no model that writes text token by token."
    return _decode_one(library, model) if decode else ""


def _decode_one(library: LlamaLibrary, model: Any) -> str:
    c = library.c
    settings = c.llama_context_default_params()
    settings.n_ctx, settings.n_batch, settings.n_ubatch, settings.n_seq_max = _CONTEXT, 32, 32, 1
    settings.n_outputs_max = 1
    settings.n_threads = settings.n_threads_batch = 1
    context = c.llama_init_from_model(model, settings)
    if not context:
        return f"the C library cannot make a cache for it ({library.last_words() or 'no reason given'})."
    vocabulary = c.llama_model_get_vocab(model)
    size = c.llama_vocab_n_tokens(vocabulary)
    text = b"Check 1."
    tokens = (c.llama_token * 32)()
    count = c.llama_tokenize(vocabulary, text, len(text), tokens, 32, True, False)
    if count < 1:
        return "its vocabulary gives no tokens for a plain text."
    if c.llama_decode(context, c.llama_batch_get_one(tokens, count)) != 0:
        return f"the C library cannot decode with it ({library.last_words() or 'no reason given'})."
    logits = c.llama_get_logits_ith(context, -1)
    if not logits or any(map(math.isnan, ctypes.cast(logits, ctypes.POINTER(ctypes.c_float * size)).contents)):
        return "its weights give no numbers: they are damaged."
    return ""

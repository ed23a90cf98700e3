"""The child of quantize/gguf.py: `python -m quantize.gguf_child JOB`, one call of llama.cpp's quantizer.

JOB is a JSON object: source, target (paths), type (llama.cpp's number), threads, and, where they are wanted, imatrix (a
path), metadata (pairs of key and value), tensor_types (pairs of pattern and ggml's number), output_type, embedding_type
(ggml's numbers). Exit 0, or 1 with a line on stdout.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path
from typing import Any

from models.errors import KangaeError
from quantize.child import end_with_parent

_BUFFER = 256 << 20  # bytes of rows that are held at once; the library's own default is 8 GiB
_KV_BYTES = 128


def main(arguments: list[str]) -> int:
    """Run one job; the unfinished target goes with us when the parent ends."""
    job = json.loads(arguments[0])
    end_with_parent([job["target"]])
    from runtime.backends.llama_library import llama_library

    try:
        library = llama_library()
        parameters, kept = _parameters(library.c, job)
    except KangaeError as error:
        print(error.detail)
        return 1
    library.forget_words()
    result = library.c.llama_model_quantize(
        os.fsencode(job["source"]), os.fsencode(job["target"]), ctypes.byref(parameters)
    )
    del kept
    if result == 0:
        return 0
    print(library.last_words(1) or f"llama.cpp gives no reason (result {result})")
    return 1


def _parameters(c: Any, job: dict[str, Any]) -> tuple[Any, list[Any]]:
    """The library's parameters, and what must live as long as they are used."""
    parameters = c.llama_model_quantize_default_params()
    parameters.ftype = job["type"]
    parameters.nthread = job["threads"]
    parameters.max_buf_size = _BUFFER
    for field, key in (("output_tensor_type", "output_type"), ("token_embedding_type", "embedding_type")):
        if job.get(key) is not None:
            setattr(parameters, field, job[key])
    kept: list[Any] = []
    if job.get("imatrix"):
        kept += _imatrix(c, parameters, Path(job["imatrix"]))
    if job.get("metadata"):
        parameters.kv_overrides = _metadata(c, job["metadata"])
        kept.append(parameters.kv_overrides)
    if job.get("tensor_types"):
        pairs = [(pattern.encode(), number) for pattern, number in job["tensor_types"]]
        overrides = (c.llama_model_tensor_override * (len(pairs) + 1))(*pairs, (None, 0))
        parameters.tt_overrides = overrides
        kept += [overrides, pairs]
    return parameters, kept


def _imatrix(c: Any, parameters: Any, path: Path) -> list[Any]:
    from quantize.calibration.imatrix import read_imatrix

    entries = read_imatrix(path).imatrix.entries
    means = {name.encode(): entry.importance for name, entry in entries.items()}
    floats = ctypes.POINTER(ctypes.c_float)
    rows = [(name, values.ctypes.data_as(floats), values.size) for name, values in means.items()]
    listed = (c.llama_model_imatrix_data * (len(rows) + 1))(*rows, (None, None, 0))
    parameters.imatrix = listed
    return [means, rows, listed]


def _metadata(c: Any, pairs: list[tuple[str, Any]]) -> Any:
    """The list that ends with an empty key. Texts are cut at what the structure holds, at a character's end."""
    listed = (c.llama_model_kv_override * (len(pairs) + 1))()
    for own, (key, value) in zip(listed, pairs, strict=False):
        own.key = key.encode()[: _KV_BYTES - 1]
        if isinstance(value, bool):
            own.tag, own.value.val_bool = c.LLAMA_KV_OVERRIDE_TYPE_BOOL, value
        elif isinstance(value, int):
            own.tag, own.value.val_i64 = c.LLAMA_KV_OVERRIDE_TYPE_INT, value
        elif isinstance(value, float):
            own.tag, own.value.val_f64 = c.LLAMA_KV_OVERRIDE_TYPE_FLOAT, value
        else:
            own.tag = c.LLAMA_KV_OVERRIDE_TYPE_STR
            own.value.val_str = str(value).encode()[: _KV_BYTES - 1].decode("utf-8", "ignore").encode()
    return listed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The child of quantize/gguf.py: `python -m quantize.gguf_child JOB`, one call of llama.cpp's quantizer.

JOB is a JSON object: source, target (paths), type (llama.cpp's number), threads. Exit 0, or 1 with a line on stdout.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading

from models.errors import KangaeError


def main(arguments: list[str]) -> int:
    """Run one job; the unfinished target goes with us when the parent ends."""
    job = json.loads(arguments[0])
    threading.Thread(target=_end_with_parent, args=(str(job["target"]),), daemon=True).start()
    from runtime.backends.llama_library import llama_library

    try:
        library = llama_library()
    except KangaeError as error:
        print(error.detail)
        return 1
    parameters = library.c.llama_model_quantize_default_params()
    parameters.ftype = job["type"]
    parameters.nthread = job["threads"]
    library.forget_words()
    result = library.c.llama_model_quantize(
        os.fsencode(job["source"]), os.fsencode(job["target"]), ctypes.byref(parameters)
    )
    if result == 0:
        return 0
    print(library.last_words(1) or f"llama.cpp gives no reason (result {result})")
    return 1


def _end_with_parent(target: str) -> None:
    sys.stdin.read()  # until the parent's end of the pipe closes
    try:
        os.unlink(target)
    finally:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

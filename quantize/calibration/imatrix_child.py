"""The child of quantize/calibration/calibration.py: `python -m quantize.calibration.imatrix_child JOB`.

JOB is a JSON object: model, chunks (a .npz with `ids` and `ends`, in a folder of its own), target, steps (paths),
threads, datasets, chunk_size, own. Its progress is the length of the file `steps` in thousandths. Exit 0, or 1 with a
line on stdout.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from models.errors import KangaeError
from quantize.calibration.imatrix import Imatrix, write_imatrix
from quantize.child import end_with_parent


def main(arguments: list[str]) -> int:
    """Run one job; what is unfinished goes with us when the parent ends."""
    job = json.loads(arguments[0])
    end_with_parent([job["target"], Path(job["chunks"]).parent])
    try:
        _collect(job)
    except KangaeError as error:
        print(error.detail)
        return 1
    except OSError as error:
        print(f"the result cannot be written ({error.strerror})")
        return 1
    return 0


def _collect(job: dict[str, Any]) -> None:
    from quantize.calibration.imatrix_collector import ImatrixCollector, decode_all
    from runtime.backends.llama_library import llama_library
    from runtime.backends.llama_model import load_model

    stored = np.load(job["chunks"])
    chunks = np.split(stored["ids"], stored["ends"][:-1])
    library = llama_library()
    model = load_model(library, Path(job["model"]), -1 if library.supports_gpu else 0)
    collector = ImatrixCollector(library)
    with open(job["steps"], "wb", buffering=0) as steps:
        told = 0

        def progress(share: float) -> None:
            nonlocal told
            now = int(share * 1000)
            steps.write(b"." * (now - told))
            told = now

        try:
            decode_all(library, model, chunks, collector, threads=job["threads"], progress=progress)
        finally:
            library.c.llama_model_free(model)
    tokens = len(stored["ids"])
    imatrix = Imatrix(
        collector.entries(),
        tuple(job["datasets"]),
        max(1, tokens // job["chunk_size"]),
        job["chunk_size"],
        MappingProxyType({**job["own"], "tokens": str(tokens)}),
    )
    write_imatrix(imatrix, Path(job["target"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

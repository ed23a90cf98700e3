"""What the child of `runtime.backends.onnx_check` does: open a folder, decode a token, and say what the graph holds.

It prints one JSON object: `{"reason": ""}` with `parameters` and `quant` when all went well, a sentence otherwise;
`{"missing": …}` without a package.
"""

from __future__ import annotations

import json
import resource
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import KangaeError, MissingPackageError
from runtime.backends.backend import Slice
from runtime.backends.onnx import open_onnx
from runtime.backends.onnx_folder import OnnxFolder

_QUANTIZED = ("MatMulNBits", "GatherBlockQuantized")
_NAMES = {1: "fp32", 10: "fp16", 16: "bf16"}
"""Types of weights by ONNX's number."""


def main(path: str) -> None:
    """Try the folder `path` and print the report."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        report: dict[str, Any] = _trial(Path(path))
    except MissingPackageError as error:
        report = {"missing": error.detail}
    except KangaeError as error:
        report = {"reason": error.detail}
    print(json.dumps(report), flush=True)


def _trial(path: Path) -> dict[str, Any]:
    backend = open_onnx(path, context=64, sequences=1, threads=1)
    ids = backend.vocabulary.tokenize("Check 1.", markers=False)
    if not ids:
        return {"reason": f"{path} cannot be used: its vocabulary gives no tokens for a plain text."}
    row = backend.decode([Slice(0, 0, ids, True)])[0]
    if row is None or not np.isfinite(backend.logits(row)).all():
        return {"reason": f"{path} cannot be used: its weights give no numbers: export the model again."}
    backend.close()
    parameters, quant = _contents(OnnxFolder.open(path).model)
    return {"reason": "", "parameters": parameters, "quant": quant}


def _contents(model: Path) -> tuple[int, str]:
    """Weights of the graph, and the form that most of them have; (0, "onnx") where the package `onnx` is missing."""
    try:
        import onnx
    except ImportError:
        return 0, "onnx"
    graph = onnx.load(str(model), load_external_data=False).graph
    shapes = {one.name: (tuple(one.dims), one.data_type) for one in graph.initializer}
    forms: Counter[str] = Counter()
    for node in graph.node:
        if node.op_type in _QUANTIZED:
            numbers = {one.name: one.i for one in node.attribute}
            taken = [shapes.pop(name, None) for name in node.input if name]
            count = numbers.get("K", 0) * numbers.get("N", 0)
            if not count and taken and taken[0] is not None:
                count = int(np.prod(taken[0][0]))
            forms[f"int{numbers.get('bits', 4)}"] += count
    for name, (shape, kind) in shapes.items():
        if kind in _NAMES and not name.endswith(("cos_cache", "sin_cache")):
            forms[_NAMES[kind]] += int(np.prod(shape, dtype=np.int64))
    return sum(forms.values()), forms.most_common(1)[0][0] if forms else "onnx"

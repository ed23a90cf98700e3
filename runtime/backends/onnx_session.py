"""An open session of onnxruntime over a model's graph, and whether the graph is of the kind that is driven here."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.errors import MissingPackageError, ModelError
from runtime.backends.onnx_folder import OnnxFolder
from runtime.backends.onnx_library import last_words

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_KINDS: dict[str, type] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


def open_session(runtime: Any, folder: OnnxFolder, threads: int) -> Any:
    """The session of a folder. Raises `ModelError` (what onnxruntime cannot load, weights outside of the folder among
    it; a graph of another kind), `MissingPackageError` (a model for a GPU without the build for one)."""
    provider = _PROVIDERS.get(folder.provider)
    if provider is None:
        raise ModelError(
            f"{folder.path} is made for {folder.provider}; this version runs ONNX models on CPUs and on CUDA GPUs: "
            "export it with `--to onnx:int4`."
        )
    if provider not in runtime.get_available_providers():
        raise MissingPackageError(
            f"{folder.path} is made for NVIDIA GPUs, which the installed onnxruntime does not know; install the other "
            "build with: make run EXTRAS=onnx-gpu (it cannot stand beside `onnx` in one environment)."
        )
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    try:
        session = runtime.InferenceSession(str(folder.model), options, providers=[provider])
    except Exception as error:  # the package's own classes have no common one
        raise ModelError(
            f"{folder.model} cannot be loaded ({last_words(error)}); fetch or export the model again."
        ) from error
    _require_kind(session, folder)
    return session


def value_kind(session: Any, folder: OnnxFolder, name: str) -> type:
    """The numpy type of an input or output of the graph. Raises `ModelError` for one that is not read here."""
    found = next((one.type for one in [*session.get_inputs(), *session.get_outputs()] if one.name == name), "")
    if found not in _KINDS:
        raise ModelError(
            f"{folder.model} holds {name} as {found or 'nothing'}; this version runs models in 32 or 16 bits: "
            "export it with `--to onnx:int4`."
        )
    return _KINDS[found]


def _require_kind(session: Any, folder: OnnxFolder) -> None:
    """Raises `ModelError` where inputs or outputs are not those of a decoder over one buffer of keys and values."""
    names = folder.names
    caches = {names[f"past_{part}"] % layer for layer in range(folder.layers) for part in ("key", "value")}
    present = {names[f"present_{part}"] % layer for layer in range(folder.layers) for part in ("key", "value")}
    inputs = {one.name: one for one in session.get_inputs()}
    outputs = {one.name: one for one in session.get_outputs()}
    known = caches | {names["ids"], names["mask"], names["positions"]}
    fault = ""
    if not folder.shares_buffer:
        fault = "its keys and values do not share one buffer"
    elif other := sorted(set(inputs) - known):
        fault = f"its graph takes {other[0]}"
    elif missing := sorted((caches | {names["ids"], names["mask"]}) - set(inputs)):
        fault = f"its graph takes no {missing[0]}"
    elif missing := sorted((present | {names["logits"]}) - set(outputs)):
        fault = f"its graph gives no {missing[0]}"
    elif any(list(inputs[name].shape)[1] != folder.heads for name in caches):
        fault = f"its keys and values do not have {folder.heads} heads"
    elif list(outputs[names["logits"]].shape)[-1] != folder.vocabulary:
        fault = f"its graph does not give {folder.vocabulary} logits"
    elif isinstance(list(outputs[names["logits"]].shape)[1], int):
        fault = "its graph gives the logits of one token alone"
    if fault:
        raise ModelError(
            f"{folder.path} is an ONNX model of another kind ({fault}); export it with `kangae quantize` or "
            "onnxruntime-genai's builder."
        )

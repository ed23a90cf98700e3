"""Any form as a backend that gives many rows of logits at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.catalogue import ModelEntry
from models.errors import ModelError
from models.family import Family
from runtime.opening import family_of, find_hashed

if TYPE_CHECKING:
    from runtime.backends.backend import Backend


@dataclass(frozen=True)
class OpenForm:
    """An open backend of one sequence, and how its model writes its thoughts."""

    backend: Backend
    family: Family


def open_form(
    name: str, *, context: int, rows: int, threads: int | None = None, gpu_layers: int | None = None
) -> OpenForm:
    """Open the form `name` for one text of at most `context` tokens, `rows` of whose logits are wanted in a decode.

    Raises what `runtime.opening.open_model` raises.
    """
    entry, _ = find_hashed(name, None, gpu_layers)
    backend = _backend(entry, context=context, rows=rows, threads=threads, gpu_layers=gpu_layers)
    return OpenForm(backend, family_of(entry, backend.facts.metadata, backend.facts.chat_template))


def _backend(entry: ModelEntry, *, context: int, rows: int, threads: int | None, gpu_layers: int | None) -> Backend:
    match entry.form:
        case "gguf":
            from runtime.backends.llama import open_llama

            return open_llama(
                entry.path, context=context, sequences=1, threads=threads, gpu_layers=gpu_layers, outputs=rows
            )
        case "onnx":
            from models.locations import cache_folder
            from runtime.backends.onnx import open_onnx
            from runtime.backends.onnx_check import check_onnx

            told = check_onnx(entry.path, cache_folder() / "checks")
            return open_onnx(
                entry.path,
                context=context,
                sequences=1,
                threads=threads,
                parameters=told.parameters,
                quant=told.quant,
            )
        case "gptq" | "hf":
            from runtime.backends.gptq import open_folder

            return open_folder(
                entry.path, form=entry.form, context=context, sequences=1, threads=threads, gpu_layers=gpu_layers
            )
    raise ModelError(f"{entry.path} is in a form ({entry.form}) that nothing here runs.")

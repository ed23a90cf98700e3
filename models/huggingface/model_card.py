"""What is known of a model beside its weights: name, authors, licence, what it was made of, how it is sampled.

Read by the `gguf` package's own rules (README.md's front matter, config.json, generation_config.json, the folder's
name), so that a file says what llama.cpp's converter would have it say.
"""

from __future__ import annotations

from dataclasses import fields
from importlib import metadata as packages
from pathlib import Path
from typing import Any

import gguf

from models.huggingface.config import read_json

CONVERTER_KEY = "kangae.converter"
SOURCE_KEY = "kangae.source"
"""Keys of our own: by what the file was made ("kangae 0.1.0"), and of what folder and stored type."""
_WHOLE = ("sampling_top_k", "sampling_penalty_last_n", "sampling_mirostat")
_LISTS = ("tags", "languages")
_TABLES = ("base_models", "datasets")


def read_model_card(folder: Path, parameters: int) -> tuple[gguf.Metadata, tuple[str, ...]]:
    """(what is known, notes for a person on what could not be read). Raises ModelError for a generation_config.json
    that is no JSON."""
    path = folder / "generation_config.json"
    generation = read_json(path) if path.is_file() else {}
    notes: tuple[str, ...] = ()
    try:
        known = gguf.Metadata.load(None, folder, None, parameters)
    except Exception as error:  # its rules guess at texts that people wrote, and fail in many ways
        notes = (
            f"README.md's front matter could not be read ({type(error).__name__}): licence and origin are left out.",
        )
        known = gguf.Metadata()
    if known.sampling_penalty_repeat is None:  # as llama.cpp's own copy of that package has it
        known.sampling_penalty_repeat = generation.get("repetition_penalty")
    if generation.get("do_sample") is False and generation.get("temperature") is None:
        known.sampling_temp = 0.0
    if known.name is None:
        known.name = folder.resolve().name or "model"
    _tidy(known)
    return known, notes


def provenance(folder: Path, stored: str) -> dict[str, str]:
    """Our own keys. `stored`: the type of the folder's weights."""
    try:
        version = packages.version("kangae")
    except packages.PackageNotFoundError:
        version = "of a source tree"
    return {CONVERTER_KEY: f"kangae {version}", SOURCE_KEY: f"{folder.resolve().name} ({stored} safetensors)"}


def _tidy(known: gguf.Metadata) -> None:
    """Drop or mend values that a GGUF cannot hold, whatever people wrote."""
    for field in fields(known):
        value: Any = getattr(known, field.name)
        if value is None:
            continue
        if field.name in _TABLES:
            value = [_texts(one) for one in value if isinstance(one, dict)] or None
        elif field.name in _LISTS:
            # YAML takes the language "no" for the answer
            value = ["no" if one is False else str(one) for one in (value if isinstance(value, list) else [value])]
            value = value or None
        elif field.name in _WHOLE:
            value = value if type(value) is int and abs(value) < 1 << 31 else None
        elif field.name.startswith("sampling_") and field.name != "sampling_sequence":
            value = value if type(value) in (int, float) and abs(value) < 1e30 else None
        elif field.name == "license" and isinstance(value, list):
            value = [str(one) for one in value]
        else:
            value = str(value)
        setattr(known, field.name, value)


def _texts(table: dict[Any, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in table.items() if value is not None}

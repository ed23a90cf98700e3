"""What a model in a Hugging Face folder says of itself, by the keys that a GGUF of it would have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from models.errors import ModelError
from models.huggingface.config import ModelConfig, read_json
from models.huggingface.model_card import read_model_card
from runtime.backends.backend import ModelFacts
from runtime.backends.folder_vocabulary import FolderVocabulary, token_text

_MOST_TEMPLATE: Final = 1 << 20


def read_facts(
    folder: Path, config: ModelConfig, vocabulary: FolderVocabulary, *, quant: str, parameters: int, size: int
) -> ModelFacts:
    """The facts of a folder whose weights take `size` bytes on disk. Raises `ModelError` where its files are faulty."""
    architecture = str(config.get("model_type") or "unknown").replace("_", "")  # "qwen3_moe" is qwen3moe to llama.cpp
    card, _ = read_model_card(folder, parameters)
    named = {one.name: getattr(card, one.name) for one in fields(card)}
    metadata = {
        "general.architecture": architecture,
        "general.name": named["name"] or folder.resolve().name,
        "general.basename": named["basename"],
        **{
            f"general.sampling.{name.removeprefix('sampling_')}": value
            for name, value in named.items()
            if name.startswith("sampling_") and isinstance(value, (int, float))
        },
    }
    settings = read_optional(folder / "tokenizer_config.json")
    for name in ("bos", "eos"):
        text = token_text(settings.get(f"{name}_token"))
        ids = vocabulary.tokenize(text, markers=True) if text else []
        if len(ids) == 1:
            metadata[f"tokenizer.ggml.{name}_token_id"] = ids[0]
    return ModelFacts(
        name=str(metadata["general.name"]),
        file=str(folder),
        quant=quant,
        architecture=architecture,
        context_length=context_length(config),
        parameters=parameters,
        bytes=size,
        chat_template=chat_template(folder, settings),
        metadata={key: str(value) for key, value in metadata.items() if value is not None},
    )


def context_length(config: ModelConfig) -> int:
    """Tokens that the model was trained for. Raises `ModelError` where its configuration does not say."""
    return config.size("max_position_embeddings", "n_positions", "max_sequence_length")


def chat_template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    """The folder's template: of chat_template.jinja, else of tokenizer_config.json, of several the one called
    "default"; None: it has none. Raises `ModelError` for one that cannot be read."""
    path = folder / "chat_template.jinja"
    try:
        if path.is_file():
            with path.open(encoding="utf-8") as file:
                return file.read(_MOST_TEMPLATE)
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} cannot be read ({error}); fetch the model's folder again.") from error
    found = settings.get("chat_template")
    if isinstance(found, list):
        named = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else None


def read_optional(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no such file. Raises `ModelError` for one that is damaged."""
    return read_json(path) if path.is_file() else {}

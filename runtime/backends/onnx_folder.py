"""A folder as onnxruntime-genai's builder writes it: what `genai_config.json` says, checked before anything is loaded.

Format: https://onnxruntime.ai/docs/genai/reference/config.html. Only the fields that are read here matter; libraries of
custom operators, which the file can name, are never loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Final

from models.errors import ModelError
from models.huggingface.config import read_json
from runtime.backends.backend import ModelFacts
from runtime.backends.folder_vocabulary import token_text

CONFIG: Final = "genai_config.json"
PROVENANCE: Final = "kangae.json"
"""Written by `kangae quantize` beside the model: its name, its form and what it came from."""
_MOST_LAYERS: Final = 4096
_MOST: Final = 1 << 31
_SAMPLING: Final = {"temperature": "temp", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p"}


@dataclass(frozen=True)
class OnnxFolder:
    """A model of `layers` layers whose keys and values have `heads` heads of `head` values; `context_length` tokens,
    `vocabulary` logits. Names are those of the graph's inputs and outputs, with `%d` for the layer. `provider`: "cpu",
    "cuda" or another of onnxruntime's."""

    path: Path
    model: Path
    architecture: str
    layers: int
    heads: int
    head: int
    context_length: int
    vocabulary: int
    provider: str
    shares_buffer: bool
    end_ids: tuple[int, ...]
    names: Mapping[str, str]
    metadata: Mapping[str, str]
    chat_template: str | None
    form: str
    bytes: int

    @classmethod
    def open(cls, path: Path) -> OnnxFolder:
        """Read the configuration of the folder `path`. Raises `ModelError` with what is wrong with it."""
        config = read_json(path / CONFIG)
        provenance, settings = _json_if_there(path / PROVENANCE), _json_if_there(path / "tokenizer_config.json")
        try:
            return _read(path, config, provenance, settings)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            told = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
            raise ModelError(
                f"{path / CONFIG} is no configuration of a text model ({told}); fetch or export the model again."
            ) from error

    def facts(self, parameters: int, quant: str) -> ModelFacts:
        """What the model says of itself."""
        return ModelFacts(
            name=self.metadata.get("general.name") or self.path.resolve().name,
            file=str(self.path),
            quant=self.form or quant,
            architecture=self.architecture,
            context_length=self.context_length,
            parameters=parameters,
            bytes=self.bytes,
            chat_template=self.chat_template,
            metadata=self.metadata,
        )


def _json_if_there(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _read(
    path: Path, config: Mapping[str, Any], provenance: Mapping[str, Any], settings: Mapping[str, Any]
) -> OnnxFolder:
    model, decoder = config["model"], config["model"]["decoder"]
    if any(part in model for part in ("encoder", "vision", "speech", "embedding")) or "pipeline" in decoder:
        raise ValueError("it is made of several graphs, which are not run here")
    inputs, outputs = decoder["inputs"], decoder["outputs"]
    names = {
        "ids": str(inputs.get("input_ids", "input_ids")),
        "mask": str(inputs.get("attention_mask", "attention_mask")),
        "positions": str(inputs.get("position_ids", "position_ids")),
        "past_key": _pattern(inputs, "past_key_names"),
        "past_value": _pattern(inputs, "past_value_names"),
        "present_key": _pattern(outputs, "present_key_names"),
        "present_value": _pattern(outputs, "present_value_names"),
        "logits": str(outputs.get("logits", "logits")),
    }
    file = _file(path, str(decoder.get("filename", "model.onnx")))
    search = config.get("search") or {}
    ends = model.get("eos_token_id", ())
    return OnnxFolder(
        path=path,
        model=file,
        architecture=str(model["type"]),
        layers=_count(decoder, "num_hidden_layers", _MOST_LAYERS),
        heads=_count(decoder, "num_key_value_heads"),
        head=_count(decoder, "head_size"),
        context_length=_count(model, "context_length"),
        vocabulary=_count(model, "vocab_size"),
        provider=_provider(decoder.get("session_options") or {}),
        shares_buffer=bool(search.get("past_present_share_buffer", False)),
        end_ids=tuple(int(one) for one in (ends if isinstance(ends, list | tuple) else [ends])),
        names=names,
        metadata=_metadata(model, search, provenance, settings),
        chat_template=_chat_template(path, settings),
        form=str(provenance.get("precision", "")),
        bytes=sum(one.stat().st_size for one in path.iterdir() if one.is_file()),
    )


def _pattern(table: Mapping[str, Any], key: str) -> str:
    name = str(table[key])
    if name.count("%") != 1 or name.count("%d") != 1:
        raise ValueError(f"{key} is {name!r}, without a place for the layer's number")
    return name


def _file(path: Path, name: str) -> Path:
    """The graph's file, which lies in the folder itself. Raises `ModelError` where it is not there."""
    if PurePath(name).name != name or name in ("", ".", ".."):
        raise ValueError(f"filename is {name!r}, which is no file of this folder")
    file = path / name
    if not file.is_file():
        raise ModelError(f"{file} is missing; fetch or export the model's folder again.")
    return file


def _count(table: Mapping[str, Any], key: str, most: int = _MOST) -> int:
    value = table[key]
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < most:
        raise ValueError(f"{key} is {value!r}")
    return value


def _provider(options: Mapping[str, Any]) -> str:
    listed = options.get("provider_options") or []
    return min(listed[0]).lower() if listed else "cpu"


def _metadata(
    model: Mapping[str, Any], search: Mapping[str, Any], provenance: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, str]:
    """As a GGUF file names it (ggml's specification), so that families and prompts find it by the same names."""
    found = {"general.architecture": str(model["type"])}
    if provenance.get("name"):
        found["general.name"] = str(provenance["name"])
    if search.get("do_sample"):
        for key, name in _SAMPLING.items():
            if isinstance(search.get(key), int | float):
                found[f"general.sampling.{name}"] = str(search[key])
    for key in ("bos", "eos"):
        token = model.get(f"{key}_token_id")
        token = token[0] if isinstance(token, list) and token else token
        # The builder makes up an id where the tokenizer has none.
        if isinstance(token, int) and token_text(settings.get(f"{key}_token")) is not None:
            found[f"tokenizer.ggml.{key}_token_id"] = str(token)
    return found


def _chat_template(path: Path, settings: Mapping[str, Any]) -> str | None:
    """The template in a file of its own, else that of `tokenizer_config.json`: one, or the default of several."""
    file = path / "chat_template.jinja"
    if file.is_file():
        return file.read_text("utf-8", "replace")
    found = settings.get("chat_template")
    if isinstance(found, list):
        named = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
        found = named.get("default") or next(iter(named.values()), None)
    return found if isinstance(found, str) else None

"""`config.json` of a Hugging Face folder, read with care: every fault in it is told by its key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from models.errors import ModelError

MAX_JSON_BYTES = 256 << 20
"""A tokenizer.json of 250,000 tokens with merges has 35 MB."""
_MAX_SIZE = 1 << 31
_MAX_NUMBER = 3.4e38
"""GGUF keeps numbers as 32-bit floats."""


def read_json(path: Path, *, what: str | None = None) -> dict[str, Any]:
    """A JSON file that holds an object. Raises ModelError that names the file."""
    shown = what or str(path)
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ModelError(f"{shown} is larger than {MAX_JSON_BYTES >> 20} MB; it is no file of a model folder.")
        data = path.read_bytes()
        content = json.loads(data)
        if b"\\ud" in data or b"\\uD" in data:  # halves of signs, which JSON lets stand alone
            json.dumps(content, ensure_ascii=False).encode("utf-8")
    except FileNotFoundError as error:
        raise ModelError(f"{shown} is missing; fetch the model's whole folder.") from error
    except OSError as error:
        raise ModelError(f"{shown} cannot be read ({error.strerror or error}); check its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{shown} is no JSON; fetch the file again.") from error
    if not isinstance(content, dict):
        raise ModelError(f"{shown} holds no JSON object; fetch the file again.")
    return content


class ModelConfig:
    """The values of one `config.json` by key; each reader raises ModelError where the value cannot be right."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        self.path = path
        self.values = MappingProxyType(dict(values))

    @classmethod
    def read(cls, folder: Path) -> ModelConfig:
        """From the folder's config.json. Raises ModelError."""
        path = folder / "config.json"
        return cls(path, read_json(path))

    def get(self, *keys: str) -> Any:
        """The value of the first of these keys that is there and not null; else None."""
        return next((self.values[key] for key in keys if self.values.get(key) is not None), None)

    def size(self, *keys: str, default: int | None = None) -> int:
        """A whole number above 0."""
        value = self.get(*keys)
        if value is None and default is not None:
            return default
        if type(value) is not int or not 0 < value < _MAX_SIZE:
            raise self.fault(keys[0], value, "a whole number above 0")
        return value

    def number(self, *keys: str, default: float | None = None) -> float:
        """A finite number above 0."""
        value = self.get(*keys)
        if value is None and default is not None:
            return default
        return require_number(value, keys[0], self)

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.fault(key, value, "true or false")
        return value

    def table(self, key: str) -> dict[str, Any]:
        """A JSON object; empty where it is missing."""
        value = self.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.fault(key, value, "an object")
        return dict(value)

    def fault(self, key: str, value: Any, wanted: str) -> ModelError:
        """The error for a value that is missing or wrong."""
        if value is None:
            return ModelError(f"{self.path} has no {key}, which the conversion needs; fetch the model again.")
        return ModelError(f"{self.path}: {key} is {_shown(value)}, not {wanted}; fetch the model again.")

    @property
    def class_name(self) -> str:
        """The class that transformers would make, as "Qwen2ForCausalLM"; empty where it is not told."""
        named = self.get("architectures")
        if isinstance(named, list) and named and isinstance(named[0], str):
            return named[0]
        return ""

    @property
    def quantization(self) -> str:
        """How the weights were quantized, in the field's word ("gptq", "awq", "fp8"); empty for whole weights."""
        quantized = self.get("quantization_config")
        if quantized is None:
            return ""
        method = quantized.get("quant_method") if isinstance(quantized, dict) else None
        return method if isinstance(method, str) else "an unnamed method"


def require_number(value: Any, key: str, config: ModelConfig) -> float:
    """`value` as a finite number above 0, that 32 bits can hold. Raises ModelError that names `key`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= _MAX_NUMBER:
        raise config.fault(key, value, "a number above 0")
    return value


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 60 else text[:57] + "..."

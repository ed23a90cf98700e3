"""The types that llama.cpp's quantizer writes: of whole files, and of single tensors by overrides."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from models.errors import UsageError
from models.gguf_types import FILE_TYPES, TENSOR_TYPES

NEED_IMATRIX: Final = frozenset(
    {"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS", "Q2_K_S"}
)
"""Types that llama.cpp's quantizer refuses without an importance matrix (where rows are a multiple of 256)."""
_NOT_WRITTEN = frozenset({"NVFP4"})  # enumerated, but its quantizer refuses it as an output
_ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "MXFP4_MOE": "MXFP4"}
_NO_TARGETS = frozenset({"Q8_1", "Q8_K", "F64", "I8", "I16", "I32", "I64"})
"""Types of tensors that ggml computes with, but quantizes no weights to."""


@dataclass(frozen=True)
class TensorOverride:
    """Tensors in whose names `pattern` is found take `type` (ggml's name, "Q6_K"); of several the first holds."""

    pattern: str
    type: str


def gguf_types() -> dict[str, int]:
    """Every type that this build of llama.cpp writes and we read, from its enumeration: name ("Q4_K_M") → number."""
    from runtime.backends.llama_library import llama_library

    c = llama_library().c
    numbers = {
        int(getattr(c, name))
        for name in dir(c)
        if name.startswith(("LLAMA_FTYPE_MOSTLY_", "LLAMA_FTYPE_ALL_")) and getattr(c, name) in FILE_TYPES
    }
    return {FILE_TYPES[number]: number for number in sorted(numbers) if FILE_TYPES[number] not in _NOT_WRITTEN}


def type_number(name: str, *, imatrix: bool = False) -> tuple[str, int]:
    """(name, number) of a type in any case. Raises UsageError where there is none, or where it needs an importance
    matrix and there is no `imatrix`."""
    types = gguf_types()
    wanted = _ALIASES.get(name.upper(), name.upper())
    if wanted not in types:
        raise UsageError(f"gguf:{name} is unknown; choose one of {', '.join(types)}.")
    if wanted in NEED_IMATRIX and not imatrix:
        raise UsageError(
            f"gguf:{wanted} needs an importance matrix: add --calibrate traces (or a file of texts, or an imatrix), or "
            "choose a type that does without, such as gguf:Q2_K or gguf:Q3_K_M."
        )
    return wanted, types[wanted]


def tensor_type_number(name: str) -> int:
    """ggml's number of a tensor's type in any case. Raises UsageError with those that weights can be written in."""
    wanted = name.upper()
    possible = {kind.name: number for number, kind in TENSOR_TYPES.items() if kind.name not in _NO_TARGETS}
    if wanted not in possible:
        raise UsageError(f"{name} is no type of a tensor; choose one of {', '.join(possible)}.")
    return possible[wanted]


def parse_overrides(texts: Sequence[str]) -> tuple[TensorOverride, ...]:
    """Overrides written as PATTERN=TYPE ("ffn_down=Q6_K"). Raises UsageError."""
    found = []
    for text in texts:
        pattern, _, kind = text.rpartition("=")
        if not pattern or not kind:
            raise UsageError(f"{text!r} is no override; give PATTERN=TYPE, as in ffn_down=Q6_K.")
        found.append(TensorOverride(pattern, kind.upper()))
    return tuple(found)


def require_overrides(overrides: Sequence[TensorOverride], tensors: Collection[str]) -> None:
    """Raise UsageError where an override is no pattern, names no type, or is found in no tensor's name."""
    for one in overrides:
        tensor_type_number(one.type)
        try:
            pattern = re.compile(one.pattern)
        except re.error as error:
            raise UsageError(f"{one.pattern!r} is no pattern for names of tensors ({error}).") from error
        if not any(pattern.search(name) for name in tensors):
            raise UsageError(
                f"{one.pattern!r} is found in no tensor's name; names are such as {', '.join(list(tensors)[:3])}."
            )


def overridden(name: str, overrides: Sequence[TensorOverride]) -> str | None:
    """The type that the first override found in a tensor's name gives it."""
    return next((one.type for one in overrides if re.search(one.pattern, name)), None)

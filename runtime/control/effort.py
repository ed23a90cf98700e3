"""Effort in words as thinking tokens: what a person asks for who does not think in tokens."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from runtime.backends.backend import ModelFacts

_SMALL = 100_000_000  # parameters
_TOKENS: Final[Mapping[str, int | None]] = MappingProxyType({"off": 0, "low": 512, "medium": 2048, "high": None})
_TOKENS_SMALL: Final[Mapping[str, int | None]] = MappingProxyType({"off": 0, "low": 64, "medium": 128, "high": None})


def effort_tokens(effort: str, facts: ModelFacts) -> int | None:
    """Thinking tokens that an effort allows (None: what the context holds): as the model's profile says, else by size.

    A model of some millions of parameters thinks some hundred tokens, one of billions some thousand. Raises KeyError
    for an effort that is none.
    """
    efforts = None if facts.profile is None else facts.profile.efforts
    if efforts is not None:
        measured: dict[str, int | None] = {
            "off": 0, "low": efforts.low, "medium": efforts.medium, "high": efforts.high
        }  # fmt: skip
        return measured[effort]
    return (_TOKENS_SMALL if facts.parameters < _SMALL else _TOKENS)[effort]

"""Where the extra `train` is not installed its tests are left out, unless they are asked for: then they fail."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

PACKAGES = ("torch", "tokenizers", "safetensors", "transformers")
"""Of the extra `train`, in pyproject.toml."""
FILES = frozenset({"test_parity.py", "test_smoke_run.py", "test_training.py"})
"""All of whose tests have the marker `train`. They import the packages at their top, and cannot even be collected
without."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """None: as pytest would do without this. (A file that is named on the command line is never left out.)"""
    asked_for = "not train" not in config.option.markexpr
    if collection_path.name not in FILES or asked_for:
        return None
    return any(find_spec(name) is None for name in PACKAGES) or None

"""The package onnxruntime, loaded when a model needs it, and what it says of a model in words for people."""

from __future__ import annotations

import re
from typing import Any

from models.errors import MissingPackageError
from models.plain_text import strip_controls

_SILENT = 4
"""Of onnxruntime's log: fatal errors alone, for what it refuses it raises as well."""
_PLACE = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : |Exception during initialization: |/\S+\.(?:cc|h):\d+ .*?\) ?")


def onnx_runtime() -> Any:
    """The module. Raises `MissingPackageError` if it is not installed or does not load."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackageError(
            f"ONNX models need the package onnxruntime ({error}); install it with: make run EXTRAS=onnx "
            "(on an NVIDIA GPU: EXTRAS=onnx-gpu), or pip install 'kangae[onnx]'."
        ) from error
    onnxruntime.set_default_logger_severity(_SILENT)
    return onnxruntime


def last_words(error: Exception) -> str:
    """What onnxruntime says of a failure, short: no places in its sources, no full stop."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    text = strip_controls(_PLACE.sub("", lines[0] if lines else type(error).__name__), lines=False)
    return text[:300].strip().rstrip(".") or type(error).__name__

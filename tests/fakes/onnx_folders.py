"""ONNX folders of the model that ships, exported once a test run; tests that want one are skipped without the extra."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import pytest

from models.gptq.layer import GptqSettings
from models.locations import shipped_model
from tests.fakes.gptq_folders import make_gptq_folder

HUGGINGFACE = shipped_model().with_name("huggingface")


def require_builder() -> None:
    """Skip where the extra `onnx` is not installed."""
    for name in ("onnxruntime", "onnxruntime_genai", "onnx", "onnx_ir", "torch", "transformers", "tokenizers"):
        pytest.importorskip(name)


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="kangae-onnx-tests-")


@functools.cache
def exported(precision: str = "fp32") -> Path:
    """The shipped model's whole weights at `precision`."""
    require_builder()
    from quantize.onnx.export import export_onnx
    from quantize.onnx.settings import OnnxSettings

    target = Path(_folder().name) / precision
    export_onnx(HUGGINGFACE, target, OnnxSettings(precision), name="kangae-tiny")
    return target


@functools.cache
def gptq_folder(bits: int = 4, group_size: int = 32) -> Path:
    """The shipped model's weights as a GPTQ folder, rounded to the nearest."""
    target = Path(_folder().name) / f"gptq-{bits}-{group_size}"
    make_gptq_folder(HUGGINGFACE, target, GptqSettings(bits=bits, group_size=group_size))
    return target

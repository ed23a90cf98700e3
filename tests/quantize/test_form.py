"""The forms that `--to` names."""

from __future__ import annotations

import pytest

from models.errors import UsageError
from models.gptq.layer import GptqSettings
from quantize.form import AUTO, GgufForm, GptqForm, OnnxForm, parse_form


@pytest.mark.parametrize(
    ("text", "form", "label"),
    [
        ("gguf:q4_k_m", GgufForm("Q4_K_M"), "Q4_K_M"),
        ("GGUF:auto", GgufForm(AUTO), "auto"),
        ("gptq:4", GptqForm(GptqSettings()), "GPTQ-4bit-g128"),
        ("gptq:3:g32", GptqForm(GptqSettings(bits=3, group_size=32)), "GPTQ-3bit-g32"),
        ("gptq:8:row:asym", GptqForm(GptqSettings(bits=8, group_size=-1, symmetric=False)), "GPTQ-8bit-row-asym"),
        (
            "gptq:4:g64:act-order:static",
            GptqForm(GptqSettings(group_size=64, act_order=True, static_groups=True)),
            "GPTQ-4bit-g64-actorder-static",
        ),
        ("onnx:INT4", OnnxForm("int4"), "ONNX-int4"),
    ],
)
def test_a_form_is_read_and_told_alike(text: str, form: GgufForm | GptqForm | OnnxForm, label: str) -> None:
    assert parse_form(text) == form
    assert form.label == label
    assert parse_form(form.name) == form


@pytest.mark.parametrize(
    "text",
    ["", "gguf", "gguf:", "gptq", "gptq:5", "gptq:four", "gptq:4:g", "gptq:4:g0", "gptq:4:fast", "onnx:int3", "awq:4"],
)
def test_what_is_no_form_is_told_with_what_there_is(text: str) -> None:
    with pytest.raises(UsageError, match=f"--to {text}"):
        parse_form(text)

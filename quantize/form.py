"""The forms a model can be written in, as `--to` names them.

gguf:Q4_K_M        any type of llama.cpp; gguf:auto chooses types tensor by tensor
gptq:4             2, 3, 4 or 8 bits; with parts after a colon: g32, g128, row (group size), asym, act-order,
                   static (groups laid out before the order), as in gptq:4:g32:act-order:static
onnx:int4          int4, int8, fp16 or fp32 for onnxruntime
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from models.errors import UsageError
from models.gptq.layer import GptqSettings

GPTQ_BITS = (2, 3, 4, 8)
ONNX_PRECISIONS = ("int4", "int8", "fp16", "fp32")
AUTO = "AUTO"
_GROUP = re.compile(r"g(\d{1,5})")
_PARTS = "g32, g64, g128, row, asym, act-order, static"


@dataclass(frozen=True)
class GgufForm:
    """A file of llama.cpp's type `quant`, in capitals; `AUTO` for a mixture that is measured."""

    quant: str

    @property
    def name(self) -> str:
        """As `--to` names it."""
        return f"gguf:{self.quant if self.quant != AUTO else 'auto'}"

    @property
    def label(self) -> str:
        """Part of a file's name."""
        return self.quant if self.quant != AUTO else "auto"


@dataclass(frozen=True)
class GptqForm:
    """A folder in AutoGPTQ's layout."""

    settings: GptqSettings

    @property
    def name(self) -> str:
        """As `--to` names it: only what differs from the usual."""
        usual, own = GptqSettings(), self.settings
        parts = [f"gptq:{own.bits}"]
        if own.group_size != usual.group_size:
            parts.append("row" if own.group_size == -1 else f"g{own.group_size}")
        parts += ["asym"] * (not own.symmetric) + ["act-order"] * own.act_order + ["static"] * own.static_groups
        return ":".join(parts)

    @property
    def label(self) -> str:
        """Part of a folder's name."""
        own = self.settings
        group = "row" if own.group_size == -1 else f"g{own.group_size}"
        rest = ["asym"] * (not own.symmetric) + ["actorder"] * own.act_order
        rest += ["static"] * own.static_groups
        return "-".join(["GPTQ", f"{own.bits}bit", group, *rest])


@dataclass(frozen=True)
class OnnxForm:
    """A folder for onnxruntime-genai."""

    precision: str

    @property
    def name(self) -> str:
        """As `--to` names it."""
        return f"onnx:{self.precision}"

    @property
    def label(self) -> str:
        """Part of a folder's name."""
        return f"ONNX-{self.precision}"


Form = GgufForm | GptqForm | OnnxForm


def parse_form(text: str) -> Form:
    """The form that a person named. Raises UsageError with what there is. GGUF types are known by the library alone and
    are checked where one is written."""
    kind, _, rest = text.strip().partition(":")
    match kind.lower():
        case "gguf" if rest:
            return GgufForm(rest.upper())
        case "gptq" if rest:
            return GptqForm(_gptq_settings(text, rest))
        case "onnx" if rest.lower() in ONNX_PRECISIONS:
            return OnnxForm(rest.lower())
    raise UsageError(
        f"--to {text} is unknown; give gguf:TYPE (gguf:Q4_K_M, gguf:auto), gptq:BITS ({_listed(GPTQ_BITS)}; "
        f"gptq:4:g32) or onnx:PRECISION ({', '.join(ONNX_PRECISIONS)})."
    )


def _gptq_settings(text: str, rest: str) -> GptqSettings:
    bits, *parts = rest.lower().split(":")
    if bits not in map(str, GPTQ_BITS):
        raise UsageError(f"--to {text}: GPTQ has {_listed(GPTQ_BITS)} bits, as in --to gptq:4.")
    settings = replace(GptqSettings(), bits=int(bits))
    for part in parts:
        group = _GROUP.fullmatch(part)
        if group is not None:
            if int(group[1]) < 32 or int(group[1]) % 32:
                raise UsageError(
                    f"--to {text}: groups have 32, 64, 128 columns or another multiple of 32, or are a row."
                )
            settings = replace(settings, group_size=int(group[1]))
        elif part == "row":
            settings = replace(settings, group_size=-1)
        elif part in ("sym", "asym"):
            settings = replace(settings, symmetric=part == "sym")
        elif part == "act-order":
            settings = replace(settings, act_order=True)
        elif part == "static":
            settings = replace(settings, static_groups=True)
        else:
            raise UsageError(f"--to {text}: {part!r} is unknown; the parts of a GPTQ form are {_PARTS}.")
    return settings


def _listed(values: tuple[int, ...]) -> str:
    return f"{', '.join(map(str, values[:-1]))} or {values[-1]}"

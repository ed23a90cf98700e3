"""`quantize_config.json` and `quantization_config`: how a GPTQ checkpoint says what it is.

Keys: AutoGPTQ 0.7.1 (`BaseQuantizeConfig`) and gptqmodel 7 (`checkpoint_format`, `dynamic`, `meta`, `pack_dtype`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from models.errors import ModelError
from models.gptq.layer import BITS, GptqSettings
from models.huggingface.config import read_json

QUANTIZE_CONFIG: Final = "quantize_config.json"
_FORMATS: Final = ("gptq", "gptq_v2")
_WANTED_MARK: Final = "gptqmodel:0.9.0"
_WHY_MARKED: Final = (
    f"AutoGPTQ 0.7.1, zero points from 1 on; {_WANTED_MARK} is named as a quantizer because gptqmodel reads asymmetric "
    "checkpoints in this layout from no other"
)
"""gptqmodel refuses what AutoGPTQ itself may have spoilt (a zero point of 0 wrapped around), by the writer's name."""


@dataclass(frozen=True)
class CheckpointSettings:
    """What a checkpoint says of itself. `format`: "gptq" (zero points less one) or "gptq_v2". `quantizer`: who wrote
    it, as "gptqmodel:7.5.0", or an empty string."""

    gptq: GptqSettings
    format: str = "gptq"
    quantizer: str = ""

    @property
    def zeros_less_one(self) -> bool:
        """Whether zero points are stored less one."""
        return self.format == "gptq"

    @property
    def borrows(self) -> bool:
        """Whether its writer takes that one off whole words; see `layout.decode`."""
        return self.quantizer.lower().startswith("gptqmodel")


def read_settings(folder: Path) -> CheckpointSettings:
    """What the folder's files say. Raises ModelError for what is no GPTQ checkpoint, or of a kind not read here."""
    path = folder / QUANTIZE_CONFIG
    if path.is_file():
        return parse_settings(read_json(path), path)
    path = folder / "config.json"
    table = read_json(path).get("quantization_config")
    if not isinstance(table, dict):
        raise ModelError(f"{folder} is no GPTQ checkpoint: neither {QUANTIZE_CONFIG} nor config.json says how.")
    return parse_settings(table, path)


def parse_settings(table: Mapping[str, Any], path: Path) -> CheckpointSettings:
    """The settings in `table`, read from `path`. Raises ModelError."""
    fault = _refused(table)
    bits, group_size = table.get("bits", table.get("w_bit")), table.get("group_size", table.get("q_group_size", -1))
    if not fault and (type(bits) is not int or bits not in BITS):
        fault = f"its weights have {_shown(bits)} bits, not 2, 3, 4 or 8"
    if not fault and (type(group_size) is not int or not (group_size == -1 or 0 < group_size < 1 << 31)):
        fault = f"its group size is {_shown(group_size)}"
    if fault:
        raise ModelError(f"{path} cannot be used: {fault}; give a checkpoint in AutoGPTQ's layout.")
    own = table.get("meta")
    meta = {**own, **table} if isinstance(own, dict) else table  # gptqmodel keeps the run's settings there
    quantizer, damp = meta.get("quantizer", ""), meta.get("damp_percent", 0.01)
    assert isinstance(bits, int) and isinstance(group_size, int)
    return CheckpointSettings(
        GptqSettings(
            bits=bits,
            group_size=group_size,
            symmetric=bool(table.get("sym", True)),
            act_order=bool(table.get("desc_act", False)),
            static_groups=bool(meta.get("static_groups", False)),
            true_sequential=bool(meta.get("true_sequential", True)),
            damp=float(damp) if isinstance(damp, (int, float)) and 0 <= damp <= 1 else 0.01,
        ),
        str(table.get("checkpoint_format", "gptq")),
        ", ".join(map(str, quantizer)) if isinstance(quantizer, list) else str(quantizer),
    )


def _refused(table: Mapping[str, Any]) -> str:
    """Why such a checkpoint is not read here; empty where it is."""
    method, kind = table.get("quant_method", "gptq"), table.get("checkpoint_format", "gptq")
    if method != "gptq":
        return f"its weights were quantized by {_shown(method)}, not by GPTQ"
    if table.get("is_marlin_format") or kind == "marlin":
        return "its weights lie in the order of the Marlin kernel"
    if kind not in _FORMATS:
        return f"its checkpoint format is {_shown(kind)}"
    if table.get("dynamic"):
        return "it has settings of its own for some matrices (`dynamic`)"
    if str(table.get("pack_dtype", "int32")).removeprefix("torch.") != "int32":
        return f"its weights are packed in words of {_shown(table['pack_dtype'])}"
    return ""


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def settings_table(settings: GptqSettings, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What is written as `quantize_config.json`, and as `quantization_config` into config.json. `provenance` stands
    under `meta`: `quantizer` (["kangae:VERSION"]) and whatever tells how it was made."""
    meta = dict(provenance)
    if not settings.symmetric:
        meta |= {"quantizer": [*provenance.get("quantizer", []), _WANTED_MARK], "layout": _WHY_MARKED}
    return {
        "bits": settings.bits,
        "group_size": settings.group_size,
        "damp_percent": settings.damp,
        "desc_act": settings.act_order,
        "static_groups": settings.static_groups,
        "sym": settings.symmetric,
        "true_sequential": settings.true_sequential,
        "quant_method": "gptq",
        "checkpoint_format": "gptq",
        "meta": meta,
    }

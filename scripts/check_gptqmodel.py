"""Loads a GPTQ folder with transformers and gptqmodel and compares its logits with our own reading of the folder.

    python scripts/check_gptqmodel.py out/kangae-tiny-GPTQ-4bit-g128

Needs the extra `gptq` (transformers, gptqmodel, optimum, torch).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from gptq_reader import Reading, main, read_logits


def read(folder: Path, ids: list[int]) -> Reading:
    """The folder as transformers reads it, in 32-bit floats: the default kernel on a CPU multiplies in bfloat16, which
    alone moves logits by 0.1, and 16-bit scales would round their products with the integers."""
    from importlib import metadata

    import torch
    from transformers import AutoModelForCausalLM, GPTQConfig

    bits = json.loads((folder / "quantize_config.json").read_text("utf-8"))["bits"]
    config = GPTQConfig(bits=bits, backend="gptq_torch")
    model = AutoModelForCausalLM.from_pretrained(
        folder, device_map="cpu", dtype=torch.float32, quantization_config=config
    )
    quantized = [module for module in model.modules() if hasattr(module, "qweight")]
    for module in quantized:
        module.scales = module.scales.float()
    kernels = {type(module).__name__ for module in quantized}
    logits, generated = read_logits(model, ids)
    return Reading(f"gptqmodel {metadata.version('gptqmodel')}", " ".join(sorted(kernels)), logits, generated)


if __name__ == "__main__":
    sys.exit(main(read))

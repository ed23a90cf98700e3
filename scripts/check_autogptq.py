"""Loads a GPTQ folder with auto-gptq 0.7.1 on a CPU and compares its logits with our own reading of the folder.

    python scripts/check_autogptq.py out/kangae-tiny-GPTQ-4bit-g128

Needs an environment of its own, for auto-gptq is archived: transformers up to 4.57.6, peft 0.13, and torch.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from gptq_reader import Reading, main, read_logits


def read(folder: Path, ids: list[int]) -> Reading:
    """The folder as auto-gptq reads it, in 32-bit floats."""
    import torch

    auto_gptq = importlib.import_module("auto_gptq")  # no package of this environment, and without types

    model = auto_gptq.AutoGPTQForCausalLM.from_quantized(
        str(folder),
        device="cpu",
        torch_dtype=torch.float32,
        disable_exllama=True,
        disable_exllamav2=True,
    )
    kernels = {type(module) for module in model.modules() if hasattr(module, "qweight")}
    logits, generated = read_logits(model, ids)
    names = " ".join(sorted(kernel.__module__.rpartition(".")[2] for kernel in kernels))
    return Reading(f"auto-gptq {auto_gptq.__version__}", names, logits, generated)


if __name__ == "__main__":
    sys.exit(main(read))

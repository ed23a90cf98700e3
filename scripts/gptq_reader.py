"""What the checks of GPTQ's readers share: the logits that a folder must give, and the comparison.

The expected logits are those of transformers, in 32-bit floats, with the weights that our own reader takes from the
folder. Runs in the reader's environment: numpy, torch and transformers are there, Kangae's other packages need not be.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import numpy.typing as npt

from models.errors import KangaeError
from models.gptq.checkpoint import GptqCheckpoint

TOLERANCE = 1e-2
TOKENS = 48
GENERATED = 8

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Reading:
    """What a reader made of a folder. `logits` (tokens, vocabulary); `generated` the ids after the prompt; `kernel` the
    class that multiplies."""

    reader: str
    kernel: str
    logits: Logits
    generated: list[int]


Reader = Callable[[Path, list[int]], Reading]


def main(reader: Reader) -> int:
    """Compare `reader` with what is expected of the folder named on the command line; 0 where they agree."""
    parser = argparse.ArgumentParser(
        description="Load a GPTQ folder and compare its logits with our own reading of it."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--tolerance", type=float, default=TOLERANCE, help="largest difference of a logit (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    try:
        report = compare(reader, arguments.folder, arguments.tolerance)
    except KangaeError as error:
        print(f"{error.title}: {error.detail}", file=sys.stderr)
        return error.exit_code
    if arguments.json:
        print(json.dumps(report))
    else:
        print(", ".join(f"{key} {value}" for key, value in report.items()))
    return 0 if report["passed"] else 1


def compare(reader: Reader, folder: Path, tolerance: float) -> dict[str, Any]:
    """What was read and how far it lies from what is expected."""
    checkpoint = GptqCheckpoint.open(folder)
    vocabulary = checkpoint.config.size("vocab_size")
    ids = np.random.default_rng(7).integers(0, vocabulary, TOKENS).tolist()
    wanted = expected_logits(checkpoint, ids)
    found = reader(folder, ids)
    difference = float(np.abs(found.logits - wanted).max())
    return {
        "folder": folder.name,
        "reader": found.reader,
        "kernel": found.kernel,
        "logits": int(wanted.size),
        "largest_difference": round(difference, 6),
        "largest_logit": round(float(np.abs(wanted).max()), 3),
        "same_first": float((found.logits.argmax(-1) == wanted.argmax(-1)).mean()),
        "generated": found.generated,
        "passed": bool(difference <= tolerance and len(found.generated) == GENERATED),
    }


def expected_logits(checkpoint: GptqCheckpoint, ids: list[int]) -> Logits:
    """Logits (tokens, vocabulary) of the model with the weights that the integers stand for."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(checkpoint.folder)
    del config.quantization_config
    model = AutoModelForCausalLM.from_config(config).to(torch.float32).eval()
    values = {name: checkpoint.layer(name).weights() for name in checkpoint.layers}
    values |= {name: checkpoint.tensors.values(name) for name in checkpoint.plain}
    lacking = model.load_state_dict({name: torch.from_numpy(one) for name, one in values.items()}, strict=False)
    if lacking.unexpected_keys:
        raise SystemExit(f"transformers knows no {lacking.unexpected_keys[0]}")
    with torch.inference_mode():
        return np.asarray(model(input_ids=torch.tensor([ids])).logits[0].float())


def read_logits(model: Any, ids: list[int]) -> tuple[Logits, list[int]]:
    """The logits of a loaded model, and what it says next."""
    import torch

    prompt = torch.tensor([ids])
    with torch.inference_mode():
        logits = np.asarray(model(input_ids=prompt).logits[0].float())
        said = model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            min_new_tokens=GENERATED,
            max_new_tokens=GENERATED,
            do_sample=False,
        )
    return logits, said[0, len(ids) :].tolist()

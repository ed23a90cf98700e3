"""What gptqmodel makes of the same model, data and settings, as a mark for our own GPTQ, and the loss of both.

    python scripts/gptq_reference.py quantize MODEL OUT --chunks ids.json --tokens 59000 --group-size 32
    python scripts/gptq_reference.py compare MODEL FOLDER [FOLDER ...] --chunks held-out.json

MODEL is a Hugging Face folder. The ids are a JSON list of lists of token ids. `quantize` needs the extra `gptq`;
`compare` needs torch and transformers alone: it takes the packed weights apart by itself, runs every model in 32 bits,
and prints one JSON object a folder: mean and 99th percentile of KL(original || folder) in nats over all positions, and
how often both have the same most likely token.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

Chunks = list[list[int]]


def main() -> None:
    """Either side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sides = parser.add_subparsers(dest="side", required=True)
    one = sides.add_parser("quantize", help="let gptqmodel quantize")
    one.add_argument("model", type=Path)
    one.add_argument("out", type=Path)
    one.add_argument("--chunks", type=Path, required=True)
    one.add_argument("--tokens", type=int, default=1 << 30, help="stop before the chunk that would go beyond so many")
    one.add_argument("--bits", type=int, default=4)
    one.add_argument("--group-size", type=int, default=128)
    one.add_argument("--asymmetric", action="store_true")
    one.add_argument("--act-order", action="store_true")
    one.add_argument("--group-aware", action="store_true", help="gptqmodel's own order of columns (its default)")
    one.add_argument("--damp", type=float, default=0.01)
    other = sides.add_parser("compare", help="hold folders against the original")
    other.add_argument("model", type=Path)
    other.add_argument("folders", type=Path, nargs="+")
    other.add_argument("--chunks", type=Path, required=True)
    other.add_argument("--matrices-only", action="store_true", help="leave embedding, norms and biases the original's")
    arguments = parser.parse_args()
    chunks: Chunks = json.loads(arguments.chunks.read_text())
    if arguments.side == "quantize":
        print(json.dumps(quantize(arguments, first_tokens(chunks, arguments.tokens))))
        return
    for folder in arguments.folders:
        print(json.dumps({"folder": str(folder)} | compare(arguments, folder, chunks)), flush=True)


def first_tokens(chunks: Chunks, most: int) -> Chunks:
    """The chunks from the first on that have at most `most` tokens together."""
    taken: Chunks = []
    for chunk in chunks:
        most -= len(chunk)
        if most < 0:
            break
        taken.append(chunk)
    return taken


def quantize(arguments: argparse.Namespace, chunks: Chunks) -> dict[str, object]:
    """Let gptqmodel quantize into a folder; what it was given and how long it took."""
    from gptqmodel import GPTQModel, QuantizeConfig

    config = QuantizeConfig(
        bits=arguments.bits,
        group_size=arguments.group_size,
        sym=not arguments.asymmetric,
        desc_act=arguments.act_order,
        act_group_aware=arguments.group_aware,
        damp_percent=arguments.damp,
        damp_auto_increment=0.01,
        true_sequential=True,
        offload_to_disk=False,
    )
    started = time.perf_counter()
    # By itself it works in bfloat16 on a CPU, and writes embedding and norms so: a worse mark than it can set.
    model = GPTQModel.load(str(arguments.model), config, device="cpu", dtype=torch.float32)
    examples = [{"input_ids": chunk, "attention_mask": [1] * len(chunk)} for chunk in chunks]
    model.quantize(examples, batch_size=1, calibration_data_min_length=1)
    model.save(str(arguments.out))
    return {
        "out": str(arguments.out),
        "chunks": len(chunks),
        "tokens": sum(map(len, chunks)),
        "group_aware": arguments.group_aware,
        "seconds": round(time.perf_counter() - started, 1),
    }


def compare(arguments: argparse.Namespace, folder: Path, chunks: Chunks) -> dict[str, float]:
    """The loss of a folder's weights against the original's, over all positions of `chunks`."""
    from transformers import AutoModelForCausalLM

    original = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()
    other = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()
    replaced = put_weights(other, folder, plain_too=not arguments.matrices_only)
    divergences, agreements = [], 0
    with torch.inference_mode():
        for chunk in chunks:
            ids = torch.tensor([chunk])
            left = original(ids).logits[0].double().log_softmax(-1)
            right = other(ids).logits[0].double().log_softmax(-1)
            divergences.append((left.exp() * (left - right)).sum(-1))
            agreements += int((left.argmax(-1) == right.argmax(-1)).sum())
    every = torch.cat(divergences)
    return {
        "tokens": len(every),
        "kl": float(every.mean()),
        "kl_p99": float(every.quantile(0.99)),
        "top1": agreements / len(every),
        "matrices": replaced,
    }


def put_weights(model: Any, folder: Path, *, plain_too: bool) -> int:
    """Replace a model's weights by a folder's, those in GPTQ's form dequantized; returns how many those were."""
    weights = model.state_dict()
    tensors = dict(read_tensors(folder))
    packed = [name.removesuffix(".qweight") for name in tensors if name.endswith(".qweight")]
    settings = json.loads((folder / "quantize_config.json").read_text()) if packed else {}
    plain = {name: value for name, value in tensors.items() if name in weights}
    for name, value in plain.items() if plain_too else ():
        weights[name].copy_(value.float())
    for name in packed:
        weights[f"{name}.weight"].copy_(dequantized(tensors, name, settings))
    known = {f"{name}.{part}" for name in packed for part in ("qweight", "qzeros", "scales", "g_idx")}
    left = sorted(set(tensors) - known - set(plain))
    if left:
        raise SystemExit(f"{folder} has tensors that the model does not know: {', '.join(left[:5])}")
    return len(packed)


def read_tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors of a folder's safetensors files."""
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping, though it has keys
                yield name, file.get_tensor(name)


def dequantized(tensors: dict[str, torch.Tensor], name: str, settings: dict[str, Any]) -> torch.Tensor:
    """Weights (outputs, inputs) in float32 of one packed matrix in AutoGPTQ's layout."""
    bits = int(settings["bits"])
    if bits not in (2, 4, 8):
        raise SystemExit(f"{bits} bits do not lie whole in a word; this comparison reads 2, 4 and 8.")
    shifts = torch.arange(0, 32, bits)
    most = (1 << bits) - 1
    integers = (tensors[f"{name}.qweight"].long()[:, None, :] >> shifts[None, :, None]) & most
    integers = integers.reshape(-1, integers.shape[-1])  # (inputs, outputs)
    zeros = (tensors[f"{name}.qzeros"].long()[:, :, None] >> shifts) & most
    zeros = zeros.reshape(zeros.shape[0], -1)  # (groups, outputs)
    if settings.get("checkpoint_format", "gptq") == "gptq":
        zeros = (zeros + 1) & most
    scales = tensors[f"{name}.scales"].float()
    groups = tensors[f"{name}.g_idx"].long()
    return ((integers - zeros[groups]).float() * scales[groups]).T.contiguous()


if __name__ == "__main__":
    main()

"""The GPTQ form: matrices rounded layer by layer on a calibration, written in AutoGPTQ's layout."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from models.errors import UsageError
from models.gguf_file import GgufFile
from models.gptq.gguf_names import FolderLayers
from models.gptq.layer import GptqLayer
from models.gptq.writer import write_gptq
from models.huggingface.architectures import architecture_of
from models.huggingface.config import ModelConfig
from quantize.calibration.calibration import calibration_corpus
from quantize.form import GptqForm
from quantize.layerwise.layerwise import run_layers
from quantize.making.made import Made
from quantize.making.options import NO_CALIBRATION, TRACES, MakeOptions
from quantize.making.thoroughness import Thoroughness
from quantize.master import Tell, open_as_gguf
from quantize.rounding.gptq import GptqRounder
from quantize.source import Source
from quantize.work_folder import work_folder


def make_gptq(source: Source, form: GptqForm, target: Path, options: MakeOptions, tell: Tell) -> Made:
    """Write the folder `target`. Raises UsageError (a source without a folder, or rounded before; no calibration), and
    what the parts raise."""
    if source.gptq is not None or source.folder is None:
        raise UsageError(
            f"{source.place} "
            + (
                "was rounded as GPTQ before"
                if source.gptq
                else "is a GGUF file, without config.json and tokenizer.json"
            )
            + "; give the safetensors folder that it came from."
        )
    if options.calibrate == NO_CALIBRATION:
        raise UsageError("GPTQ rounds on a calibration; give --calibrate traces, or a file of questions or text.")
    started = time.monotonic()
    calibrate = TRACES if options.calibrate is None else options.calibrate
    with work_folder(target, f"{source.key} {form.name} {options.key}") as work:
        master = open_as_gguf(source, work, pre=options.pre, tell=tell)
        model = GgufFile.open(master.path)
        effort = Thoroughness.of(model)
        corpus = calibration_corpus(
            master,
            calibrate,
            tokens=options.tokens or effort.tokens,
            threads=options.threads,
            progress=lambda share: tell("thinking", share),
        )
        names = [name for name, info in model.tensors.items() if name.startswith("blk.") and len(info.shape) == 2]
        results = run_layers(
            model,
            corpus.chunks,
            GptqRounder(form.settings, names=names, passes=effort.passes, sweeps=effort.sweeps),
            work / "layers",
            drift=effort.drift,
            sequential=form.settings.true_sequential,
            progress=lambda what, share: tell(f"rounding {form.label}: {what}", share),
        )
        # All that this rounder gives are GPTQ layers.
        layers = FolderLayers(
            cast("Mapping[str, GptqLayer]", results.store), architecture_of(ModelConfig.read(source.folder))
        )
        provenance = {
            "calibration": corpus.origin,
            "calibration_tokens": corpus.tokens,
            "calibration_sha256": corpus.sha256,
        }
        write_gptq(
            source.folder,
            target,
            layers,
            form.settings,
            provenance,
            replace=options.force,
            progress=lambda share: tell("writing GPTQ", share),
        )
    files = [file for file in target.rglob("*") if file.is_file()]
    weights = sum(info.elements for info in model.tensors.values())
    held = sum(file.stat().st_size for file in files if file.suffix == ".safetensors")
    return Made(
        source=source.place,
        file=target,
        form=form.name,
        bytes=sum(file.stat().st_size for file in files),
        bits_per_weight=8 * held / max(1, weights),
        seconds=time.monotonic() - started,
        by="kangae",
        tensors={f"GPTQ-{form.settings.bits}": len(results.store)},
        calibration=calibrate,
        compensated=True,
    )

"""The ONNX form: the integers of a GPTQ checkpoint where it has 4 or 8 bits, else the builder's own."""

from __future__ import annotations

from pathlib import Path

from models.errors import UsageError
from models.gptq.layer import GptqSettings
from quantize.form import GptqForm, OnnxForm
from quantize.making.gptq_maker import make_gptq
from quantize.making.made import Made
from quantize.making.options import NO_CALIBRATION, TRACES, MakeOptions
from quantize.master import Tell
from quantize.onnx.export import export_onnx, require_builder
from quantize.onnx.settings import OnnxSettings
from quantize.onnx.source import OnnxSource
from quantize.source import Source
from quantize.work_folder import work_folder

_GROUP = 32


def make_onnx(source: Source, form: OnnxForm, target: Path, options: MakeOptions, tell: Tell) -> Made:
    """Write the folder `target`. Raises UsageError (a source without a folder), MissingPackageError (extra `onnx`), and
    what the parts raise."""
    settings = OnnxSettings(form.precision)
    rounded = form.precision in ("int4", "int8") and source.gptq is None and options.calibrate != NO_CALIBRATION
    with work_folder(target, f"{source.key} {form.name} {options.key}") as work:
        folder, calibration, compensated = source.gptq or source.folder, None, False
        if folder is None:
            raise UsageError(
                f"{source.place} is a GGUF file, and onnxruntime-genai's builder reads Hugging Face folders; give the "
                "folder that it came from."
            )
        if rounded:
            bits = 4 if form.precision == "int4" else 8
            checkpoint = GptqForm(GptqSettings(bits=bits, group_size=_GROUP))
            if not (work / "gptq").is_dir():
                OnnxSource.open(folder, settings)  # what would be refused in the end is told before the long part
                require_builder()
                make_gptq(source, checkpoint, work / "gptq", options, tell)
            calibration = TRACES if options.calibrate is None else options.calibrate
            folder, compensated = work / "gptq", True
        done = export_onnx(
            folder,
            target,
            settings,
            name=source.name,
            force=options.force,
            progress=lambda share: tell("writing ONNX", share),
        )
    return Made(
        source=source.place,
        file=done.folder,
        form=form.name,
        bytes=done.bytes,
        bits_per_weight=done.bits_per_weight,
        seconds=done.seconds,
        by=done.quantizer,
        calibration=calibration,
        compensated=compensated,
    )

"""All usual forms of one model, in one folder: what `kangae quantize --table` writes and measures."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from models.errors import UsageError
from models.gguf_file import GgufFile
from quantize.form import Form, GgufForm, GptqForm, OnnxForm, parse_form
from quantize.making.maker import make_form, target_of
from quantize.making.options import NO_CALIBRATION, MakeOptions
from quantize.source import Source, open_source

REFERENCE: Final = "gguf:F16"
"""What the other forms are held against."""
_GGUF: Final = ("gguf:Q8_0", "gguf:Q6_K", "gguf:Q5_K_M", "gguf:Q4_K_M", "gguf:IQ4_XS", "gguf:Q3_K_M", "gguf:Q2_K")
_GPTQ: Final = ("gptq:4:g32", "gptq:4")
_ONNX: Final = "onnx:int4"
_BUILDER: Final = ("onnxruntime_genai", "onnx", "onnx_ir", "torch", "transformers")


@dataclass(frozen=True)
class Usual:
    """`files`: what can be run, the reference first; `made`: how many of them were not there before."""

    files: tuple[Path, ...]
    made: int


def usual_forms(source: Source, options: MakeOptions) -> tuple[Form, ...]:
    """The reference and all that can be made of a source here: GPTQ where there is a folder and a calibration, ONNX
    where its packages are installed as well."""
    names = [REFERENCE, *_GGUF]
    if source.folder is not None and options.calibrate != NO_CALIBRATION:
        names += _GPTQ
        if all(importlib.util.find_spec(name) is not None for name in _BUILDER):
            names.append(_ONNX)
    return tuple(parse_form(name) for name in names)


def make_usual(source: Source, folder: Path, options: MakeOptions, tell: Callable[[str, float], None]) -> Usual:
    """Write every usual form into `folder`; of GPTQ's also the GGUF that holds the same integers, which is what runs.

    What is there stays, so that a run that was broken off goes on, unless `options.force` is set. Raises what makers
    raise; UsageError where a file there holds another type than its name says.
    """
    files: list[Path] = []
    made = 0
    forms = usual_forms(source, options)
    for number, form in enumerate(forms, start=1):
        target = target_of(source, form, str(folder), several=True)
        where = f"{number} of {len(forms)}, {form.label}"

        def step(what: str, share: float, where: str = where) -> None:
            tell(f"{where}: {what}", share)

        if options.force or not _is_there(target, form):
            make_form(source, form, target, replace(options, force=True), step)
            made += 1
        files.append(_packed(target, options, step) if isinstance(form, GptqForm) else target)
    return Usual(tuple(files), made)


def _packed(folder: Path, options: MakeOptions, tell: Callable[[str, float], None]) -> Path:
    """The GGUF of a GPTQ folder, beside it."""
    target = folder.with_name(f"{folder.name}-Q4_0.gguf")
    if options.force or not target.is_file():
        make_form(open_source(str(folder)), GgufForm("Q4_0"), target, replace(options, force=True), tell)
    return target


def _is_there(target: Path, form: Form) -> bool:
    """Whether a form was made before. Raises UsageError where something else stands in its place: it is not ours."""
    if not target.exists():
        return False
    if not isinstance(form, GgufForm):
        known = "genai_config.json" if isinstance(form, OnnxForm) else "quantize_config.json"
        whole = (target / known).is_file()
        found = "something else"
    else:
        found = GgufFile.open(target).header.quant
        whole = found == form.quant
    if not whole:
        raise UsageError(f"{target} exists and holds {found}; name another folder with -o, or replace it with --force.")
    return True

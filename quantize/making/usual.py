"""All usual forms of one model, in one folder: what `kangae quantize --table` writes and measures."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from models.errors import UsageError
from models.whole_file import write_whole
from models.write_fault import write_error
from quantize.form import Form, GgufForm, GptqForm, parse_form
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

    What was made there of the same source with the same options stays, so that a run that was broken off goes on,
    unless `options.force` is set; what was made otherwise is made anew. Raises what makers raise; UsageError where
    something stands there that was not made so.
    """
    files: list[Path] = []
    record = _Record(folder)
    made = 0
    forms = usual_forms(source, options)
    for number, form in enumerate(forms, start=1):
        target = target_of(source, form, str(folder), several=True)
        where = f"{number} of {len(forms)}, {form.label}"

        def step(what: str, share: float, where: str = where) -> None:
            tell(f"{where}: {what}", share)

        key = f"{source.key} {form.name} {options.key}"
        fresh = options.force or not record.holds(target, key)
        if fresh:
            make_form(source, form, target, replace(options, force=True), step)
            made += 1
            record.add(target, key)
        files.append(_packed(target, fresh, options, step) if isinstance(form, GptqForm) else target)
    return Usual(tuple(files), made)


def _packed(folder: Path, fresh: bool, options: MakeOptions, tell: Callable[[str, float], None]) -> Path:
    """The GGUF of a GPTQ folder, beside it."""
    target = folder.with_name(f"{folder.name}-Q4_0.gguf")
    if fresh or not target.is_file():
        usual = MakeOptions(force=True, pre=options.pre)
        make_form(open_source(str(folder)), GgufForm("Q4_0"), target, usual, tell)
    return target


class _Record:
    """What was made in a folder, and from what: a small file there."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / ".kangae-forms.json"
        try:
            found = json.loads(self._path.read_text("utf-8"))
            self._keys = {str(name): str(key) for name, key in found.items()}
        except (OSError, ValueError, AttributeError):
            self._keys = {}

    def holds(self, target: Path, key: str) -> bool:
        """Whether `target` was made as `key` says. Raises UsageError where it stands there and was not made here."""
        if not target.exists():
            return False
        known = self._keys.get(target.name)
        if known is None:
            raise UsageError(
                f"{target} exists and was not made by this command; name another folder with -o, or replace it with "
                "--force."
            )
        return known == hashlib.sha256(key.encode()).hexdigest()

    def add(self, target: Path, key: str) -> None:
        """Note that `target` was made. Raises WriteError."""
        self._keys[target.name] = hashlib.sha256(key.encode()).hexdigest()
        try:
            write_whole(self._path, json.dumps(self._keys, indent=1))
        except OSError as error:
            raise write_error(self._path, error, "choose another place with -o") from error

"""A source as one GGUF whose weights were not rounded: what every form is made from."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from models.catalogue import ModelEntry, open_entry
from models.errors import UsageError
from models.huggingface.convert import Converted
from models.whole_file import unfinished
from models.write_fault import write_error
from quantize.source import Source
from quantize.upstream_converter import convert_any

Tell = Callable[[str, float], None]
"""Told what is being done, and what share of it is done (0 to 1)."""


def open_as_gguf(source: Source, work: Path, *, pre: str | None, tell: Tell) -> ModelEntry:
    """The source's own GGUF, or one converted into `work`, where one that is there is used again. Raises what the
    converter raises; UsageError for a GPTQ folder, whose weights were rounded."""
    if source.gguf is not None:
        return source.gguf
    if source.folder is None:
        raise UsageError(
            f"{source.place} was rounded before (GPTQ), and rounding twice loses twice; --to gguf:Q4_0 packs it as it "
            "is, or give the safetensors folder that it came from."
        )
    target = work / f"{source.name}.gguf"
    if not target.is_file():
        convert_source(source.folder, target, "auto", pre=pre, tell=tell)
    return open_entry(target, name=source.name)


def convert_source(folder: Path, target: Path, outtype: str, *, pre: str | None, tell: Tell) -> Converted:
    """Write `folder` as a GGUF of the type `outtype` ("auto": as the weights are stored). Raises what the converter
    raises, WriteError."""
    what = f"converting {folder.resolve().name}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with unfinished(target) as (part,):
            return convert_any(
                folder,
                part,
                outtype=outtype,
                pre=pre,
                say=logging.getLogger("kangae").warning,
                progress=lambda share: tell(what, share),
            )
    except OSError as error:
        raise write_error(target, error, "choose another place with -o") from error

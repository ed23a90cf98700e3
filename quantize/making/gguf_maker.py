"""A GGUF form: converted, packed anew, or quantized; on a calibration where there is one, with errors made good."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from models.catalogue import ModelEntry
from models.errors import UsageError
from models.gguf_file import GgufFile, Scalar
from models.gguf_rewrite import rewrite_gguf
from models.gptq.repack import repack_to_gguf
from models.whole_file import unfinished
from models.write_fault import write_error
from quantize.calibration.calibration import IMATRIX_TOKENS, calibration_corpus, ensure_imatrix
from quantize.calibration.imatrix import ImatrixFile, is_imatrix
from quantize.form import AUTO, GgufForm
from quantize.gguf import WHOLE_TYPES, Quantized, quantize_gguf
from quantize.gguf_types import NEED_IMATRIX
from quantize.layerwise.layerwise import run_layers
from quantize.layerwise.shape import ARCHITECTURES
from quantize.making.made import Made
from quantize.making.options import NO_CALIBRATION, TRACES, MakeOptions
from quantize.making.thoroughness import Thoroughness
from quantize.master import Tell, convert_source, open_as_gguf
from quantize.recipe.auto import BASE, AutoMixture, mix
from quantize.recipe.sensitivity import EMBEDDING, OUTPUT, ensure_sensitivities
from quantize.rounding.compensation import GridRounder
from quantize.rounding.ggml_layouts import LAYOUTS
from quantize.source import Source
from quantize.work_folder import work_folder

_NO_GRID = frozenset({"MXFP4", "TQ1_0", "TQ2_0", "Q1_0"})
"""Types none of whose matrices takes one that errors can be made good on."""


def make_gguf(source: Source, form: GgufForm, target: Path, options: MakeOptions, tell: Tell) -> Made:
    """Write the file `target` (of a split model, its parts beside it). Raises what the parts raise, UsageError where
    the options contradict the form or the source."""
    if source.gptq is not None:
        return _repack(source, form, target, options, tell)
    if form.quant in WHOLE_TYPES and source.gguf is None and not _asks_more(options):
        return _convert(source, form, target, options, tell)
    started = time.monotonic()
    with work_folder(target, f"{source.key} {form.name} {options.key}") as work:
        master = open_as_gguf(source, work, pre=options.pre, tell=tell)
        calibrate = calibration_of(source, form, options)
        auto = None
        if form.quant == AUTO:
            auto = _auto_mixture(master, calibrate, options, work, tell)
            options = _with_mixture(options, auto)
        if _compensates(master, form, options, calibrate):
            assert calibrate is not None
            return _compensated(source, master, form, target, options, calibrate, work, tell, auto)
        imatrix = None if calibrate is None else _imatrix(master, calibrate, options, tell)
        done = _quantize(master, form, target, options, imatrix, auto, tell)
    return Made(
        source=source.place,
        file=done.file,
        form=form.name,
        bytes=done.bytes,
        bits_per_weight=done.bits_per_weight,
        seconds=time.monotonic() - started,
        by="llama.cpp",
        tensors=done.tensors,
        calibration=calibrate,
        notes=(
            *((auto.note,) if auto is not None else ()),
            *(("Rows that are no multiple of 256 took a type of smaller blocks.",) if done.fell_back else ()),
        ),
    )


def _imatrix(master: ModelEntry, calibrate: str, options: MakeOptions, tell: Tell) -> ImatrixFile:
    return ensure_imatrix(
        master,
        calibrate,
        tokens=options.tokens or IMATRIX_TOKENS,
        threads=options.threads,
        progress=lambda share: tell("calibrating", share),
    )


def _quantize(
    master: ModelEntry,
    form: GgufForm,
    target: Path,
    options: MakeOptions,
    imatrix: ImatrixFile | None,
    auto: AutoMixture | None,
    tell: Tell,
) -> Quantized:
    """llama.cpp's own quantizer, with who made the file in its metadata."""
    return quantize_gguf(
        master,
        form.quant if auto is None else BASE,
        target,
        imatrix=imatrix,
        metadata=imatrix_metadata(imatrix) | _recipe(auto),
        tensor_types=options.tensor_types,
        output_type=options.output_type,
        embedding_type=options.embedding_type,
        shard_bytes=options.shard_bytes,
        force=options.force,
        threads=options.threads,
        progress=lambda share: tell(f"writing {form.label}", share),
    )


def _auto_mixture(
    master: ModelEntry, calibrate: str | None, options: MakeOptions, work: Path, tell: Tell
) -> AutoMixture:
    """Types by what they cost, measured on the calibration text; without a size, in the bytes of `BASE`."""
    if calibrate is None or (calibrate != TRACES and is_imatrix(Path(calibrate).expanduser())):
        raise UsageError(
            "gguf:auto measures on a text what each type costs; give --calibrate traces, or a file of questions or "
            "text."
        )
    if options.shard_bytes is not None:
        raise UsageError("An auto mixture is written as one file; leave --shard out.")
    model = GgufFile.open(master.path)
    tokens = options.tokens or Thoroughness.of(model).tokens
    corpus = calibration_corpus(
        master, calibrate, tokens=tokens, threads=options.threads, progress=lambda share: tell("thinking", share)
    )
    sensitivities = ensure_sensitivities(master, corpus, progress=lambda share: tell("measuring types", share))
    limit = options.size_bytes
    if limit is None:
        usual = work / "usual.gguf"
        limit = quantize_gguf(master, BASE, usual, force=True, threads=options.threads).bytes
        usual.unlink()
    return mix(
        model,
        sensitivities,
        limit,
        tensor_types=options.tensor_types,
        output_type=options.output_type,
        embedding_type=options.embedding_type,
    )


def _with_mixture(options: MakeOptions, auto: AutoMixture) -> MakeOptions:
    """The mixture as what a person could have said; llama.cpp takes the first and the last tensor apart."""
    embedding = auto.types.get(EMBEDDING, options.embedding_type)
    return replace(
        options,
        tensor_types=(*auto.overrides, *options.tensor_types),
        embedding_type=embedding,
        output_type=auto.types.get(OUTPUT, options.output_type or embedding),
    )


def _recipe(auto: AutoMixture | None) -> dict[str, Scalar]:
    return {} if auto is None else {"kangae.recipe": auto.told}


def imatrix_metadata(imatrix: ImatrixFile | None) -> dict[str, Scalar]:
    """Who made a file, and on what."""
    return {"general.quantized_by": "Kangae", **({} if imatrix is None else imatrix.metadata)}


def calibration_of(source: Source, form: GgufForm, options: MakeOptions) -> str | None:
    """What the form is calibrated on; None: nothing. The model that ships has its thoughts at hand; another one is
    calibrated where a person asks for it."""
    if form.quant in WHOLE_TYPES or options.calibrate == NO_CALIBRATION:
        return None
    if options.calibrate is not None:
        return options.calibrate
    return TRACES if source.shipped or options.compensate or form.quant == AUTO else None


def _compensates(master: ModelEntry, form: GgufForm, options: MakeOptions, calibrate: str | None) -> bool:
    """Whether errors are made good: asked for, or unasked where a text is at hand and the type has a grid for it."""
    whole = form.quant in WHOLE_TYPES or form.quant in NEED_IMATRIX or form.quant in _NO_GRID
    matrix = calibrate is not None and calibrate != TRACES and is_imatrix(Path(calibrate).expanduser())
    if options.compensate:
        if whole:
            raise UsageError(f"{form.name} has no grid on which errors could be made good; leave --compensate out.")
        if calibrate is None or matrix:
            raise UsageError(
                "--compensate needs a text, which an importance matrix is not; give --calibrate traces, or a file of "
                "questions or text."
            )
        return True
    known = master.architecture in ARCHITECTURES
    return options.compensate is None and known and calibrate is not None and not matrix and not whole


def _compensated(
    source: Source,
    master: ModelEntry,
    form: GgufForm,
    target: Path,
    options: MakeOptions,
    calibrate: str,
    work: Path,
    tell: Tell,
    auto: AutoMixture | None = None,
) -> Made:
    """llama.cpp's own mixture with an importance matrix first; then its matrices anew, with errors made good."""
    started = time.monotonic()
    if target.exists() and not options.force:
        raise UsageError(f"{target} exists; name another output with -o, or replace it with --force.")
    if options.shard_bytes is not None:
        raise UsageError("A compensated file is written as one; leave --shard out, or give --no-compensate.")
    effort = Thoroughness.of(GgufFile.open(master.path))
    tokens = options.tokens or effort.tokens
    corpus = calibration_corpus(
        master, calibrate, tokens=tokens, threads=options.threads, progress=lambda share: tell("thinking", share)
    )
    imatrix = _imatrix(master, calibrate, options, tell)
    plain = work / f"plain-{imatrix.sha256[:16]}.gguf"
    if not plain.is_file():
        _quantize(master, form, plain, replace(options, shard_bytes=None), imatrix, auto, tell)
    mixture = GgufFile.open(plain)
    types = compensated_types(mixture)
    results = run_layers(
        GgufFile.open(master.path),
        corpus.chunks,
        GridRounder(types, passes=effort.passes, sweeps=effort.sweeps),
        work / "layers",
        drift=effort.drift,
        progress=lambda what, share: tell(f"rounding {form.label}: {what}", share),
    )
    metadata: dict[str, Scalar] = {
        "kangae.compensated": len(results.store),
        "kangae.calibration": f"{corpus.origin}, {corpus.tokens} tokens, sha256 {corpus.sha256}"[:500],
    }
    try:
        with unfinished(target) as (part,):
            rewrite_gguf(mixture, part, types=results.store.types, data=results.store.blocks, metadata=metadata)
    except OSError as error:
        raise write_error(target, error, "choose another place with -o") from error
    notes = () if auto is None else (auto.note,)
    return _made(source, form, target, started, "kangae", calibrate, compensated=len(results.store) > 0, notes=notes)


def compensated_types(mixture: GgufFile) -> Mapping[str, str]:
    """The matrices of the layers whose type has a grid that errors can be made good on."""
    return {
        name: info.type
        for name, info in mixture.tensors.items()
        if name.startswith("blk.") and len(info.shape) == 2 and info.type in LAYOUTS
    }


def _repack(source: Source, form: GgufForm, target: Path, options: MakeOptions, tell: Tell) -> Made:
    assert source.gptq is not None
    if _asks_more(replace(options, embedding_type=None)):
        raise UsageError(
            f"{source.place} was rounded before (GPTQ) and is packed as it is; leave out all but --embedding-type, or "
            "give the safetensors folder that it came from."
        )
    started = time.monotonic()
    done = repack_to_gguf(
        source.gptq,
        target,
        wanted=None if form.quant == AUTO else form.quant,
        embedding=options.embedding_type or "F16",
        pre=options.pre,
        replace=options.force,
        progress=lambda share: tell("packing anew", share),
    )
    return Made(
        source=source.place,
        file=done.file,
        form=form.name,
        bytes=done.bytes,
        bits_per_weight=done.bits_per_weight,
        seconds=time.monotonic() - started,
        by="kangae, packed anew without rounding",
        tensors=done.tensors,
        notes=done.notes,
    )


def _asks_more(options: MakeOptions) -> bool:
    """Whether more is wanted than a conversion, or a packing, gives."""
    ends = options.output_type is not None or options.embedding_type is not None
    return bool(options.tensor_types or options.shard_bytes or options.compensate) or ends


def _convert(source: Source, form: GgufForm, target: Path, options: MakeOptions, tell: Tell) -> Made:
    assert source.folder is not None
    started = time.monotonic()
    if target.exists() and not options.force:
        raise UsageError(f"{target} exists; name another output with -o, or replace it with --force.")
    done = convert_source(source.folder, target, form.quant.lower(), pre=options.pre, tell=tell)
    return _made(source, form, target, started, done.converter, None, notes=done.notes)


def _made(
    source: Source,
    form: GgufForm,
    target: Path,
    started: float,
    by: str,
    calibration: str | None,
    *,
    compensated: bool = False,
    notes: tuple[str, ...] = (),
) -> Made:
    tensors = GgufFile.open(target).tensors.values()
    return Made(
        source=source.place,
        file=target,
        form=form.name,
        bytes=target.stat().st_size,
        bits_per_weight=sum(one.bytes for one in tensors) * 8 / max(1, sum(one.elements for one in tensors)),
        seconds=time.monotonic() - started,
        by=by,
        tensors=dict(Counter(one.type for one in tensors).most_common()),
        calibration=calibration,
        compensated=compensated,
        notes=notes,
    )

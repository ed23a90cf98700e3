"""`kangae quantize`: a model at fewer bits, and what that cost."""

from __future__ import annotations

import argparse
import re
import sys
from typing import TYPE_CHECKING

from models.json_output import print_json
from quantize.bench_command import add_bench_commands, add_report_options, check_report, report_forms
from quantize.progress import Progress
from runtime.commands.options import typed
from runtime.settings import parse_count

if TYPE_CHECKING:
    from pathlib import Path

    from quantize.form import Form
    from quantize.gguf_types import TensorOverride
    from quantize.making.made import Made
    from quantize.making.options import MakeOptions
    from quantize.source import Source

__all__ = ["add_bench_commands", "add_commands"]

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", re.IGNORECASE)
_WORTH_CALIBRATING = 8.0
"""Bits per weight below which rounding loses what a calibration keeps."""
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `quantize`; it sets `run`, a function of the parsed arguments to an exit code."""
    command = subparsers.add_parser(
        "quantize",
        help="a model at fewer bits",
        description="Write a model at fewer bits: as GGUF, as GPTQ, as ONNX; or show what each type costs.",
        epilog="Forms: gguf:TYPE (gguf:Q4_K_M, gguf:Q8_0 …), gptq:BITS with parts (gptq:4, gptq:4:g32, gptq:3:asym, "
        "gptq:4:act-order:static), onnx:int4. Calibrated on the model's own thoughts, errors are made good column by "
        "column: files that stock llama.cpp runs, closer to the original at the same bytes.",
    )
    command.add_argument(
        "source",
        metavar="SOURCE",
        help="a catalogue name, a Hugging Face folder (safetensors), a GGUF file (F16, BF16 or F32) or a GPTQ folder",
    )
    what = command.add_mutually_exclusive_group()
    what.add_argument("--to", action="append", metavar="FORM", help="what to write; may be given several times")
    what.add_argument("--table", action="store_true", help="write all usual forms and measure them side by side")
    _add_making(command)
    command.add_argument(
        "-o", "--output", metavar="OUT", help="the file or folder to write (default: here; all usual forms: out)"
    )
    command.add_argument("--force", action="store_true", help="replace what exists")
    command.add_argument(
        "--threads", type=typed(parse_count), default=0, metavar="N", help="CPU threads (default: all)"
    )
    command.add_argument("--problems", metavar="FILE", help="for the report: the problems (JSONL) to measure on")
    command.add_argument(
        "-n", "--limit", type=typed(parse_count), metavar="N", help="for the report: so many problems (200)"
    )
    command.add_argument("--report", action="store_true", help="measure what was written, beside the original")
    add_report_options(command, problems=False)
    command.add_argument("--json", action="store_true", help="print one JSON object (one a form)")
    command.set_defaults(run=run_quantize)


def _add_making(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--calibrate",
        metavar="traces|FILE|none",
        help="the model's own thoughts, or a file of questions, replies or text (default: traces for kangae-tiny, "
        "gptq: and onnx:int4, else none)",
    )
    command.add_argument(
        "--calibration-tokens",
        type=typed(parse_count),
        metavar="N",
        help="tokens of it at most (15,000 for an importance "
        "matrix; 60,000 for errors made good, 16,000 in models of 500 million weights or more)",
    )
    command.add_argument(
        "--compensate",
        action=argparse.BooleanOptionalAction,
        help="make rounding errors good by later columns (default: where there is a calibration)",
    )
    command.add_argument(
        "--tensor-type",
        action="append",
        default=[],
        metavar="REGEX=TYPE",
        help="another type for tensors whose names match, as in 'ffn_down=Q6_K'",
    )
    command.add_argument("--output-type", metavar="TYPE", help="the output matrix's type")
    command.add_argument("--embedding-type", metavar="TYPE", help="the embedding's type")
    command.add_argument("--size", type=typed(parse_size), metavar="SIZE", help="gguf:auto: what it may take, as in 2G")
    command.add_argument("--shard", type=typed(parse_size), metavar="SIZE", help="split into files of SIZE, as in 4G")
    command.add_argument("--pre", metavar="NAME", help="llama.cpp's pre-tokenizer, where it is not recognized")


def parse_size(value: object) -> int:
    """Bytes of "4G", "500MB", "1.5GiB", as disks are counted: only an i means powers of 1024. Raises ValueError."""
    text = str(value)
    found = _SIZE.fullmatch(text.strip())
    size = 0.0
    if found is not None:
        size = float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2].upper()]
    if not 1 <= size < 1 << 63:
        raise ValueError(f"{text[:40]!r} is no size; give one as in 4G or 500M")
    return int(size)


def run_quantize(arguments: argparse.Namespace) -> int:
    """Write the forms that are named, or all usual ones; measure them where that is asked for."""
    from models.errors import UsageError
    from quantize.form import parse_form
    from quantize.source import open_source

    if not arguments.to and not arguments.table and not arguments.recommend:
        raise UsageError("Say what to write: --to FORM, as in --to gguf:Q4_K_M; or --table, or --recommend.")
    reports = arguments.table or arguments.report or arguments.recommend
    only = ("problems", "limit", "plot", "card", "memory", "deadline")
    said = [name for name in only if getattr(arguments, name) is not None]
    if not reports and said:
        flags = ", ".join("-n" if name == "limit" else f"--{name}" for name in said)
        raise UsageError(
            f"{flags}: for what is measured, as --report, --table and --recommend do; give one of them, or leave this "
            "out."
        )
    if reports:
        check_report(arguments)  # before hours of work
    if not arguments.to:
        return _run_usual(arguments)
    forms = list(dict.fromkeys(parse_form(text) for text in arguments.to))
    source = open_source(arguments.source)
    if reports and source.gptq is not None:
        raise UsageError("A GPTQ folder packed anew holds the same weights: there is nothing to report; leave it out.")
    made = _make(source, forms, arguments, quiet=reports and arguments.json)
    return _report(source, made, arguments) if reports else 0


def _make(source: Source, forms: list[Form], arguments: argparse.Namespace, *, quiet: bool) -> list[Path]:
    from quantize.making.maker import make_form, require_fitting, target_of
    from quantize.making.place import require_free

    options = _options(arguments)
    targets = [target_of(source, form, arguments.output, several=len(forms) > 1) for form in forms]
    for form, target in zip(forms, targets, strict=True):  # all of them, before the first takes hours
        require_free(source, form, target, force=options.force)
        require_fitting(form, options)
    found = []
    for form, target in zip(forms, targets, strict=True):
        with Progress(f"{source.name} → {form.label}") as progress:
            made = make_form(source, form, target, options, progress.tell)
        if not quiet:
            _show(made, as_json=arguments.json)
        found.append(made.file)
    return found


def _report(source: Source, made: list[Path], arguments: argparse.Namespace) -> int:
    """Measure what was written beside what it was made from."""
    from quantize.master import open_as_gguf
    from quantize.quality.plan import form_files
    from quantize.work_folder import work_folder

    with work_folder(made[0].with_name("original"), str(source.place)) as work:
        with Progress(source.name) as progress:
            whole = open_as_gguf(source, work, pre=arguments.pre, tell=progress.tell)
        (reference,) = form_files([str(whole.path)])
        return report_forms(reference, form_files([str(file) for file in made]), arguments)


def _run_usual(arguments: argparse.Namespace) -> int:
    """Write all usual forms, and measure them."""
    from pathlib import Path

    from models.cli import printable
    from quantize.making.usual import make_usual
    from quantize.quality.plan import form_files
    from quantize.source import open_source

    source = open_source(arguments.source)
    folder = Path(arguments.output or "out").expanduser()
    with Progress(source.name) as progress:
        made = make_usual(source, folder, _options(arguments), progress.tell)
    (reference,) = form_files([str(made.files[0])])
    code = report_forms(reference, form_files([str(file) for file in made.files[1:]]), arguments)
    if not arguments.json:
        print(f"Files: {printable(str(folder))}")
    return code


def _options(arguments: argparse.Namespace) -> MakeOptions:
    from quantize.making.options import MakeOptions

    return MakeOptions(
        calibrate=arguments.calibrate,
        tokens=arguments.calibration_tokens,
        compensate=arguments.compensate,
        tensor_types=tuple(_override(text) for text in arguments.tensor_type),
        output_type=arguments.output_type,
        embedding_type=arguments.embedding_type,
        shard_bytes=arguments.shard,
        size_bytes=arguments.size,
        pre=arguments.pre,
        force=arguments.force,
        threads=arguments.threads,
    )


def _override(text: str) -> TensorOverride:
    from models.errors import UsageError
    from quantize.gguf_types import TensorOverride

    pattern, _, kind = text.rpartition("=")
    if not pattern or not kind:
        raise UsageError(f"--tensor-type {text} is not understood; give a pattern and a type, as in 'ffn_down=Q6_K'.")
    return TensorOverride(pattern, kind.upper())


def _show(made: Made, *, as_json: bool) -> None:
    from models.cli import human_bytes, printable

    if as_json:
        print_json(made.as_json())
        return
    how = f"calibrated on {made.calibration}" if made.calibration else ""
    if made.compensated:
        how += ", errors made good" if how else "errors made good"
    print(
        f"{printable(str(made.file))}: {human_bytes(made.bytes)} ({made.bits_per_weight:.2f} bits per weight), "
        f"in {made.seconds:.1f} s{'; ' + how if how else ''}"
    )
    for note in made.notes:
        print(printable(note), file=sys.stderr)
    if made.calibration is None and made.by == "llama.cpp" and made.bits_per_weight < _WORTH_CALIBRATING:
        print("Not calibrated: --calibrate traces, on the model's own thoughts, loses less.", file=sys.stderr)

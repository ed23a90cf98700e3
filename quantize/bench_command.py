"""`kangae bench quant`: what the forms of a model cost and what they still do; also behind `kangae quantize --report`
and `--recommend`."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import InterruptedByUser, UsageError
from models.json_output import print_json
from quantize.progress import Progress
from runtime.commands.options import add_opening_options, typed
from runtime.settings import parse_budget, parse_count, parse_seconds, parse_whole

if TYPE_CHECKING:
    from quantize.quality.plan import FormFile, MeasureSettings
    from quantize.quality.report import Report

_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
PROBLEMS = 200
"""Where nothing else is said."""


def add_bench_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `bench quant` with the sub-parsers of `bench`."""
    quant = commands.add_parser("quant", help="forms of one model side by side: bytes, divergence, answers, speed")
    quant.add_argument("forms", nargs="*", metavar="FORM", help="files, folders or catalogue names")
    quant.add_argument(
        "-m", "--model", metavar="NAME|PATH", help="what the forms are held against; default: kangae-tiny:F16"
    )
    add_report_options(quant)
    quant.add_argument("--json", action="store_true", help="print one JSON object")
    add_opening_options(quant, backend=False)
    quant.set_defaults(run=run_bench_quant)


def add_report_options(parser: argparse.ArgumentParser, *, problems: bool = True) -> None:
    """On what it is measured and what is made of it. `problems` False: the parser has `--problems` and `-n` already."""
    group = parser.add_argument_group("the report")
    if problems:
        group.add_argument("--problems", metavar="FILE", help='one {"id","question","expected"} a line')
        group.add_argument(
            "-n", "--limit", type=typed(parse_count), metavar="N", help=f"only the first N problems ({PROBLEMS})"
        )
    group.add_argument(
        "--kl-tokens",
        type=typed(parse_whole),
        default=20_000,
        metavar="N",
        help="tokens to compare on; 0: none (20000)",
    )
    group.add_argument("--parallel", type=typed(parse_count), default=8, metavar="N", help="problems at once (8)")
    group.add_argument(
        "--budget", type=typed(parse_budget), default=None, metavar="N|unlimited", help="thinking tokens (unlimited)"
    )
    group.add_argument("--max-answer", type=typed(parse_count), metavar="N", help="most answer tokens")
    group.add_argument("--system", metavar="TEXT", default="", help="what the model is told before the question")
    group.add_argument("--fresh", action="store_true", help="measure again what was measured before")
    group.add_argument("--plot", metavar="DIR", help="also draw accuracy over bytes and seconds, PNG and SVG, in DIR")
    group.add_argument("--card", metavar="FILE", help="also write a model card (Markdown) for the hub")
    group.add_argument("--recommend", action="store_true", help="name the form with the most right answers in time")
    group.add_argument("--memory", type=memory_bytes, metavar="SIZE", help="with --recommend: as in 4G")
    group.add_argument(
        "--deadline", type=typed(parse_seconds), metavar="SECONDS", help="with --recommend: for each whole reply"
    )


def memory_bytes(text: str) -> int:
    """`4G`, `512M`, `1.5GiB` in bytes, as an argparse type. Sizes of memory are powers of 1024."""
    found = _MEMORY.fullmatch(text.strip())
    if found is None or not float(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; give a number and a unit, as in 4G or 512M.")
    return int(float(found[1]) * 1024 ** _POWERS[found[2].upper()])


def run_bench_quant(arguments: argparse.Namespace) -> int:
    """Measure forms of a model; default: the shipped ones."""
    from models.catalogue import SHIPPED_NAME
    from quantize.quality.plan import form_files

    name = arguments.model or f"{SHIPPED_NAME}:F16"
    reference, *more = form_files([name])
    if more:
        raise UsageError(f"{name} holds several files; name the one that the others are held against with -m.")
    names = arguments.forms or ([SHIPPED_NAME] if arguments.model is None else [])
    return report_forms(reference, form_files(names) if names else (), arguments)


def report_forms(reference: FormFile, forms: Sequence[FormFile], arguments: argparse.Namespace) -> int:
    """Measure, print, and write what `arguments` (see `add_report_options`) ask for; returns the exit code: 1 where
    something of a form could not be measured, 130 after Ctrl-C. Raises what measuring and `recommend` raise."""
    from quantize.quality.measuring import measure_forms
    from quantize.quality.recommend import recommend

    check_report(arguments)
    settings = measure_settings(arguments)
    with Progress("report") as progress:
        report = measure_forms(reference, forms, settings, progress.tell)
    _write(report, arguments)
    found: dict[str, Any] = report.as_json()
    text = report.text()
    if arguments.recommend and not report.interrupted:
        advice = recommend(report, arguments.memory, arguments.deadline)
        found["recommended"] = advice.as_json()
        text = f"{text}\n\n{advice.text()}"
    if arguments.json:
        print_json(found, flush=True)
    else:
        print(text, flush=True)
    return InterruptedByUser.exit_code if report.interrupted else int(report.failed)


def measure_settings(arguments: argparse.Namespace) -> MeasureSettings:
    """What the flags say. Raises UsageError where the problems cannot be read."""
    from quantize.measured_problems import load_problems
    from quantize.quality.plan import MeasureSettings

    return MeasureSettings(
        tuple(load_problems(arguments.problems, arguments.limit or PROBLEMS)),
        kl_tokens=arguments.kl_tokens,
        parallel=arguments.parallel,
        budget=arguments.budget,
        max_answer=arguments.max_answer,
        system=arguments.system,
        threads=arguments.threads or None,
        gpu_layers=getattr(arguments, "gpu_layers", None),
        context=getattr(arguments, "context", None),
        fresh=arguments.fresh,
    )


def check_report(arguments: argparse.Namespace) -> None:
    """What cannot be done is told before anything is made or measured. Raises UsageError, WriteError."""
    measure_settings(arguments)
    if not arguments.recommend and (arguments.memory is not None or arguments.deadline is not None):
        raise UsageError("--memory and --deadline are limits of a recommendation; give --recommend as well.")
    if arguments.plot is not None:
        from runtime.bench.pictures import require_pictures

        require_pictures(Path(arguments.plot).expanduser())
    if arguments.card is not None and not Path(arguments.card).expanduser().absolute().parent.is_dir():
        raise UsageError(f"The folder of {arguments.card} is not there; make it, or name another place with --card.")


def _write(report: Report, arguments: argparse.Namespace) -> None:
    pictures: tuple[str, ...] = ()
    if arguments.plot is not None:
        from runtime.bench.pictures import write_pictures

        files = report.plots()
        write_pictures(Path(arguments.plot).expanduser(), files)
        pictures = tuple(name for name in files if name.endswith(".png"))
    if arguments.card is not None:
        from models.whole_file import write_whole
        from models.write_fault import write_error
        from quantize.quality.card import CardFacts

        path = Path(arguments.card).expanduser()
        beside = arguments.plot is not None and Path(arguments.plot).expanduser().resolve() == path.parent.resolve()
        name = str((report.reference.answers or {}).get("name") or report.reference.label)
        try:
            write_whole(path, report.card(CardFacts(name, pictures=pictures if beside else ())))
        except OSError as error:
            raise write_error(path, error, "name another place with --card") from error
        print(f"{path}: name yourself in quantized_by, and look at the licence.", file=sys.stderr)

"""`kangae bench`: speed, peers, control, budgets, thoughts to go on from. Other folders add their own to it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import InterruptedByUser, UsageError
from runtime.commands.options import (
    add_model_options,
    add_sampling_options,
    chosen,
    make_samplings,
    open_responder,
    typed,
)
from runtime.settings import Settings, load_settings, parse_budget, parse_count
from runtime.vote_limits import AT_ONCE, places_for

if TYPE_CHECKING:
    from runtime.bench.asking import Asking
    from runtime.bench.methods import Method
    from runtime.problems import Problem
    from runtime.verifiers.verifier import Verifier

_BUDGETS = "off,16,32,64,128,unlimited"


def add_commands(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse._SubParsersAction[argparse.ArgumentParser]:
    """Register `bench`; returns its own sub-parsers, so that others may add to them."""
    bench = subparsers.add_parser("bench", help="measure", description="Measure a model on this machine.")
    commands = bench.add_subparsers(dest="bench_command", metavar="COMMAND", required=True)
    _add_speed(commands)
    _add_peers(commands)
    _add_control(commands)
    _add_budget(commands)
    _add_continue(commands)
    return commands


def _add_speed(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    speed = commands.add_parser("speed", help="tokens per second: prefill, decode, many at once")
    speed.add_argument(
        "-m", "--model", metavar="NAME|PATH", help="catalogue name, file or folder; default: kangae-tiny"
    )
    speed.add_argument(
        "--depth", type=typed(parse_count), default=64, metavar="N", help="tokens in the cache before a decode (64)"
    )
    speed.add_argument("--batch", type=_counts, default=(4, 8, 16), metavar="N,N", help="sequences at once (4,8,16)")
    _add_machine(speed)
    speed.set_defaults(run=run_speed)


def _add_peers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    peers = commands.add_parser("peers", help="the same beside llama.cpp's own tools")
    peers.add_argument(
        "-m", "--model", metavar="NAME|PATH", help="default: models of random weights in a 0.6B model's shape"
    )
    peers.add_argument("--pairs", type=typed(parse_count), default=10, metavar="N", help="runs of each, in turn (10)")
    _add_machine(peers)
    peers.set_defaults(run=run_peers)


def _add_control(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    control = commands.add_parser("control", help="what thinking control costs in decode speed")
    control.add_argument(
        "-m", "--model", metavar="NAME|PATH", help="default: a model of random weights in a 0.6B model's shape"
    )
    control.add_argument(
        "--pairs", type=typed(parse_count), default=10, metavar="N", help="runs with and without, in turn (10)"
    )
    control.add_argument(
        "--tokens", type=typed(parse_count), default=128, metavar="N", help="thinking tokens of a run (128)"
    )
    _add_machine(control)
    control.set_defaults(run=run_control)


def _add_machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=typed(parse_count), metavar="N")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _add_asking(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--problems", metavar="FILE", help='one {"id","question","expected"} a line')
    parser.add_argument("-n", "--limit", type=typed(parse_count), metavar="N", help="only the first N problems")
    parser.add_argument(
        "--by", action="append", default=[], metavar="FIELD", help="also by a field of the problems (skill, language)"
    )
    parser.add_argument(
        "--seeds", type=typed(parse_count), default=1, metavar="N", help="where tokens are drawn: N seeds each"
    )
    parser.add_argument(
        "--parallel", type=typed(parse_count), metavar="N", help="problems at once (8), each with all its thoughts"
    )
    parser.add_argument("--max-answer", type=typed(parse_count), metavar="N", help="most answer tokens")
    parser.add_argument("--system", metavar="TEXT", help="what the model is told before the question")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_model_options(parser)
    add_sampling_options(parser)


def _add_budget(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    budget = commands.add_parser("budget", help="accuracy and cost at each thinking budget")
    budget.add_argument(
        "--budgets", type=_budgets, default=_budgets(_BUDGETS), metavar="LIST", help=f"default: {_BUDGETS}"
    )
    budget.add_argument(
        "--method",
        dest="methods",
        metavar="LIST",
        help="ways of ending a thought, side by side: cut,message,soft,probe,votes:K,auto",
    )
    budget.add_argument("--plot", metavar="DIR", help="also draw the curves, as PNG and SVG in this folder")
    _add_asking(budget)
    budget.set_defaults(run=run_budget)


def _add_continue(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    going_on = commands.add_parser("continue", help="go on from thoughts that are put in by force")
    going_on.add_argument(
        "--then", metavar="TEXT", help="think freely, put TEXT (\\n: a new line) behind the thought, go on"
    )
    going_on.add_argument(
        "--budget", type=typed(parse_budget), default=argparse.SUPPRESS, metavar="N|unlimited", help="thinking tokens"
    )
    _add_asking(going_on)
    going_on.set_defaults(run=run_continue)


def _counts(text: str) -> tuple[int, ...]:
    return tuple(typed(parse_count)(part.strip()) for part in text.split(","))


def _budgets(text: str) -> tuple[int | None, ...]:
    found = [typed(parse_budget)(part.strip()) for part in text.split(",")]
    return tuple(dict.fromkeys(found))


def _progress() -> Callable[[str], None]:
    """Says on stderr what is being done, if a terminal is there to show it."""
    shown = sys.stderr is not None and sys.stderr.isatty()

    def tell(line: str) -> None:
        if shown:
            print(line, file=sys.stderr, flush=True)

    return tell


def run_speed(arguments: argparse.Namespace) -> int:
    """Measure the speed of one file."""
    from models.json_output import print_json
    from runtime.bench import speed
    from runtime.opening import find_checked, speed_record
    from runtime.pace import Speed

    settings = load_settings()
    entry = find_checked(chosen(arguments, settings, "model"))
    threads = chosen(arguments, settings, "threads")
    found = speed.measure(entry.path, arguments.depth, arguments.batch, threads=threads, progress=_progress())
    widths = {int(count): width for count, width in found["widths"].items()}
    speed_record(entry, threads, settings.gpu_layers).keep(Speed(found["prefill_tps"], found["decode_tps"]), widths)
    if arguments.json:
        print_json(found)
    else:
        print(_speed_table(found))
    return 0


def _speed_table(found: dict[str, Any]) -> str:
    from models.columns import table
    from models.plain_text import strip_controls

    rows = [
        ["MEASURE", "TOKENS/S"],
        ["prefill", f"{found['prefill_tps']:.1f}"],
        [f"decode at {found['depth']}", f"{found['decode_tps']:.1f}"],
        *([f"{count} at once", f"{speed:.1f}"] for count, speed in found["batch"].items()),
    ]
    head = f"{found['model']} on {found['device']}; Python takes {found['python_overhead_mb']} MB"
    return strip_controls(head) + "\n" + table(rows, right=True)


def run_peers(arguments: argparse.Namespace) -> int:
    """Measure beside the peers."""
    from models.columns import table
    from models.json_output import print_json
    from models.locations import cache_folder
    from runtime.bench import peers
    from runtime.opening import find_checked

    path = find_checked(arguments.model).path if arguments.model else None
    found: dict[str, Any] = peers.compare(
        path,
        cache_folder() / "peers",
        pairs=arguments.pairs,
        threads=chosen(arguments, load_settings(), "threads"),
        progress=_progress(),
    )
    if arguments.json:
        print_json(found)
        return _ending(arguments, found)
    rows = [["PEER", "MEASURE", "MODEL", "OURS", "THEIRS", "RATIO", "FROM", "TO"]]
    for row in found["rows"]:
        numbers = [f"{row[name]:.2f}" for name in ("ours", "theirs")]
        ratios = [f"{row[name]:.3f}" for name in ("ratio", "ratio_low", "ratio_high")]
        rows.append([row["peer"], row["measure"], row["model"], *numbers, *ratios])
    print(table(rows))
    return _ending(arguments, found)


def run_control(arguments: argparse.Namespace) -> int:
    """Measure decode speed with all rules of thinking control and without any."""
    from models.json_output import print_json
    from models.locations import cache_folder
    from runtime.bench import control
    from runtime.bench.random_model import QWEN3_0_6B, kept_random_model
    from runtime.opening import find_checked

    tell = _progress()
    control.require_sizes(arguments.pairs, arguments.tokens)  # before gigabytes are written for it
    if arguments.model:
        path = find_checked(arguments.model).path
    else:
        path = kept_random_model(cache_folder() / "peers", QWEN3_0_6B, "Q4_0", tell)
    found = control.measure(
        path,
        pairs=arguments.pairs,
        thinking=arguments.tokens,
        threads=chosen(arguments, load_settings(), "threads"),
        progress=tell,
    )
    if arguments.json:
        print_json(found)
    else:
        print(control.table_of(found))
    return 0


def run_budget(arguments: argparse.Namespace) -> int:
    """Measure accuracy and cost at each budget."""
    from models.json_output import print_json
    from runtime.bench.budget import compare_budgets
    from runtime.bench.budget_table import table_of
    from runtime.bench.methods import parse_methods
    from runtime.control.endings import default_endings
    from runtime.request import Endings

    settings = load_settings()
    problems = _problems(arguments)
    asked = parse_methods(arguments.methods, Endings())  # a name that is none is told before a model is opened
    folder = _picture_folder(arguments)
    with _asking(arguments, settings, len(problems), asked) as asking:
        advised = default_endings(asking.responder.facts)
        methods = parse_methods(arguments.methods, advised)
        found = compare_budgets(
            asking, problems, arguments.budgets, methods=methods, by=arguments.by, progress=_progress()
        )
    if arguments.json:
        print_json(found, flush=True)
    else:
        print(table_of(found), flush=True)
    if folder is not None and found["rows"]:  # last, so that what cannot be written takes nothing with it
        from runtime.bench.curves import draw_curves
        from runtime.bench.pictures import write_pictures

        write_pictures(folder, draw_curves(found))
    return _ending(arguments, found)


def _ending(arguments: argparse.Namespace, found: dict[str, Any]) -> int:
    """The exit code of a measuring that may have been broken off; the error that did so is told beside the table."""
    if "error" in found:
        if not arguments.json:
            print(f"{found['error']['title']}: {found['error']['detail']}", file=sys.stderr)
        return int(found["error"]["exit"])
    return InterruptedByUser.exit_code if found.get("interrupted") else 0


def _picture_folder(arguments: argparse.Namespace) -> Path | None:
    """Where pictures are wanted; that they can be is made sure of before anything is measured."""
    if arguments.plot is None:
        return None
    from runtime.bench.pictures import require_pictures

    folder = Path(arguments.plot).expanduser()
    require_pictures(folder)
    return folder


def run_continue(arguments: argparse.Namespace) -> int:
    """Measure what becomes of thoughts that were put in by force."""
    from models.json_output import print_json
    from runtime.bench.continuation import continue_thoughts, think_again
    from runtime.bench.continuation import table_of as show

    settings = load_settings()
    problems = _problems(arguments)
    budget = chosen(arguments, settings, "budget")
    if budget == 0:
        raise UsageError("A thought to go on from and the budget off exclude each other; give --budget N or unlimited.")
    with _asking(arguments, settings, len(problems)) as asking:
        if arguments.then is None:
            found = continue_thoughts(asking, problems, budget, by=arguments.by)
        else:
            text = arguments.then.replace("\\n", "\n").replace("\\t", "\t")
            found = think_again(asking, problems, text, budget, by=arguments.by)
    if arguments.json:
        print_json(found)
    else:
        print(show(found))
    return 0


def _problems(arguments: argparse.Namespace) -> list[Problem]:
    from models.locations import shipped_model
    from runtime.problems import require_problems

    default = shipped_model().with_name("problems.jsonl")
    if arguments.problems is None and not default.is_file():
        raise UsageError(f"Name a file of problems with --problems; the one that ships ({default}) is not here.")
    problems = require_problems(arguments.problems or str(default))[: arguments.limit]
    for field in arguments.by:
        if not any(field in problem.fields for problem in problems):
            known = sorted({name for problem in problems for name in problem.fields})
            raise UsageError(f"No problem has a field {field!r}; there are {', '.join(known)}.")
    return problems


def _asking(arguments: argparse.Namespace, settings: Settings, count: int, methods: Sequence[Method] = ()) -> Asking:
    from runtime.bench.asking import Asking

    votes = max((method.voting.count for method in methods if method.voting), default=1)
    thoughts = min(votes, AT_ONCE)
    verifiers: Sequence[Verifier] | None = None
    if any(method.ladder for method in methods):
        from runtime.ladder.rung import PLACES
        from runtime.verifiers.registry import choose

        verifiers = choose("auto")
        thoughts = max(thoughts, PLACES)
    probing = any(method.endings and method.endings.probing for method in methods)
    sequences = places_for(chosen(arguments, settings, "parallel"), count, thoughts)
    responder = open_responder(arguments, settings, sequences=sequences, spare=int(probing), votes=votes)
    return Asking(
        responder,
        sampling=make_samplings(arguments, settings, responder),
        seeds=arguments.seeds,
        system=chosen(arguments, settings, "system"),
        max_answer=chosen(arguments, settings, "max_answer"),
        verifiers=verifiers,
    )

"""`kangae calibrate`: the closing message, early exits and efforts that suit a model, kept for every front end."""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import UsageError, WriteError
from models.plural import counted
from runtime.commands.options import add_opening_options, chosen, make_samplings, open_responder, typed
from runtime.settings import Settings, load_settings, parse_count, parse_seed

if TYPE_CHECKING:
    from runtime.bench.asking import Asking
    from runtime.problems import Problem
    from runtime.profile.profile import Profile

_PROBLEMS = 48
_PROBLEMS_FILE = "problems.jsonl"


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `calibrate`."""
    parser = subparsers.add_parser(
        "calibrate",
        help="find what suits a model, and keep it",
        description="Measure a model on problems, choose its closing message, early exits, efforts and the answer's "
        "reserve, and keep them: whoever opens this file on this machine uses them. Flags win over them.",
    )
    parser.add_argument("model", metavar="MODEL", help="catalogue name, file or folder")
    parser.add_argument(
        "--problems",
        metavar="FILE",
        help=f'one {{"id","question","expected"}} a line; default: {_PROBLEMS_FILE} beside the model\'s file',
    )
    parser.add_argument(
        "-n", "--limit", type=typed(parse_count), default=_PROBLEMS, metavar="N", help=f"so many problems ({_PROBLEMS})"
    )
    parser.add_argument(
        "--seed", type=typed(parse_seed), default=0, metavar="N", help="which problems, and how tokens are drawn (0)"
    )
    parser.add_argument("--dry-run", action="store_true", help="measure and choose, but keep nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_opening_options(parser)
    parser.set_defaults(run=run, no_profile=True)  # what is measured must not stand on an older profile


def run(arguments: argparse.Namespace) -> int:
    """Measure, choose, print and keep; returns the exit code. Ctrl-C keeps nothing."""
    from models.json_output import print_json
    from runtime import opening
    from runtime.machine import probe
    from runtime.profile.calibrator import calibrate
    from runtime.profile.profile import Origin
    from runtime.profile.profile_store import require_profiles, save_profile

    settings = load_settings()
    source, problems = _problems(arguments)
    entry, sha256 = opening.find_hashed(arguments.model)
    if not arguments.dry_run:
        require_profiles()
    origin = Origin(
        model=entry.name,
        sha256=sha256,
        quant=entry.quant,
        machine=probe().device,
        problems=source,
        n=len(problems),
        seed=arguments.seed,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    with _asking(arguments, settings, len(problems)) as asking:
        profile = calibrate(asking, problems, origin, progress=_tell)
    path, refused = None, None
    if not arguments.dry_run:
        try:
            path = save_profile(profile)
        except WriteError as error:  # what was measured for so long is told all the same
            refused = error
    if arguments.json:
        print_json({"saved": None if path is None else str(path), "profile": asdict(profile)}, flush=True)
    else:
        print(profile_tables(profile), flush=True)
    if refused is not None:
        raise refused
    if not arguments.json:
        print("Nothing was kept (--dry-run)." if path is None else f"Kept in {path}.")
    return 0


def _problems(arguments: argparse.Namespace) -> tuple[str, list[Problem]]:
    """The file's path and what is asked from it: a sample by the seed, in the file's order."""
    from runtime.opening import find_runnable
    from runtime.problems import require_problems

    source = arguments.problems
    if source is None:
        entry = find_runnable(arguments.model)
        beside = entry.path.with_name(_PROBLEMS_FILE)
        if not beside.is_file():
            raise UsageError(
                f"No problems come with {entry.name} (there is no {beside}); name a file of them with --problems, one "
                '{"id", "question", "expected"} object a line.'
            )
        source = str(beside)
    problems = require_problems(source)
    count = min(arguments.limit, len(problems))
    drawn = sorted(random.Random(arguments.seed).sample(range(len(problems)), count))
    return source if source == "-" else str(Path(source).expanduser().absolute()), [problems[index] for index in drawn]


def _tell(line: str) -> None:
    """On stderr; that nobody reads it must not end a measurement."""
    from models.plain_text import strip_controls

    with contextlib.suppress(OSError, ValueError):
        print(strip_controls(line), file=sys.stderr, flush=True)


def profile_tables(profile: Profile) -> str:
    """What was chosen, and the runs it was chosen from, as tables for a terminal."""
    from models.columns import table
    from models.plain_text import json_line, strip_controls
    from runtime.bench.budget import show_budget

    efforts = profile.efforts
    shown = "by size" if efforts is None else " ".join(
        f"{name} {show_budget(tokens)}" for name, tokens in asdict(efforts).items()
    )  # fmt: skip
    message, trial = profile.closing_message, profile.confidence
    values = {
        "closing message": "the family's" if message is None else json_line(message),
        "efforts": shown,
        "trial answers": "off" if trial is None else f"confidence {trial:.2f}, {profile.agreeing} alike",
        "soft close": "off" if profile.margin is None else f"{profile.margin:.2f} nats",
        "ramp": "on" if profile.ramp else "off",
        "boundary": "sought before a budget's end" if profile.boundary else "not sought: closed at a budget's very end",
        "sure answer": "the default" if profile.sure is None else f"confidence {profile.sure:.4g}",
        "ladder": _low_rungs(profile.rungs),
        "answer's reserve": "the default" if profile.reserve is None else f"{profile.reserve} tokens",
    }
    chosen_rows = [["WHAT", "CHOSEN", "WHY"]]
    chosen_rows += [[name, value, profile.reasons.get(name, "")] for name, value in values.items()]
    chosen_rows.append(["least thought", f"{profile.least} tokens", "a quarter of the middle natural thought"])
    chosen_rows += [
        [name, "", profile.reasons[name]] for name in ("early exits", "problems") if name in profile.reasons
    ]
    runs = [["RUN", "SETTING", "BUDGET", "N", "ACCURACY", "95 %", "TOKENS", "THOUGHT"]]
    for row in profile.rows:
        low, high = row.ci
        runs.append(
            [
                row.stage, row.setting, show_budget(row.budget), str(row.n), f"{row.accuracy:.3f}",
                f"{low:.3f}-{high:.3f}", f"{row.tokens:.1f}", f"{row.thinking_tokens:.1f}",
            ]
        )  # fmt: skip
    origin = profile.origin
    head = f"{origin.model} {origin.quant} on {origin.machine}, {counted(origin.n, 'problem')}"
    return strip_controls("\n".join([head, "", table(chosen_rows), "", table(runs)]))


def _low_rungs(rungs: tuple[str, ...] | None) -> str:
    """The ladder's rungs below a whole thought, where no verifier can compute the answer again."""
    return "by size" if rungs is None else ", ".join((*rungs, "long", "votes"))


def _asking(arguments: argparse.Namespace, settings: Settings, count: int) -> Asking:
    from runtime.bench.asking import Asking

    sequences = min(count, chosen(arguments, settings, "parallel"))
    responder = open_responder(arguments, settings, sequences=sequences, spare=1)
    return Asking(
        responder,
        sampling=make_samplings(arguments, settings, responder),
        system=settings.system,
    )

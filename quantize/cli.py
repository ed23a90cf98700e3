"""`kangae quantize`: a model at fewer bits."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from models.json_output import print_json
from runtime.commands.options import typed
from runtime.settings import parse_count

if TYPE_CHECKING:
    from quantize.table import TableRow


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `quantize`; it sets `run`, a function of the parsed arguments to an exit code."""
    command = subparsers.add_parser(
        "quantize",
        help="a model at fewer bits",
        description="Write a model at fewer bits, by llama.cpp's own quantizer; or show what each type costs.",
    )
    command.add_argument("source", metavar="SOURCE", help="a catalogue name, or a GGUF file (F16, BF16 or F32)")
    what = command.add_mutually_exclusive_group(required=True)
    what.add_argument("--to", metavar="FORM", help="what to write: gguf:TYPE, as in gguf:Q4_K_M")
    what.add_argument(
        "--table", action="store_true", help="write all usual types and show size and accuracy side by side"
    )
    command.add_argument(
        "-o", "--output", metavar="OUT", help="the file or folder to write (default: here; table: out)"
    )
    command.add_argument("--force", action="store_true", help="replace a file that exists")
    command.add_argument(
        "--threads", type=typed(parse_count), default=0, metavar="N", help="CPU threads (default: all)"
    )
    command.add_argument("--problems", metavar="FILE", help="with --table: the problems (JSONL) to measure accuracy on")
    command.add_argument(
        "-n", "--limit", type=typed(parse_count), metavar="N", help="with --table: so many problems (200)"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(run=run_quantize)


def run_quantize(arguments: argparse.Namespace) -> int:
    """Write one form, or the table of all usual ones."""
    from models.errors import UsageError

    if arguments.table:
        return _run_table(arguments)
    if arguments.problems or arguments.limit:
        raise UsageError(
            "--problems and -n measure accuracy, which only --table does; leave them out, or give --table."
        )
    from models.cli import human_bytes, printable
    from quantize.gguf import open_master, output_path, quantize_gguf, type_number

    kind, _, quant = arguments.to.partition(":")
    if kind.lower() != "gguf" or not quant:
        raise UsageError(f"--to {arguments.to} is unknown; this version writes gguf:TYPE, as in --to gguf:Q4_K_M.")
    name, _ = type_number(quant)
    entry = open_master(arguments.source)
    target = output_path(entry, name, arguments.output)
    with _Progress(f"{entry.name} → {name}") as progress:
        done = quantize_gguf(
            entry, name, target, force=arguments.force, threads=arguments.threads, progress=progress.share
        )
    if arguments.json:
        print_json(done.as_json())
        return 0
    print(
        f"{printable(str(done.file))}: {human_bytes(done.bytes)} ({done.bits_per_weight:.2f} bits per weight), "
        f"from {human_bytes(entry.bytes)}, in {done.seconds:.1f} s"
    )
    if done.fell_back:
        print("Rows that are no multiple of 256 took a type of smaller blocks.", file=sys.stderr)
    return 0


def _run_table(arguments: argparse.Namespace) -> int:
    from models.cli import printable
    from quantize.table import TableSettings, make_table

    settings = TableSettings(
        source=arguments.source,
        folder=arguments.output or "out",
        force=arguments.force,
        threads=arguments.threads,
        problems=arguments.problems,
        count=arguments.limit or 200,
    )
    with _Progress("") as progress:
        rows = make_table(settings, progress.step)
    if arguments.json:
        print_json({"rows": [row.as_json() for row in rows]})
        return 0
    print(_table_text(rows))
    print(f"n = {rows[0].problems}; the interval is 95 %. Files: {printable(str(rows[0].file.parent))}")
    return 0


def _table_text(rows: list[TableRow]) -> str:
    from models.cli import human_bytes, table

    lines = [["TYPE", "SIZE", "BYTES", "BITS/WEIGHT", "ACCURACY", "INTERVAL", "THOUGHT"]]
    for row in rows:
        low, high = row.interval
        lines.append(
            [
                row.form.removeprefix("gguf:"),
                human_bytes(row.bytes),
                f"{row.bytes:,}",
                f"{row.bits_per_weight:.2f}",
                f"{row.accuracy:.1%}",
                f"{low:.1%} … {high:.1%}",
                f"{row.thinking_tokens:.0f} tokens",
            ]
        )
    return table(lines)


class _Progress:
    """One line on stderr, on a terminal only, cleared at the end."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._terminal = sys.stderr.isatty()
        self._start = time.monotonic()

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._write("")

    def share(self, done: float) -> None:
        """How much is done, 0 to 1."""
        self._write(f"{self._label}: {done:.0%}, {time.monotonic() - self._start:.0f} s")

    def step(self, text: str) -> None:
        """What is being done."""
        self._write(text)

    def _write(self, text: str) -> None:
        if self._terminal:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()

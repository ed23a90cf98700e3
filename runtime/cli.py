"""The commands of this folder: `ask`, `bench`, `calibrate`, `sessions`, `doctor`, `config`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable

from runtime.commands import ask, bench, calibrate, config, doctor, sessions

Extension = Callable[["argparse._SubParsersAction[argparse.ArgumentParser]"], None]


def add_commands(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser], *, bench_extensions: Iterable[Extension] = ()
) -> None:
    """Register them; each sets `run`, a function of the parsed arguments to an exit code.

    `bench_extensions`: benchmarks of folders that this one does not know, each given the sub-parsers of `bench`.
    """
    for commands in (ask, calibrate, sessions, doctor, config):
        commands.add_commands(subparsers)
    benchmarks = bench.add_commands(subparsers)
    for extend in bench_extensions:
        extend(benchmarks)

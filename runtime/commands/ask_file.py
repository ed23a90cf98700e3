"""`kangae ask --file`: many questions, answered together, told in the order of the file."""

from __future__ import annotations

import argparse
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from models.errors import InterruptedByUser, KangaeError, MissingPackageError
from runtime.commands.ask import error_of, make_request, tell_stopped
from runtime.commands.interrupt import CancelOnInterrupt
from runtime.commands.keep import Keeper
from runtime.commands.options import chosen, make_sampling, open_responder
from runtime.events import Done, Failed
from runtime.matching import is_correct
from runtime.plain_text import json_line
from runtime.problems import BadLine, Problem, read_problems
from runtime.responder import Control

if TYPE_CHECKING:
    from runtime.reply import Reply
    from runtime.request import Budget
    from runtime.settings import Settings


def answer_file(arguments: argparse.Namespace, settings: Settings, budget: Budget, system: str) -> int:
    """Answer all good lines; a bad one gives an error object in its place. Exit 1 if there was any; 130: Ctrl-C."""
    lines = read_problems(arguments.file)
    results: dict[int, Reply | KangaeError] = {
        index: line.error for index, line in enumerate(lines) if isinstance(line, BadLine)
    }
    good = [(index, line) for index, line in enumerate(lines) if isinstance(line, Problem)]
    printer = _InOrder(lines)
    control = Control()
    kept: list[Reply] = []
    try:
        _answer(arguments, settings, budget, system, good, results, printer, control, kept)
    finally:  # also where the output broke off, or the engine
        model = kept[0].model.name if kept else ""
        title = f"File {arguments.file}"
        keeper = Keeper(settings, wanted=not arguments.no_store, title=title, system=system, model=model)
        code = keeper.keep(kept)
    if control.cancelled:
        tell_stopped()
        return InterruptedByUser.exit_code
    return 1 if any(isinstance(result, KangaeError) for result in results.values()) else code


def _answer(
    arguments: argparse.Namespace,
    settings: Settings,
    budget: Budget,
    system: str,
    good: list[tuple[int, Problem]],
    results: dict[int, Reply | KangaeError],
    printer: _InOrder,
    control: Control,
    kept: list[Reply],
) -> None:
    """Answer the good lines; what was printed is added to `kept` at once."""
    if good:
        sequences = min(len(good), chosen(arguments, settings, "parallel"))
        responder = open_responder(arguments, settings, sequences=sequences)
        try:
            with CancelOnInterrupt(control):
                sampling = make_sampling(arguments, settings, responder, thinking=not budget.off)
                requests = [
                    make_request(line.question, system, budget, sampling, line.id or uuid.uuid4().hex)
                    for _, line in good
                ]
                for event in responder.respond_many(requests, control):
                    if isinstance(event, Done | Failed):
                        index, line = good[event.branch]
                        results[index] = _judged(event.reply, line) if isinstance(event, Done) else event.error
                        kept.extend(printer.tell(results))
        finally:
            responder.close()
    kept.extend(printer.tell(results, gaps=control.cancelled))


def _judged(reply: Reply, problem: Problem) -> Reply | KangaeError:
    """The reply with `expected` and `correct` where they apply."""
    if reply.finish == "error":
        return error_of(reply)
    if problem.expected is None:
        return reply
    try:
        correct = is_correct(reply.answer, problem.expected, problem.check)
    except MissingPackageError as error:
        return error
    return replace(reply, expected=problem.expected, correct=correct)


class _InOrder:
    """Prints results as soon as all before them are there."""

    def __init__(self, lines: list[Problem | BadLine]) -> None:
        self._lines = lines
        self._next = 0

    def tell(self, results: dict[int, Reply | KangaeError], *, gaps: bool = False) -> list[Reply]:
        """Print what can be printed now; returns the replies among it. `gaps`: no more will come, pass over holes."""
        told: list[Reply] = []
        for index in self._ready(results, gaps=gaps):
            result = results[index]
            if isinstance(result, KangaeError):
                sys.stdout.write(json_line(_error_object(self._lines[index], result)) + "\n")
            elif result.finish != "cancelled" or result.thinking or result.answer:
                sys.stdout.write(json_line(result.as_json()) + "\n")
                told.append(result)
        sys.stdout.flush()
        return told

    def _ready(self, results: dict[int, Reply | KangaeError], *, gaps: bool) -> Iterator[int]:
        while self._next < len(self._lines) and (gaps or self._next in results):
            self._next += 1
            if self._next - 1 in results:
                yield self._next - 1


def _error_object(line: Problem | BadLine, error: KangaeError) -> dict[str, Any]:
    return {**({"id": line.id} if line.id else {}), **error.as_json()}

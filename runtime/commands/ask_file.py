"""`kangae ask --file`: many questions, answered together, told in the order of the file."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from models.errors import FLAGGED, InterruptedByUser, KangaeError, MissingPackageError, UsageError
from models.plain_text import json_line
from runtime.commands.ask import climbs, error_of, make_request, tell_stopped
from runtime.commands.interrupt import CancelOnInterrupt
from runtime.commands.keep import Keeper
from runtime.commands.options import chosen, make_sampling, open_responder
from runtime.commands.output import write_out
from runtime.events import Done, Failed
from runtime.matching import is_correct
from runtime.problems import Problem, parse_problem, read_lines
from runtime.request import LADDER_VOTES
from runtime.responder import Control

if TYPE_CHECKING:
    from runtime.reply import Reply
    from runtime.request import Budget
    from runtime.settings import Settings
    from runtime.verifiers.verifier import Verifier


def answer_file(
    arguments: argparse.Namespace, settings: Settings, budget: Budget, system: str, verifiers: Sequence[Verifier]
) -> int:
    """Answer all good lines; a bad one gives an error object in its place. Exit 1 if there was any; 8 if a check
    failed; 130: Ctrl-C."""
    lines = _read(arguments.file)
    results: dict[int, Reply | KangaeError] = {
        index: line.content for index, line in enumerate(lines) if isinstance(line.content, KangaeError)
    }
    good = [(index, line.content) for index, line in enumerate(lines) if isinstance(line.content, Problem)]
    printer = _InOrder(lines)
    control = Control()
    kept: list[Reply] = []
    try:
        _answer(arguments, settings, budget, system, verifiers, good, results, printer, control, kept)
    finally:  # also where the output broke off, or the engine
        model = kept[0].model.name if kept else ""
        title = f"File {arguments.file}"
        keeper = Keeper(settings, wanted=not arguments.no_store, title=title, system=system, model=model)
        code = keeper.keep(kept)
    if control.cancelled:
        tell_stopped()
        return InterruptedByUser.exit_code
    if any(isinstance(result, KangaeError) for result in results.values()):
        return 1
    doubtful = any(flag.startswith(("verify: ", "unsure: ")) for reply in kept for flag in reply.flags)
    return code or (FLAGGED if doubtful else 0)


@dataclass(frozen=True)
class _Line:
    """A line of the file that is not blank; `number` counts from 1, `given_id` is the id as it stands there, if any."""

    number: int
    given_id: str | int | float | None
    content: Problem | KangaeError

    def id_field(self) -> dict[str, Any]:
        """The field `id` of the line's object, of the type that it was given in; a problem without one is numbered."""
        if self.given_id is not None:
            return {"id": self.given_id}
        return {"id": self.content.id} if isinstance(self.content, Problem) else {}


def _read(source: str) -> list[_Line]:
    """All lines in order, the bad ones among them. Raises UsageError if there are none, or they cannot be read."""
    lines = [_line(number, text) for number, text in read_lines(source)]
    if not lines:
        raise UsageError(f'The file {source} is empty; give one {{"id", "question"}} object a line.')
    return lines


def _line(number: int, text: str) -> _Line:
    try:
        problem = parse_problem(text, number)
    except KangaeError as error:
        return _Line(number, _id_in(text), error)
    return _Line(number, _usable_id(problem.fields.get("id")), problem)


def _id_in(text: str) -> str | int | float | None:
    """The id that a bad line gave all the same."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return _usable_id(value.get("id")) if isinstance(value, dict) else None


def _usable_id(given: object) -> str | int | float | None:
    """Text or a number, and nothing that JSON could not hold again."""
    if isinstance(given, bool) or not isinstance(given, str | int | float) or given == "":
        return None
    return given if not isinstance(given, float) or math.isfinite(given) else None


def _answer(
    arguments: argparse.Namespace,
    settings: Settings,
    budget: Budget,
    system: str,
    verifiers: Sequence[Verifier],
    good: list[tuple[int, Problem]],
    results: dict[int, Reply | KangaeError],
    printer: _InOrder,
    control: Control,
    kept: list[Reply],
) -> None:
    """Answer the good lines; what was printed is added to `kept` at once."""
    if good:
        votes = arguments.votes
        votes_at_once = LADDER_VOTES if climbs(arguments) else votes
        sequences = min(len(good) * votes_at_once, max(votes_at_once, chosen(arguments, settings, "parallel")))
        ladder = verifiers if climbs(arguments) else None
        responder = open_responder(arguments, settings, sequences=sequences, votes=votes, ladder=ladder)
        verifiers = () if ladder is not None else verifiers
        try:
            with CancelOnInterrupt(control):
                sampling = make_sampling(arguments, settings, responder, thinking=not budget.off)
                requests = [
                    replace(
                        make_request(problem.question, system, budget, sampling, problem.id, votes=votes),
                        verifier_options=problem.verifier_options,
                    )
                    for _, problem in good
                ]
                for event in responder.respond_many(requests, control):
                    if isinstance(event, Done | Failed):
                        index, problem = good[event.branch]
                        results[index] = (
                            _judged(event.reply, problem, verifiers, budget.seconds)
                            if isinstance(event, Done)
                            else event.error
                        )
                        kept.extend(printer.tell(results))
                        if printer.hung_up:
                            control.cancel()
        finally:
            responder.close()
    kept.extend(printer.tell(results, gaps=control.cancelled))


def _judged(
    reply: Reply, problem: Problem, verifiers: Sequence[Verifier], deadline: float | None
) -> Reply | KangaeError:
    """The reply with `checks`, judged within the `deadline`, `expected` and `correct` where they apply."""
    if reply.finish == "error":
        return error_of(reply)
    if verifiers and reply.finish != "cancelled":
        from runtime.verification import verified

        seconds = None if deadline is None else deadline - reply.timings.total_s
        reply = verified(reply, verifiers, options=problem.verifier_options, seconds=seconds)
    if problem.expected is None:
        return reply
    try:
        correct = is_correct(reply.answer, problem.expected, problem.check)
    except MissingPackageError as error:
        return error
    return replace(reply, expected=problem.expected, correct=correct)


class _InOrder:
    """Prints results as soon as all before them are there. `hung_up`: the terminal was closed; nobody reads them."""

    def __init__(self, lines: list[_Line]) -> None:
        self._lines = lines
        self._next = 0
        self.hung_up = False

    def tell(self, results: dict[int, Reply | KangaeError], *, gaps: bool = False) -> list[Reply]:
        """Print what can be printed now; returns the replies among it. `gaps`: no more will come, pass over holes."""
        told: list[Reply] = []
        for index in self._ready(results, gaps=gaps):
            line, result = self._lines[index], results[index]
            if isinstance(result, KangaeError):
                self._print(_error_object(line, result))
            elif result.finish != "cancelled" or result.thinking or result.answer:
                self._print({**result.as_json(), **line.id_field()})
                told.append(result)
        return told

    def _print(self, value: dict[str, Any]) -> None:
        self.hung_up |= not write_out(json_line(value) + "\n")

    def _ready(self, results: dict[int, Reply | KangaeError], *, gaps: bool) -> Iterator[int]:
        while self._next < len(self._lines) and (gaps or self._next in results):
            self._next += 1
            if self._next - 1 in results:
                yield self._next - 1


def _error_object(line: _Line, error: KangaeError) -> dict[str, Any]:
    told: Any = error.as_json()["error"]
    return {**line.id_field(), "error": {**told, "line": line.number}}

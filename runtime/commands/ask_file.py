"""`kangae ask --file`: many questions, answered together, told in the order of the file."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from models.errors import FLAGGED, InterruptedByUser, KangaeError, MissingPackageError, UsageError
from models.plain_text import json_line, shorten
from models.plural import counted
from runtime.answers.mathematics import is_correct_in_time
from runtime.commands.ask import climbs, make_request
from runtime.commands.interrupt import CancelOnInterrupt
from runtime.commands.keep import Keeper
from runtime.commands.options import chosen, make_sampling, open_responder, settled
from runtime.commands.output import write_out
from runtime.commands.reply_end import ended_at_once, fault_of, tell, tell_stopped
from runtime.events import Done, Failed
from runtime.judges import Judges
from runtime.problems import EXAMPLE, Problem, parse_problem, read_lines
from runtime.responder import Control
from runtime.verification import doubts, judged, record_of
from runtime.vote_limits import places_for

if TYPE_CHECKING:
    from runtime.commands.verify_options import Judging
    from runtime.reply import Reply
    from runtime.request import Budget, Request
    from runtime.settings import Settings
    from runtime.verifiers.verifier import Verifier


def answer_file(
    arguments: argparse.Namespace, settings: Settings, budget: Budget, system: str, judging: Judging
) -> int:
    """Answer all good lines; one that is bad, or that the deadline left without an answer, gives an error object in its
    place. Exit 1 if there was any, and stderr tells how many; 8 if a check failed; 130: Ctrl-C. Raises
    InterruptedByUser for a second one."""
    lines = _with_own_ids(_read(arguments.file))
    results: dict[int, Reply | KangaeError] = {
        index: line.content for index, line in enumerate(lines) if isinstance(line.content, KangaeError)
    }
    good = [(index, line.content) for index, line in enumerate(lines) if isinstance(line.content, Problem)]
    printer = _InOrder(lines, judging.verifiers)
    control = Control()
    kept: list[Reply] = []
    keeper: Keeper | None = None
    try:
        try:
            _answer(arguments, settings, budget, system, judging, good, results, printer, control, kept)
        finally:  # also where the output broke off, or the engine
            model = kept[0].model.name if kept else ""
            title = f"File {arguments.file}"
            keeper = Keeper(settings, wanted=not arguments.no_store, title=title, system=system, model=model)
            code = keeper.keep(kept)
    except KeyboardInterrupt:
        session = None if keeper is None else keeper.session
        raise ended_at_once(produced=bool(kept), kept=session is not None) from None
    if control.cancelled:
        tell_stopped(produced=bool(kept), kept=keeper.session is not None)
        return InterruptedByUser.exit_code
    failed = [result for _, result in sorted(results.items()) if isinstance(result, KangaeError)]
    if failed:
        tell([_failures(failed, len(lines))])
        return 1
    return code or (FLAGGED if any(map(doubts, kept)) else 0)


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


def _with_own_ids(lines: Iterable[_Line]) -> list[_Line]:
    """The lines, where one that gives the id of a line before it is a bad one without an id: nobody could tell their
    replies apart. Text is no number."""
    numbers: dict[tuple[type, object], int] = {}
    found: list[_Line] = []
    for line in lines:
        given = line.id_field().get("id")
        before = line.number if given is None else numbers.setdefault((type(given), given), line.number)
        found.append(line if before == line.number else replace(line, given_id=None, content=_shared(line, before)))
    return found


def _shared(line: _Line, before: int) -> KangaeError:
    """What is wrong with a line whose id the line `before` has; what was wrong with it already comes first."""
    if isinstance(line.content, KangaeError):
        return line.content
    given = shorten(json.dumps(line.id_field()["id"], ensure_ascii=False), 60)
    known = "" if line.given_id is not None else " (a line without an id is called by its number)"
    return UsageError(
        f"Lines {before} and {line.number} share the id {given}{known}; give each line its own, so that its reply can "
        "be told."
    )


def _failures(failed: Sequence[KangaeError], total: int) -> str:
    """How many lines failed, and why the first one did."""
    return f"{len(failed)} of {counted(total, 'question')} failed: {failed[0].detail}"


def _read(source: str) -> list[_Line]:
    """All lines in order, the bad ones among them. Raises UsageError if there are none, or they cannot be read."""
    lines = [_line(number, text) for number, text in read_lines(source)]
    if not lines:
        raise UsageError(f"The file {source} is empty; each line is one object, as {EXAMPLE}")
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
    judging: Judging,
    good: list[tuple[int, Problem]],
    results: dict[int, Reply | KangaeError],
    printer: _InOrder,
    control: Control,
    kept: list[Reply],
) -> None:
    """Answer the good lines; what was printed is added to `kept` at once."""
    if good:
        from runtime.ladder.rung import PLACES

        votes = arguments.votes
        ladder = judging.verifiers if climbs(arguments) else None
        places = places_for(chosen(arguments, settings, "parallel"), len(good), votes if ladder is None else PLACES)
        responder = open_responder(arguments, settings, sequences=places, votes=votes, ladder=ladder)
        try:
            with CancelOnInterrupt(control), Judges["Reply | KangaeError"](lambda: control.cancelled) as judges:
                budget = settled(budget, arguments, responder)
                verdicts = _Verdicts(() if ladder is not None else judging.verifiers, budget)
                sampling = make_sampling(arguments, settings, responder, thinking=not budget.off)
                requests = [
                    replace(
                        make_request(problem.question, system, budget, sampling, problem.id, votes=votes),
                        verifier_options=judging.options_for(problem.verifier_options),
                    )
                    for _, problem in good
                ]

                def tell(found: Iterable[tuple[int, Reply | KangaeError]]) -> None:
                    for index, result in found:
                        results[index] = result
                        kept.extend(printer.tell(results))
                        if printer.hung_up:
                            control.cancel()

                for event in responder.respond_many(requests, control):
                    if isinstance(event, Failed):
                        tell([(good[event.branch][0], event.error)])
                    elif isinstance(event, Done):
                        index, problem = good[event.branch]
                        judgement = verdicts.of(event.reply, problem, requests[event.branch], judges.stopped)
                        if verdicts.takes_long(problem):
                            judges.begin(index, judgement)
                        else:
                            tell([(index, judgement())])
                    tell(judges.ready())
                tell(judges.rest())
        finally:
            responder.close()
    kept.extend(printer.tell(results, gaps=control.cancelled))


class _Verdicts:
    """What becomes of a reply: `checks` by the verifiers, within the deadline, `expected` and `correct` where they
    apply; an error where there is no answer for the deadline."""

    def __init__(self, verifiers: Sequence[Verifier], budget: Budget) -> None:
        self._verifiers = verifiers
        self._budget = budget

    def takes_long(self, problem: Problem) -> bool:
        """Whether the decoding should not wait for it."""
        return bool(self._verifiers) or problem.check != "text"

    def of(
        self, reply: Reply, problem: Problem, request: Request, stopped: Callable[[], bool]
    ) -> Callable[[], Reply | KangaeError]:
        """What judges this reply, and may be called by another thread; `stopped`: nobody waits for it any more."""
        came = time.perf_counter()

        def judgement() -> Reply | KangaeError:
            fault = fault_of(reply)
            if fault is not None:
                return fault
            waited = time.perf_counter() - came
            options, seconds = request.verifier_options, self._budget.seconds
            found = judged(reply, self._verifiers, seconds, options=options, waited=waited, stopped=stopped)
            if problem.expected is None:
                return found
            try:
                correct = is_correct_in_time(found.answer, problem.expected, problem.check)
            except MissingPackageError as error:
                return error
            return replace(found, expected=problem.expected, correct=correct)

        return judgement


class _InOrder:
    """Prints results as soon as all before them are there. `hung_up`: the terminal was closed; nobody reads them."""

    def __init__(self, lines: list[_Line], verifiers: Sequence[Verifier]) -> None:
        self._lines = lines
        self._verifiers = verifiers
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
                self._print({**record_of(result, self._verifiers), **line.id_field()})
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

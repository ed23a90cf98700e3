"""Whether deadlines are kept: many replies under several deadlines, asked as `kangae ask --deadline` asks.

    python scripts/deadline_trial.py             a model of random weights in Qwen3-0.6B's shape, which thinks on and on
    python scripts/deadline_trial.py --shipped   the shipped model, at shares of the time it takes by itself
    python scripts/deadline_trial.py --cancel    how soon a cancel in the midst of a long prefill ends a reply

Late is what comes more than 100 ms or 2 % of the deadline behind it, whichever is more; a refusal, too, may be late.
The exit code is 1 if anything was.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from deadline_runs import Measured, Run, Setting, cancels_row, summed, written
from models.columns import table
from models.errors import CannotMeetError, InterruptedByUser, KangaeError, UsageError
from runtime.commands.ask import make_request
from runtime.commands.interrupt import CancelOnInterrupt
from runtime.commands.options import typed
from runtime.commands.reply_end import fault_of
from runtime.events import Done, Progress
from runtime.problems import require_problems
from runtime.reply import Reply
from runtime.request import Budget, Request, Sampling
from runtime.responder import Control, Responder
from runtime.settings import parse_count, parse_seconds

Clock = Callable[[], float]
Tell = Callable[[str], None]

_ROOT = Path(__file__).resolve().parent.parent
_SHIPPED = _ROOT / "models" / "tiny" / "kangae-tiny-Q8_0.gguf"
_PROBLEMS = _ROOT / "models" / "tiny" / "problems.jsonl"
_ENDLESS = 1_000_000
"""As `--min-thinking`: random weights open no thought by themselves, and none that is opened so closes of itself."""
_FILLER = "Machine 7 stood still at 10:42; the belt was changed, and 118 parts were sorted out. "
_SAMPLE = 400  # signs of filler by which tokens are counted
_BURN = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    for _ in range(1_000_000): pass"


# --- asking ---


def asked(responder: Responder, request: Request) -> Reply:
    """The reply, as `kangae ask` comes by it. Ctrl-C ends it and raises KeyboardInterrupt; a fault raises its error."""
    control = Control()
    reply: Reply | None = None
    with CancelOnInterrupt(control):
        for event in responder.respond(request, control):
            if isinstance(event, Done):
                reply = event.reply
    if reply is None or reply.finish == "cancelled":
        raise KeyboardInterrupt
    fault = fault_of(reply) if reply.finish == "error" else None  # one without an answer in time is a run, and counted
    if fault is not None:
        raise fault
    return reply


def timed(responder: Responder, request: Request, clock: Clock) -> Run:
    """One run under the request's deadline."""
    deadline = request.budget.seconds
    assert deadline is not None
    start = clock()
    try:
        reply = asked(responder, request)
    except CannotMeetError:
        return Run(deadline, clock() - start, refused=True)
    return Run(deadline, clock() - start, answer_tokens=reply.usage.answer_tokens, close=reply.close)


def asking(question: str, budget: Budget, sampling: Sampling | None = None) -> Request:
    return make_request(question, "", budget, sampling, uuid.uuid4().hex)


def prompts(responder: Responder) -> Callable[[int, int], str]:
    """Makes texts of about so many tokens, each with its number in front: the prefix cache helps with none of them."""
    sample = (_FILLER * (_SAMPLE // len(_FILLER) + 1))[:_SAMPLE]
    usage = asked(responder, asking(sample, Budget(tokens=0, answer_reserve=1))).usage

    def prompt(tokens: int, number: int) -> str:
        length = max(24, tokens * _SAMPLE // usage.prompt_tokens)
        return (f"{number} shifts were logged. " + _FILLER * (length // len(_FILLER) + 1))[:length].rstrip()

    return prompt


# --- what is measured ---


def measure_endless(
    responder: Responder,
    measured: Measured,
    *,
    deadlines: Sequence[float],
    lengths: Sequence[int],
    runs: int,
    tell: Tell,
    clock: Clock = time.perf_counter,
) -> None:
    """A thought that goes on for ever, under deadlines in seconds, behind prompts of so many tokens."""
    prompt, number = prompts(responder), itertools.count(1)
    for length in lengths:
        for deadline in deadlines:
            found = measured.setdefault(Setting(f"{deadline:g} s", length), [])
            for run in range(1, runs + 1):
                tell(f"{deadline:g} s, {length} prompt tokens: {run} of {runs}")
                budget = Budget(seconds=deadline, minimum=_ENDLESS)
                drawn = Sampling(temperature=1.0, seed=run)
                found.append(timed(responder, asking(prompt(length, next(number)), budget, drawn), clock))


def measure_shipped(
    responder: Responder,
    measured: Measured,
    questions: Sequence[str],
    *,
    shares: Sequence[float],
    runs: int,
    tell: Tell,
    clock: Clock = time.perf_counter,
) -> None:
    """Questions at shares of the time that each takes without a deadline. They come in turn, so that the prefix cache
    of one place (and a spare one, for trial answers) holds no question when it comes again."""
    if len(set(questions)) < 3:
        raise UsageError("Give three problems or more: fewer would stand in the prefix cache when they come again.")
    own = [float("inf")] * len(questions)
    for attempt in range(2):  # the first one warms the machine up
        for index, question in enumerate(questions):
            tell(f"without a deadline: {attempt * len(questions) + index + 1} of {2 * len(questions)}")
            start = clock()
            asked(responder, asking(question, Budget()))
            own[index] = min(own[index], clock() - start)
    for share in shares:
        found = measured.setdefault(Setting(f"{share:g} × own"), [])
        for run in range(1, runs + 1):
            tell(f"{share:g} of its own time: {run} of {runs}")
            for question, seconds in zip(questions, own, strict=True):
                found.append(timed(responder, asking(question, Budget(seconds=share * seconds)), clock))


def cancel_once(responder: Responder, request: Request, part: float, clock: Clock = time.perf_counter) -> float | None:
    """Seconds from a cancel by another thread to the reply's end. The cancel comes `part` of a batch's time after the
    prefill's first batch; None where the prefill was over before."""
    control, seen, over = Control(), threading.Event(), threading.Event()
    began, batch, in_prefill = clock(), 0.0, True
    told: list[float] = []

    def cancel() -> None:
        seen.wait()
        if not over.wait(part * batch):
            told.append(clock())
            control.cancel()

    thread = threading.Thread(target=cancel, daemon=True)
    thread.start()
    finish, ended = "", began
    try:
        with CancelOnInterrupt(control):
            for event in responder.respond(request, control):
                if isinstance(event, Progress):
                    in_prefill = event.done < event.total
                    if event.done == event.cached:
                        began = clock()
                    elif in_prefill and not seen.is_set():
                        batch = clock() - began
                        seen.set()
                elif isinstance(event, Done):
                    finish = event.reply.finish
        ended = clock()
    finally:
        over.set()
        seen.set()
        thread.join()
    if finish == "cancelled" and not told:
        raise KeyboardInterrupt
    return ended - told[0] if finish == "cancelled" and in_prefill else None


def measure_cancels(responder: Responder, taken: list[float | None], *, length: int, runs: int, tell: Tell) -> None:
    """Cancels spread evenly over the time that a batch of a prefill of `length` tokens takes."""
    prompt = prompts(responder)
    for run in range(runs):
        tell(f"cancel {run + 1} of {runs}")
        request = asking(prompt(length, run + 1), Budget(minimum=_ENDLESS))
        taken.append(cancel_once(responder, request, (run + 0.5) / runs))


# --- the command ---


@contextlib.contextmanager
def burning(wanted: bool) -> Iterator[None]:
    """Keeps one core busy in a process of its own, which ends with this one."""
    process = subprocess.Popen([sys.executable, "-c", _BURN]) if wanted else None
    try:
        yield
    finally:
        if process is not None:
            process.kill()
            process.wait()


@contextlib.contextmanager
def opened(arguments: argparse.Namespace, tell: Tell) -> Iterator[Responder]:
    """The model that is meant; one of random weights is made on the spot and removed afterwards."""
    from runtime import machine, opening
    from runtime.bench.random_model import QWEN3_0_6B, make_random_model

    with tempfile.TemporaryDirectory(prefix="kangae-deadline-") as folder:
        path = arguments.model or (str(_SHIPPED) if arguments.shipped else None)
        if path is None:
            tell(f"making a model of random weights ({arguments.quant})")
            file = Path(folder) / f"random-0.6b-{arguments.quant}.gguf"
            path = str(make_random_model(file, QWEN3_0_6B, quant=arguments.quant, threads=machine.physical_cores()))
        tell("opening the model")
        responder = opening.open_model(path, context=arguments.context, threads=arguments.threads)
        try:
            yield responder
        finally:
            responder.close()


def spread(questions: Sequence[str], count: int) -> list[str]:
    """So many of them, evenly over all."""
    count = min(count, len(questions))
    return [questions[index * len(questions) // count] for index in range(count)]


def main(given: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    arguments = _parser().parse_args(given)
    measured: Measured = {}
    cancels: list[float | None] = []
    code = 0
    try:
        questions = spread([one.question for one in require_problems(str(_PROBLEMS))], arguments.problems)
        with burning(arguments.burn), opened(arguments, _tell) as responder:
            runs = arguments.runs
            if arguments.cancel:
                measure_cancels(responder, cancels, length=arguments.prefill, runs=runs, tell=_tell)
            elif arguments.shipped:
                measure_shipped(responder, measured, questions, shares=arguments.shares, runs=runs, tell=_tell)
            else:
                deadlines, lengths = arguments.deadlines, arguments.prompts
                measure_endless(responder, measured, deadlines=deadlines, lengths=lengths, runs=runs, tell=_tell)
    except KangaeError as error:
        print(f"{error.title}: {error.detail}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        print("Interrupted; what was measured follows.", file=sys.stderr)
        code = InterruptedByUser.exit_code
    rows = [summed(setting, runs) for setting, runs in measured.items() if runs]
    row = cancels_row(cancels, arguments.prefill) if cancels else None
    if arguments.json:
        print(json.dumps({"burn": arguments.burn, "rows": [dataclasses.asdict(one) for one in rows], "cancel": row}))
    else:
        if rows:
            print(written(rows))
        if row is not None:
            print(table([list(row), ["–" if value is None else str(value) for value in row.values()]], right=True))
    return code or int(any(one.late for one in rows) or (row is not None and row["worst_ms"] is None))


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--shipped", action="store_true", help="the shipped model on its own problems")
    mode.add_argument("--cancel", action="store_true", help="cancels during a long prefill")
    parser.add_argument("-m", "--model", metavar="FILE", help="another model than the one of this mode")
    parser.add_argument("--quant", default="Q8_0", help="form of the model that is made (Q8_0)")
    parser.add_argument("--runs", type=typed(parse_count), default=5, metavar="N", help="of each setting (5)")
    parser.add_argument("--deadlines", type=_list_of(parse_seconds), default=(2, 5, 10, 20), metavar="S,S")
    parser.add_argument("--prompts", type=_list_of(parse_count), default=(32, 1000), metavar="N,N", help="in tokens")
    parser.add_argument("--shares", type=_list_of(parse_seconds), default=(0.3, 0.6, 1.0), metavar="X,X")
    parser.add_argument("--problems", type=typed(parse_count), default=8, metavar="N", help="with --shipped (8)")
    parser.add_argument("--prefill", type=typed(parse_count), default=4000, metavar="N", help="with --cancel (4000)")
    parser.add_argument("--burn", action="store_true", help="another process keeps one core busy")
    parser.add_argument("--context", type=typed(parse_count), metavar="N", help="tokens of context")
    parser.add_argument("--threads", type=typed(parse_count), metavar="N")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _list_of(parse: Callable[[object], float]) -> Callable[[str], tuple[float, ...]]:
    convert = typed(parse)
    return lambda text: tuple(convert(part) for part in text.split(","))


if __name__ == "__main__":
    sys.exit(main())

"""`kangae ask`: one reply, streamed; or, with `--file`, one to each line of a file."""

from __future__ import annotations

import argparse
import contextlib
import sys
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

from models.errors import (
    FLAGGED,
    CannotMeetError,
    InternalError,
    InterruptedByUser,
    KangaeError,
    ResourceError,
    UsageError,
)
from models.plain_text import as_utf8, strip_controls
from runtime.commands.options import (
    add_budget_options,
    add_model_options,
    add_sampling_options,
    choose_minimum,
    choose_tokens,
    chosen,
    make_sampling,
    open_responder,
    typed,
)
from runtime.request import LADDER_VOTES
from runtime.settings import Settings, load_settings, parse_count

if TYPE_CHECKING:
    from runtime.reply import Reply
    from runtime.request import Budget, Request, Sampling
    from runtime.responder import Responder
    from runtime.verifiers.verifier import Verifier

_MOST_BYTES = 16 << 20
"""More is no question: an endless input must not fill the memory."""


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `ask`."""
    parser = subparsers.add_parser(
        "ask",
        help="one reply",
        description="Answer one question, or with --file many. The answer goes to stdout, the thinking to stderr. "
        "With --file, one JSON object a line goes to stdout, with or without --json.",
    )
    parser.add_argument(
        "question", nargs="?", metavar="QUESTION | -", help="the question; `-` or nothing: read it from standard input"
    )
    parser.add_argument(
        "--file",
        metavar="IN.jsonl",
        help='questions, one {"id","question"[,"expected"]} a line; prints one JSON object a line, in order',
    )
    parser.add_argument("--system", metavar="TEXT", help="what the model is told before the question")
    parser.add_argument("--json", action="store_true", help="print one JSON object, not a stream (--file always does)")
    parser.add_argument("--no-store", action="store_true", help="do not keep the reply in the sessions")
    parser.add_argument(
        "--votes", type=typed(parse_count), default=1, metavar="K", help="think K times at once, let the answers vote"
    )
    parser.add_argument(
        "--verify", default="none", metavar="none|auto|NAME", help="judge the answer; exit code 8 where it is in doubt"
    )
    parser.add_argument("--parallel", type=typed(parse_count), metavar="N", help="with --file: questions at once (8)")
    add_model_options(parser)
    parser.add_argument(
        "--ladder",
        action="store_true",
        help="no thought, a short one, a long one, votes: as far as an answer needs to stand; exit code 8 if none does",
    )
    add_budget_options(parser, ladder=True)
    add_sampling_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """The command; returns its exit code."""
    settings = load_settings()
    verifiers = _verifiers(arguments)
    budget = make_budget(arguments, settings)
    system = as_utf8(chosen(arguments, settings, "system"))
    if arguments.file is not None:
        if arguments.question is not None:
            raise UsageError("A question and --file were given; give the one or the other.")
        from runtime.commands.ask_file import answer_file

        return answer_file(arguments, settings, budget, system, verifiers)
    return _answer_one(arguments, settings, budget, system, _question(arguments.question), verifiers)


def _verifiers(arguments: argparse.Namespace) -> Sequence[Verifier]:
    """Those that the flag names; told before a model is opened if there are none of that name."""
    name = arguments.verify
    if climbs(arguments):
        if arguments.votes > 1:
            raise UsageError("The ladder has votes of its own; leave --votes out.")
        name = "auto" if name == "none" else name
    if name == "none":
        return ()
    from runtime.verifiers.registry import choose

    return choose(name)


def climbs(arguments: argparse.Namespace) -> bool:
    """Whether the ladder was asked for."""
    return bool(arguments.ladder or arguments.effort == "auto")


def make_budget(arguments: argparse.Namespace, settings: Settings) -> Budget:
    """The limits that the flags and settings name, checked."""
    from runtime.request import Budget, Sampling

    minimum = choose_minimum(arguments, settings)
    given = {name: chosen(arguments, settings, name) for name in ("temperature", "top_p", "top_k", "min_p")}
    Sampling(**{name: value for name, value in given.items() if value is not None})  # told before a model is opened
    tokens, effort = choose_tokens(arguments, settings)
    return Budget(
        tokens=tokens,
        effort=effort,
        seconds=chosen(arguments, settings, "deadline"),
        answer_reserve=chosen(arguments, settings, "max_answer"),
        minimum=minimum,
    )


def make_request(
    question: str, system: str, budget: Budget, sampling: Sampling | None, identity: str, *, votes: int = 1
) -> Request:
    """A request of one question."""
    from runtime.request import Message, Request, Voting

    messages = (Message("system", system),) if system else ()
    voting = Voting(votes) if votes > 1 else None
    return Request((*messages, Message("user", question)), budget, sampling, identity, voting=voting)


def error_of(reply: Reply) -> KangaeError:
    """Why a turn failed after it had begun: the flag holds `title: detail`."""
    told = next(iter(reply.flags), "The engine failed.")
    for kind in (CannotMeetError, ResourceError):
        if told.startswith(kind.title + ": "):
            return kind(told.removeprefix(kind.title + ": "))
    return InternalError(told)


def _question(given: str | None) -> str:
    if given is not None and given != "-":
        text = as_utf8(given)
    elif given is None and sys.stdin is not None and sys.stdin.isatty():
        raise UsageError(
            'Give a question, as in `kangae ask "What is 47 * 8?"`, or `-` to type it and end with Ctrl-D.'
        )
    else:
        data = sys.stdin.buffer.read(_MOST_BYTES + 1) if sys.stdin is not None else b""
        if len(data) > _MOST_BYTES:
            raise CannotMeetError(f"The question is longer than {_MOST_BYTES >> 20} MiB; shorten it.")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UsageError(f"Standard input is no UTF-8 text ({error.reason} at byte {error.start}).") from error
    if not text.strip():
        raise UsageError("The question is empty; give some text.")
    return text.strip()


def _answer_one(
    arguments: argparse.Namespace,
    settings: Settings,
    budget: Budget,
    system: str,
    question: str,
    verifiers: Sequence[Verifier],
) -> int:
    from runtime.request import Resumable

    ladder = verifiers if climbs(arguments) else None
    places = max(arguments.votes, LADDER_VOTES if climbs(arguments) else 1)
    responder = open_responder(arguments, settings, sequences=places, votes=arguments.votes, ladder=ladder)
    try:
        sampling = make_sampling(arguments, settings, responder, thinking=not budget.off)
        request = make_request(question, system, budget, sampling, uuid.uuid4().hex, votes=arguments.votes)
        if places == 1 and settings.store and not arguments.no_store:
            request = Resumable.of(request)
        return answer(arguments, settings, responder, request, verifiers, climbing=ladder is not None)
    finally:
        responder.close()


def answer(
    arguments: argparse.Namespace,
    settings: Settings,
    responder: Responder,
    request: Request,
    verifiers: Sequence[Verifier],
    *,
    climbing: bool = False,
    resumed: bool = False,
) -> int:
    """Ask, print, keep; returns the exit code. `climbing`: the responder judges by itself; `resumed`: the turn goes on,
    so of its thought only the rest is printed."""
    from runtime.commands.interrupt import CancelOnInterrupt
    from runtime.commands.stream import ReplyStream
    from runtime.events import Done, Progress, ThinkingDelta
    from runtime.responder import Control

    reply: Reply | None = None
    stream = None if arguments.json else ReplyStream()
    control, again = Control(), resumed
    with CancelOnInterrupt(control):
        try:
            for event in responder.respond(request, control):
                again = again and not isinstance(event, Progress)
                if isinstance(event, Done):
                    reply = event.reply
                    if stream is not None and (reply.votes or climbing):
                        stream.answer(reply.answer)
                elif stream is not None and not (again and isinstance(event, ThinkingDelta)):
                    stream.show(event)
                    if stream.hung_up:
                        control.cancel()
        finally:
            if stream is not None:
                stream.end()
        reply = reply if climbing else _judged(reply, verifiers, request.budget.seconds)
        system = next((one.content for one in request.messages if one.role == "system"), "")
        hung_up = stream is not None and stream.hung_up
        return _finish(arguments, settings, system, reply, hung_up=hung_up, resumed=resumed)


def _judged(reply: Reply | None, verifiers: Sequence[Verifier], deadline: float | None) -> Reply | None:
    """The reply with its checks, within the `deadline`, if it has an answer."""
    if reply is None or not verifiers or reply.finish not in ("stop", "length"):
        return reply
    from runtime.verification import verified

    previous = [vote.answer for vote in reply.votes if vote.weight > 0]
    if reply.answer in previous:
        previous.remove(reply.answer)
    seconds = None if deadline is None else deadline - reply.timings.total_s
    return verified(reply, verifiers, previous=previous, seconds=seconds)


def _finish(
    arguments: argparse.Namespace, settings: Settings, system: str, reply: Reply | None, *, hung_up: bool, resumed: bool
) -> int:
    """Print and keep a whole reply; the answer is printed before the store is touched. `hung_up`: nobody reads it;
    `resumed`: a part of it was kept before."""
    from models.plain_text import json_line
    from runtime.commands.keep import Keeper
    from runtime.commands.output import write_out
    from runtime.reply import LATE

    if reply is None:
        raise InternalError("The model ended without a reply.")
    if reply.finish == "error":
        raise error_of(reply)
    keeper = Keeper(
        settings, wanted=not arguments.no_store, title=reply.question, system=system, model=reply.model.name
    )
    try:
        hung_up |= not write_out(json_line(reply.as_json()) + "\n" if arguments.json else "")
    finally:
        code = keeper.keep([reply], resumed=resumed)
    if not reply.answer and any(flag.startswith(LATE) for flag in reply.flags):
        print("The deadline came before there was an answer; give more seconds.", file=sys.stderr)
        return CannotMeetError.exit_code
    if reply.finish != "cancelled" and not hung_up:
        doubts = _tell_doubts(reply, json=arguments.json)
        if arguments.verify not in ("none", "auto") and not reply.checks:
            print(f"The verifier {arguments.verify} has nothing to say of this answer.", file=sys.stderr)
        return code or doubts
    if not arguments.json:
        tell_stopped(_name_of_kept(reply, keeper.session))
    return InterruptedByUser.exit_code


def _name_of_kept(reply: Reply, session: str | None) -> str | None:
    """By what the turn can be gone on with; None: it is not kept."""
    from runtime.turn.kept_turns import KeptTurns

    try:
        return (session or reply.id) if KeptTurns().has(reply.id) else None
    except KangaeError:
        return None


def _tell_doubts(reply: Reply, *, json: bool) -> int:
    """Say on stderr which checks failed; the exit code of an answer that is flagged, or 0."""
    doubts = [flag for flag in reply.flags if flag.startswith(("verify: ", "unsure: "))]
    for flag in () if json else doubts:
        print(strip_controls(f"Doubtful: {flag.partition(': ')[2]}"), file=sys.stderr)
    return FLAGGED if doubts else 0


def tell_stopped(name: str | None = None) -> None:
    """Say on stderr why there is no more, and by which name the turn can be gone on with."""
    more = "" if name is None else f" `kangae sessions resume {name}` goes on with it."
    with contextlib.suppress(OSError, ValueError):
        print(f"Interrupted; what was produced is kept.{more}", file=sys.stderr, flush=True)

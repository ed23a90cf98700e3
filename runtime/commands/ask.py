"""`kangae ask`: one reply, streamed; or, with `--file`, one to each line of a file."""

from __future__ import annotations

import argparse
import sys
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from models.errors import CannotMeetError, InternalError, InterruptedByUser, UsageError
from models.plain_text import as_utf8
from runtime.commands.options import (
    add_budget_options,
    add_model_options,
    add_sampling_options,
    choose_minimum,
    choose_tokens,
    chosen,
    make_sampling,
    open_responder,
    settled,
    typed,
)
from runtime.commands.reply_end import (
    ended_at_once,
    exit_code_of,
    fault_of,
    kept_session,
    resumable_name,
    tell,
    tell_end,
    tell_stopped,
)
from runtime.commands.verify_options import Judging, add_verify_options, chosen_judging
from runtime.problems import EXAMPLE
from runtime.settings import Settings, load_settings, parse_count
from runtime.vote_limits import AT_ONCE, MOST_VOTES, require_draws, require_votes

if TYPE_CHECKING:
    from runtime.reply import Reply
    from runtime.request import Budget, Request, Sampling
    from runtime.responder import Responder

_EXAMPLES = f"""examples:
  kangae ask "What is 47 * 8?"
  kangae ask "What is 47 * 8?" --budget 32 --verify arithmetic
  kangae ask --file questions.jsonl > replies.jsonl
where each line of questions.jsonl is one object, as
  {EXAMPLE}

exit codes: 0 done, 1 some lines of a file failed, 2 wrong usage, 3 no such
model, 7 a limit cannot be met, 8 an answer that is in doubt, 130 interrupted
(docs/cli.md has them all)
"""
_MOST_BYTES = 16 << 20
"""More is no question: an endless input must not fill the memory."""


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `ask`."""
    parser = subparsers.add_parser(
        "ask",
        help="answer one question, or a file of them",
        description="Answer one question, or with --file many. The answer goes to stdout, the\nthinking to stderr. "
        "With --file, one JSON object a line goes to stdout,\nwith or without --json.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "question", nargs="?", metavar="QUESTION | -", help="the question; `-` or nothing: read it from standard input"
    )
    parser.add_argument(
        "--file",
        metavar="IN.jsonl",
        help='questions, one object {"id","question"[,"expected"]} a line; prints one JSON object a line, in order',
    )
    parser.add_argument("--system", metavar="TEXT", help="what the model is told before the question")
    parser.add_argument("--json", action="store_true", help="print one JSON object, not a stream (--file always does)")
    parser.add_argument("--no-store", action="store_true", help="do not keep the reply in the sessions")
    parser.add_argument(
        "--parallel",
        type=typed(parse_count),
        metavar="N",
        help="with --file: questions at once (8), each with all its votes",
    )
    add_budget_options(parser, ladder=True)
    several = parser.add_argument_group("several thoughts on one question")
    several.add_argument(
        "--votes",
        type=typed(parse_count),
        default=1,
        metavar="K",
        help=f"think K times at once (at most {MOST_VOTES}), let the answers vote",
    )
    several.add_argument(
        "--ladder",
        action="store_true",
        help="no thought, a short one, a long one, votes: as far as an answer needs to stand; exit code 8 if none does",
    )
    add_verify_options(parser)
    add_model_options(parser)
    add_sampling_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """The command; returns its exit code."""
    settings = load_settings()
    judging = _judging(arguments)
    budget = make_budget(arguments, settings)
    system = as_utf8(chosen(arguments, settings, "system"))
    if arguments.file is not None:
        if arguments.question is not None:
            raise UsageError("A question and --file were given; give the one or the other.")
        from runtime.commands.ask_file import answer_file

        return answer_file(arguments, settings, budget, system, judging)
    return _answer_one(arguments, settings, budget, system, _question(arguments.question), judging)


def _judging(arguments: argparse.Namespace) -> Judging:
    """Who judges; told before a model is opened if there is no one of that name."""
    climbing = climbs(arguments)
    if climbing and arguments.votes > 1:
        raise UsageError("The ladder has votes of its own; leave --votes out.")
    require_votes(arguments.votes)
    return chosen_judging(arguments, climbing=climbing, lines=arguments.file is not None)


def climbs(arguments: argparse.Namespace) -> bool:
    """Whether the ladder was asked for."""
    return bool(arguments.ladder or arguments.effort == "auto")


def make_budget(arguments: argparse.Namespace, settings: Settings) -> Budget:
    """The limits that the flags and settings name, checked."""
    from runtime.request import Budget, Sampling

    minimum = choose_minimum(arguments, settings, climbing=climbs(arguments))
    given = {name: chosen(arguments, settings, name) for name in ("temperature", "top_p", "top_k", "min_p")}
    Sampling(**{name: value for name, value in given.items() if value is not None})  # told before a model is opened
    require_draws(arguments.votes, given)
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
    arguments: argparse.Namespace, settings: Settings, budget: Budget, system: str, question: str, judging: Judging
) -> int:
    from runtime.ladder.rung import PLACES
    from runtime.request import Resumable

    ladder = judging.verifiers if climbs(arguments) else None
    places = max(min(arguments.votes, AT_ONCE), PLACES if climbs(arguments) else 1)
    responder = open_responder(arguments, settings, sequences=places, votes=arguments.votes, ladder=ladder)
    try:
        budget = settled(budget, arguments, responder)
        sampling = make_sampling(arguments, settings, responder, thinking=not budget.off)
        request = make_request(question, system, budget, sampling, uuid.uuid4().hex, votes=arguments.votes)
        names = tuple(one.name for one in judging.verifiers)
        request = replace(request, verifiers=names, verifier_options=judging.options)
        if places == 1 and settings.store and not arguments.no_store:
            request = Resumable.of(request)
        return answer(arguments, settings, responder, request, judging, climbing=ladder is not None)
    finally:
        responder.close()


def answer(
    arguments: argparse.Namespace,
    settings: Settings,
    responder: Responder,
    request: Request,
    judging: Judging,
    *,
    climbing: bool = False,
    resumed: bool = False,
) -> int:
    """Ask, print, keep; returns the exit code. `climbing`: the responder judges by itself; `resumed`: the turn goes on,
    so its question and its thought so far are printed first. Raises InterruptedByUser for a second Ctrl-C."""
    from runtime.commands.interrupt import CancelOnInterrupt
    from runtime.commands.resume import end_of
    from runtime.commands.stream import ReplyStream
    from runtime.events import AnswerDelta, Done, ThinkingDelta
    from runtime.responder import Control
    from runtime.verification import judged
    from runtime.worker.warning_log import WarningLog

    reply: Reply | None = None
    produced = False
    stream = None if arguments.json else ReplyStream()
    warnings = None if stream is None else WarningLog(stream.note)  # else one breaks into the line of the answer
    control = Control()
    try:
        with CancelOnInterrupt(control):
            try:
                if warnings is not None:
                    warnings.begin()
                if stream is not None and resumed:
                    stream.note(request.question)
                for event in responder.respond(request, control):
                    produced = produced or isinstance(event, AnswerDelta | ThinkingDelta)
                    if isinstance(event, Done):
                        reply = event.reply
                        if stream is not None and (reply.votes or climbing):
                            stream.answer(reply.answer)
                    elif stream is not None:
                        stream.show(event)
                        if stream.hung_up:
                            control.cancel()
            finally:
                if stream is not None and warnings is not None:
                    try:
                        stream.end()
                    finally:
                        warnings.end()
            if reply is None:
                raise InternalError("The model ended without a reply.")
            hung_up = stream is not None and stream.hung_up
            if not hung_up:
                reply = end_of(reply, request, responder)
            interrupted = False
            if not climbing:
                options = judging.options_for(request.verifier_options)
                seconds = request.budget.seconds
                reply = judged(reply, judging.verifiers, seconds, options=options, stopped=lambda: control.cancelled)
                interrupted = bool(judging.verifiers) and control.cancelled
            system = next((one.content for one in request.messages if one.role == "system"), "")
            return _finish(
                arguments, settings, system, reply, judging, hung_up=hung_up, resumed=resumed, interrupted=interrupted
            )
    except KeyboardInterrupt:
        session = kept_session(request.id)
        name = resumable_name(request.id, session)
        raise ended_at_once(produced=produced, kept=session is not None, name=name) from None


def _finish(
    arguments: argparse.Namespace,
    settings: Settings,
    system: str,
    reply: Reply,
    judging: Judging,
    *,
    hung_up: bool,
    resumed: bool,
    interrupted: bool,
) -> int:
    """Print and keep a whole reply; the answer is printed before the store is touched. `hung_up`: nobody reads it;
    `resumed`: a part of it was kept before; `interrupted`: while it was judged."""
    from models.plain_text import json_line
    from runtime.commands.keep import Keeper
    from runtime.commands.output import write_out
    from runtime.verification import record_of

    fault = fault_of(reply)
    if fault is not None and reply.finish == "error":
        raise fault
    keeper = Keeper(
        settings, wanted=not arguments.no_store, title=reply.question, system=system, model=reply.model.name
    )
    try:
        hung_up |= not write_out(json_line(record_of(reply, judging.verifiers)) + "\n" if arguments.json else "")
    finally:
        code = keeper.keep([reply], resumed=resumed)
    if fault is not None:
        tell([fault.detail])
        return fault.exit_code
    if reply.finish != "cancelled" and not hung_up:
        code = code or (exit_code_of(reply) if arguments.json else tell_end(reply, judging.verifiers))
        if not interrupted:
            return code
    if not arguments.json:
        produced = bool(reply.thinking or reply.answer)
        name = resumable_name(reply.id, keeper.session)
        tell_stopped(produced=produced, kept=keeper.session is not None, name=name)
    return InterruptedByUser.exit_code

"""`kangae sessions resume`: going on with a turn that was paused, stopped or broken off, in a process that has ended
since."""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from models.errors import KangaeError, UsageError
from models.locations import state_folder
from runtime.commands.options import add_opening_options, open_responder
from runtime.commands.verify_options import add_verify_options, judging_again

if TYPE_CHECKING:
    from collections.abc import Generator

    from runtime.events import Event
    from runtime.reply import Reply
    from runtime.request import Request
    from runtime.responder import Responder
    from runtime.store import Store, StoredReply
    from runtime.turn.kept_turns import KeptTurns


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `resume` below `sessions`."""
    parser = subparsers.add_parser(
        "resume",
        help="go on with a turn that was paused or stopped",
        description="Go on with a turn where Ctrl-C, a pause or a crash left it. The question and the thought so far "
        "are printed first.",
    )
    parser.add_argument("id", metavar="ID", nargs="?", help="its session's id, or its own; nothing: the newest")
    parser.add_argument("--json", action="store_true", help="print one JSON object, as `kangae ask --json`")
    parser.add_argument(
        "-m", "--model", metavar="NAME|PATH", help="where the model is now; default: where it was when the turn began"
    )
    add_verify_options(parser)
    add_opening_options(parser)
    parser.set_defaults(run=run, no_store=False, verify=None)


def run(arguments: argparse.Namespace) -> int:
    """The command; returns its exit code, as `kangae ask` does."""
    from runtime.commands.ask import answer
    from runtime.request import Resumable
    from runtime.settings import load_settings
    from runtime.turn.kept_turns import KeptTurns

    settings = load_settings()
    turns = KeptTurns()
    turn = turns.read(_identity(turns, arguments.id))
    judging = judging_again(arguments, turn.request)
    if arguments.context is None:
        arguments.context = turn.context  # with another one its limits, and so its text, would be others
    probing = turn.request.endings is not None and turn.request.endings.probing is not None
    responder = open_responder(arguments, settings, spare=1 if probing else 0, name=arguments.model or turn.model.file)
    try:
        request = Resumable.of(turn.request, resumed=True, verifier_options=judging.options)
        return answer(arguments, settings, responder, request, judging, resumed=True)
    finally:
        responder.close()


def end_of(reply: Reply, request: Request, responder: Responder) -> Reply:
    """Where a reply was stopped when its answer lacked nothing but its end: the reply as it ends, and its turn is kept
    no more. Any other as it is, whose turn stays kept. It takes one token to know."""
    from runtime.events import AnswerDelta, Done, Progress, ThinkingDelta
    from runtime.request import Resumable
    from runtime.turn.kept_turns import KeptTurns

    stopped = reply.finish == "cancelled" and reply.answer and isinstance(request, Resumable)
    if not stopped or not KeptTurns().has(request.id):
        return reply
    told_again = True
    with contextlib.suppress(KangaeError):  # it cannot be gone on with now
        events = responder.respond(Resumable.of(request, resumed=True))
        with contextlib.closing(cast("Generator[Event, None, None]", events)):
            for event in events:
                told_again = told_again and not isinstance(event, Progress)
                if isinstance(event, Done) and event.reply.finish == "stop" and event.reply.answer == reply.answer:
                    return replace(event.reply, flags=reply.flags)  # nothing of its text was drawn anew
                if isinstance(event, AnswerDelta | ThinkingDelta) and not told_again:
                    break
    return reply


def stopped_turns(store: Store) -> list[dict[str, Any]]:
    """What can be gone on with, the newest first: each turn's id, its session's (None: it has none), its question, and
    when it was kept (seconds since 1970)."""
    if not _any_kept():
        return []
    from runtime.turn.kept_turns import KeptTurns

    found: list[dict[str, Any]] = []
    for turn in KeptTurns().all():
        reply = store.reply_of_turn(turn.id)
        if reply is None or not _whole(reply):
            session = None if reply is None else reply.conversation
            found.append({"id": turn.id, "session": session, "question": turn.question, "kept": turn.kept})
    return found


def _whole(reply: StoredReply) -> bool:
    """Whether the reply came to its end; a turn that is kept of it all the same was not forgotten for a broken disk."""
    return reply.record.get("finish") in ("stop", "length")


def forget_turns(store: Store, conversation: str) -> None:
    """Forget the kept turns of a session that is removed. Raises WriteError."""
    if not _any_kept():
        return
    from runtime.turn.kept_turns import KeptTurns

    turns = KeptTurns()
    for reply in store.replies(conversation):
        turns.remove(str(reply.record.get("id", "")))


def stopped_turn(store: Store, given: str) -> str | None:
    """The id of the kept turn that is meant, where no session is; None: none is. Raises UsageError for one that another
    process is at."""
    if not _any_kept() or store.begins_conversations(given):
        return None
    from runtime.turn.kept_turns import KeptTurns

    turns = KeptTurns()
    found = turns.find(given)
    if found is not None:
        turns.hold(found).release()
    return found


def forget_turn(identity: str) -> None:
    """Forget this kept turn. Raises WriteError."""
    from runtime.turn.kept_turns import KeptTurns

    KeptTurns().remove(identity)


def _any_kept() -> bool:
    """Whether the engine's own modules have to be loaded at all."""
    return (state_folder() / "turns").is_dir()


def _identity(turns: KeptTurns, given: str | None) -> str:
    """The id of the turn that is meant."""
    from runtime.store import Store

    if given is None:
        for turn in turns.all():
            reply = None
            with contextlib.suppress(KangaeError), Store.open_for_reading() as store:
                reply = store.reply_of_turn(turn.id)
            if reply is None or not _whole(reply):
                return turn.id
        raise UsageError("No turn was paused or stopped; there is nothing to go on with.")
    found = turns.find(given)
    if found is not None:
        return found
    with Store.open_for_reading() as store:
        session = store.conversation(given)
        for reply in reversed(store.replies(session.id)):
            identity = str(reply.record.get("id", ""))
            with contextlib.suppress(KangaeError):
                if turns.has(identity) and not _whole(reply):
                    return identity
    raise UsageError(f"No turn of the session {session.id} was stopped; there is nothing to go on with.")

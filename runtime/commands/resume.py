"""`kangae sessions resume`: going on with a turn that was paused, stopped or broken off, in a process that has ended
since."""

from __future__ import annotations

import argparse
import contextlib
from typing import TYPE_CHECKING, Any

from models.errors import KangaeError, UsageError
from models.locations import state_folder
from runtime.commands.options import add_opening_options, open_responder

if TYPE_CHECKING:
    from runtime.store import Store
    from runtime.turn.kept_turns import KeptTurns


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `resume` below `sessions`."""
    parser = subparsers.add_parser(
        "resume",
        help="go on with a turn that was paused or stopped",
        description="Go on with a turn where Ctrl-C, a pause or a crash left it. Of the thought the rest is printed, "
        "of the answer all of it.",
    )
    parser.add_argument("id", metavar="ID", nargs="?", help="its session's id, or its own; nothing: the newest")
    parser.add_argument("--json", action="store_true", help="print one JSON object, as `kangae ask --json`")
    parser.add_argument(
        "-m", "--model", metavar="NAME|PATH", help="where the model is now; default: where it was when the turn began"
    )
    parser.add_argument(
        "--verify", default="none", metavar="none|auto|NAME", help="judge the answer; exit code 8 where it is in doubt"
    )
    add_opening_options(parser)
    parser.set_defaults(run=run, no_store=False)


def run(arguments: argparse.Namespace) -> int:
    """The command; returns its exit code, as `kangae ask` does."""
    from runtime.commands.ask import answer
    from runtime.request import Resumable
    from runtime.settings import load_settings
    from runtime.turn.kept_turns import KeptTurns
    from runtime.verifiers.registry import choose

    settings = load_settings()
    verifiers = () if arguments.verify == "none" else choose(arguments.verify)
    turns = KeptTurns()
    turn = turns.read(_identity(turns, arguments.id))
    if arguments.context is None:
        arguments.context = turn.context  # with another one its limits, and so its text, would be others
    probing = turn.request.endings is not None and turn.request.endings.probing is not None
    responder = open_responder(arguments, settings, spare=1 if probing else 0, name=arguments.model or turn.model.file)
    try:
        request = Resumable.of(turn.request, resumed=True)
        return answer(arguments, settings, responder, request, verifiers, resumed=True)
    finally:
        responder.close()


def stopped_turns(store: Store) -> list[dict[str, Any]]:
    """What can be gone on with, the newest first: each turn's id, its session's (None: it has none), its question, and
    when it was kept (seconds since 1970)."""
    if not _any_kept():
        return []
    from runtime.turn.kept_turns import KeptTurns

    found: list[dict[str, Any]] = []
    for turn in KeptTurns().all():
        reply = store.reply_of_turn(turn.id)
        session = None if reply is None else reply.conversation
        found.append({"id": turn.id, "session": session, "question": turn.question, "kept": turn.kept})
    return found


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
    if given is None:
        newest = next(iter(turns.all()), None)
        if newest is None:
            raise UsageError("No turn was paused or stopped; there is nothing to go on with.")
        return newest.id
    found = turns.find(given)
    if found is not None:
        return found
    from runtime.store import Store

    with Store.open_for_reading() as store:
        session = store.conversation(given)
        for reply in reversed(store.replies(session.id)):
            identity = str(reply.record.get("id", ""))
            with contextlib.suppress(KangaeError):
                if turns.has(identity):
                    return identity
    raise UsageError(f"No turn of the session {session.id} was stopped; there is nothing to go on with.")

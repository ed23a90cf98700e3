"""How a command ends with a reply: what it says on stderr, and its exit code."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from models.errors import FLAGGED, CannotMeetError, InternalError, InterruptedByUser, KangaeError, ResourceError
from models.plain_text import strip_controls
from runtime.reply import LATE

if TYPE_CHECKING:
    from runtime.reply import Reply
    from runtime.verifiers.verifier import Verifier

TOO_LATE = "The deadline came before there was an answer; give more seconds."


def fault_of(reply: Reply) -> KangaeError | None:
    """Why there is no answer, where there is none: the turn failed after it had begun, or its deadline came first."""
    if reply.finish == "error":
        told = next(iter(reply.flags), "The engine failed.")
        for kind in (CannotMeetError, ResourceError):
            if told.startswith(kind.title + ": "):
                return kind(told.removeprefix(kind.title + ": "))
        return InternalError(told)
    if not reply.answer and any(flag.startswith(LATE) for flag in reply.flags):
        return CannotMeetError(TOO_LATE)
    return None


def tell_end(reply: Reply, verifiers: Sequence[Verifier]) -> int:
    """Say on stderr what is to be said of a reply: which limit ended its thought, why its answer is cut, which checks
    failed, its other flags, and, where no check failed, what it lacks of an answer that was computed again. Returns
    `exit_code_of` it."""
    from runtime.end_sentences import end_sentences, limit_sentences

    tell([*limit_sentences(reply), *end_sentences(reply, verifiers)])
    return exit_code_of(reply)


def exit_code_of(reply: Reply) -> int:
    """That of an answer that is in doubt, or 0: an answer that was cut at a limit that was set is done."""
    from runtime.verification import doubts

    return FLAGGED if doubts(reply) else 0


def tell_stopped(*, produced: bool, kept: bool, name: str | None = None) -> None:
    """Say on stderr why there is no more, what became of what was produced, and by which name the turn can be gone on
    with."""
    tell([f"Interrupted{stopped_words(produced=produced, kept=kept, name=name)}"])


def ended_at_once(*, produced: bool, kept: bool, name: str | None = None) -> InterruptedByUser:
    """What a second Ctrl-C ends the command with."""
    words = stopped_words(produced=produced, kept=kept, name=name)
    return InterruptedByUser(f"Ended at once{words}")


def stopped_words(*, produced: bool, kept: bool, name: str | None = None) -> str:
    """What follows the word that it was broken off."""
    more = "" if name is None else f" `kangae sessions resume {name}` goes on with it."
    if kept or name is not None:
        return f"; what was produced is kept.{more}"
    return "; what was produced is not kept." if produced else " before there was anything to keep."


def kept_session(identity: str) -> str | None:
    """The session in which something of this turn is kept; None: there is none, or the store cannot be read."""
    from runtime.store import Store, store_path

    with contextlib.suppress(KangaeError):
        if identity and store_path().exists():
            with Store.open_for_reading() as store:
                reply = store.reply_of_turn(identity)
                return None if reply is None else reply.conversation
    return None


def resumable_name(identity: str, session: str | None) -> str | None:
    """By what the turn can be gone on with; None: it is not kept."""
    from runtime.turn.kept_turns import KeptTurns

    try:
        return (session or identity) if KeptTurns().has(identity) else None
    except KangaeError:
        return None


def tell(lines: Iterable[str]) -> None:
    """Print these lines on stderr; one that cannot be written costs nothing."""
    with contextlib.suppress(OSError, ValueError):
        for line in lines:
            print(strip_controls(line), file=sys.stderr, flush=True)

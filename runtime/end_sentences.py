"""What is to be said of how a reply ended, in sentences that the terminal and the interface share."""

from __future__ import annotations

from collections.abc import Sequence

from models.plural import counted
from runtime.reply import CIRCLED, LATE, Reply
from runtime.verification import doubts, shortfall
from runtime.verifiers.arithmetic import Arithmetic, with_quote
from runtime.verifiers.verifier import Verifier


def end_sentences(reply: Reply, verifiers: Sequence[Verifier] = ()) -> list[str]:
    """How a reply ended, where it is not simply there, what is to be said of it, and, where nothing puts it in doubt,
    what it lacks of an answer that was computed again; empty where it is simply there, and nobody judged it.

    `verifiers`: those that were asked, if it is known: one that could not judge leaves no check."""
    if reply.finish == "error":
        return [*reply.flags] or ["The reply ended early by an error; asking again may help."]
    found = doubts(reply)
    told = ["Stopped; what was written is kept."] if reply.finish == "cancelled" else []
    told += [*cut_sentences(reply), *doubt_sentences(reply), *flag_sentences(reply, beside=found)]
    if not found and (verifiers or reply.checks) and (lack := shortfall(reply, verifiers)):
        told.append(lack)
    return told


def limit_sentences(reply: Reply) -> list[str]:
    """Which limit ended the thought, and the flag that leaves more of it: the words that close a thought by force are
    for the model, and may speak of the time where tokens were meant. Empty where none did, and on the ladder, which
    sets limits of its own and tells what it climbed for. Not for the interface, which tells it above the thought."""
    if reply.finish not in ("stop", "length") or reply.budget.effort == "auto":
        return []
    reasons: tuple[str, ...] = tuple(vote.close for vote in reply.votes) or (reply.close,)
    own = "their" if reply.votes else "its"
    told = ((reasons.count("budget"), _budget_words(reply, own)), (reasons.count("deadline"), _deadline_words(reply)))
    lines = []
    for count, (limit, more) in told:
        some = f"{count} of {len(reasons)} thoughts were" if reply.votes else "The thought was"
        lines += [f"{some} ended by {limit}; {more} leaves more of it."] if count else []
    return lines


def _budget_words(reply: Reply, own: str) -> tuple[str, str]:
    """The budget, or the context where that held less, and the flag that raises it."""
    given, effort = reply.budget.tokens, reply.budget.effort
    held = next((one.limit for one in reversed(reply.decisions) if one.rule == "budget"), None)
    if given is None or (held is not None and held < given):
        return "the end of the context, which keeps room for the answer", "a larger --context"
    tokens = counted(given, "token")
    if effort is None:
        return f"{own} budget of {tokens}", "a larger --budget"
    return f"the {tokens} of --effort {effort}", "more effort, or a larger --budget,"


def _deadline_words(reply: Reply) -> tuple[str, str]:
    """The deadline, and the flag that moves it."""
    seconds = reply.budget.seconds
    named = "the deadline" if seconds is None else f"the deadline of {seconds:g} s"
    return f"{named}, which keeps time for the answer", "a longer --deadline"


def cut_sentences(reply: Reply) -> list[str]:
    """Why the answer is not whole, and what to do; empty where it is, and where its user stopped it."""
    if reply.finish != "length":
        return []
    if any(flag.startswith(LATE) for flag in reply.flags):
        return ["The answer was cut: the time was up. A longer --deadline leaves more of it."]
    if CIRCLED in reply.flags:
        return []  # the flag says why
    longest = reply.budget.answer_reserve
    if 0 < longest <= reply.usage.answer_tokens:
        tokens = counted(longest, "token")
        return [f"The answer was cut at its longest, {tokens}; a larger --max-answer leaves more of it."]
    return ["The answer was cut: its longest length, or the end of the context, is reached."]


def doubt_sentences(reply: Reply) -> list[str]:
    """What puts the answer in doubt: the flags of `doubts` without their kind, and with the sum of the thinking that
    one is about, if it is. The flag itself is kept for longer than the thought may be, and quotes nothing of it."""
    told = []
    for flag in doubts(reply):
        words = flag.partition(": ")[2]
        if words.startswith(f"{Arithmetic.name}: "):
            words = with_quote(words, reply.thinking)
        told.append(f"Doubtful: {words.rstrip('.')}.")
    return told


def flag_sentences(reply: Reply, *, beside: Sequence[str] = ()) -> list[str]:
    """What the flags say, but those that `cut_sentences` tells, and those told `beside`. A turn that went on says so
    itself; nothing is wrong with it."""
    told = (flag for flag in reply.flags if not flag.startswith(LATE) and flag not in beside)
    return [flag[0].upper() + flag[1:] + "." if flag.startswith("resumed: ") else f"Flagged: {flag}" for flag in told]

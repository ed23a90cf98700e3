"""What is to be said of how a reply ended, in sentences that the terminal and the interface share."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.reply import LATE, Reply

_CIRCLES = "loop: the answer"


def end_sentences(reply: Reply) -> list[str]:
    """How a reply ended, where it is not simply there, and what is to be said of it."""
    if reply.finish == "error":
        return [*reply.flags] or ["The reply ended early by an error; asking again may help."]
    stopped = ["Stopped; what was written is kept."] if reply.finish == "cancelled" else []
    return [*stopped, *cut_sentences(reply), *flag_sentences(reply)]


def cut_sentences(reply: Reply) -> list[str]:
    """Why the answer is not whole, and what to do; empty where it is, and where its user stopped it."""
    if reply.finish != "length":
        return []
    if any(flag.startswith(LATE) for flag in reply.flags):
        return ["The answer was cut: the time was up. A longer --deadline leaves more of it."]
    if any(flag.startswith(_CIRCLES) for flag in reply.flags):
        return []  # the flag says why
    longest = reply.budget.answer_reserve
    if 0 < longest <= reply.usage.answer_tokens:
        tokens = "1 token" if longest == 1 else f"{longest} tokens"
        return [f"The answer was cut at its longest, {tokens}; a larger --max-answer leaves more of it."]
    return ["The answer was cut: its longest length, or the end of the context, is reached."]


def flag_sentences(reply: Reply, *, beside: Sequence[str] = ()) -> list[str]:
    """What the flags say, but those that `cut_sentences` tells, and those told `beside`. A turn that went on says so
    itself; nothing is wrong with it."""
    told = (flag for flag in reply.flags if not flag.startswith(LATE) and flag not in beside)
    return [flag[0].upper() + flag[1:] + "." if flag.startswith("resumed: ") else f"Flagged: {flag}" for flag in told]

"""What stands below an answer: how it ended, what puts it in doubt, and what its checks did not show."""

from __future__ import annotations

from dataclasses import replace

from runtime.end_sentences import end_sentences
from runtime.reply import Reply
from runtime.verification import doubts, shortfall


def ending(reply: Reply) -> list[str]:
    """The sentences, in the words of `kangae ask`; none where the answer is simply there, and nobody judged it."""
    found = doubts(reply)
    told = end_sentences(replace(reply, flags=tuple(flag for flag in reply.flags if flag not in found)))
    told += [f"Doubtful: {flag.partition(': ')[2].rstrip('.')}." for flag in found]
    if reply.checks and not found and (lack := shortfall(reply, ())):
        told.append(lack)
    return told

"""Where an answer behind a stem ends: at its mark, over which pairs of brackets inside the answer do not stumble."""

from __future__ import annotations

_OPENERS = {b"}": b"{", b"]": b"[", b")": b"("}
_ESCAPE = ord("\\")


def mark_at(answer: bytes | bytearray, mark: bytes) -> int | None:
    r"""Offset at which `mark` ends `answer`, all bytes that came behind the stem; None: not yet, or there is no mark.

    Of a closing bracket the stem holds the opening one, so `\frac{1}{2}}` ends at its last sign. What stands behind a
    backslash is a sign like any other (LaTeX), as in `\{1, 2\}`.
    """
    if not mark:
        return None
    opener = _OPENERS.get(mark)
    depth = at = 0
    while at < len(answer):
        if answer[at] == _ESCAPE:
            at += 2
            continue
        if answer.startswith(mark, at):
            if depth == 0:
                return at
            depth -= 1
        elif opener is not None and answer.startswith(opener, at):
            depth += 1
        at += 1
    return None

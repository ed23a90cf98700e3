"""What a command prints. A terminal that was closed takes no words, which must not cost a reply."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from typing import TextIO

from models.json_output import for_stream


def write_out(text: str) -> bool:
    """Print JSON `text`, at once, so that no sign of it is lost. False: the terminal was closed, and what is printed
    goes nowhere from now on.

    Raises OSError where it cannot be written for another reason."""
    try:
        sys.stdout.write(for_stream(text, sys.stdout))
        sys.stdout.flush()
    except OSError as error:
        if not is_hung_up(sys.stdout, error):
            raise
        silence(sys.stdout)
        return False
    return True


def is_hung_up(stream: TextIO, error: OSError) -> bool:
    """Whether `error`, got on writing to `stream`, says that its terminal was closed, not that a disk is broken."""
    if error.errno != errno.EIO:
        return False
    with contextlib.suppress(OSError, ValueError):
        return stat.S_ISCHR(os.fstat(stream.fileno()).st_mode)
    return False


def silence(stream: TextIO) -> None:
    """What is left in the stream's buffer, and what comes, goes nowhere. Raises OSError or ValueError where the stream
    has no file below it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, stream.fileno())
    finally:
        os.close(nowhere)

"""Report files of faults of ours, in the state directory: for a person to send."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from models.locations import state_folder


def write_report(error: BaseException, head: Sequence[str] = ()) -> Path:
    """Write the traceback below the lines of `head`, readable by its owner alone. Raises OSError or KangaeError."""
    folder = state_folder() / "reports"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    with open(descriptor, "w", encoding="utf-8", errors="replace") as file:
        file.write("\n".join([*head, "", *traceback.format_exception(error)]))
    return path

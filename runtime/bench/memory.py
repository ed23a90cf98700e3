"""What this process holds in memory, and how much of it is a mapped file."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path


def resident_bytes() -> int:
    """Resident memory now; where the system does not tell, its peak."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return peak_bytes(resource.getrusage(resource.RUSAGE_SELF))
    return pages * os.sysconf("SC_PAGE_SIZE")


def mapped_bytes(file: Path) -> int:
    """Resident bytes of mappings of `file`; its whole size where the system does not tell."""
    wanted, inside, total = os.path.realpath(file), False, 0
    try:
        with open("/proc/self/smaps", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                first = line.split(maxsplit=1)[0]
                if not first.endswith(":"):
                    inside = line.rstrip("\n").endswith(wanted)
                elif inside and first == "Rss:":
                    total += int(line.split()[1]) * 1024
    except OSError:
        return file.stat().st_size
    return total


def peak_bytes(usage: resource.struct_rusage) -> int:
    """The peak of a process from its accounting: kilobytes on Linux, bytes on macOS."""
    return usage.ru_maxrss if sys.platform == "darwin" else usage.ru_maxrss * 1024

"""A fault of ours while the interface goes on: a sentence that names the report file."""

from __future__ import annotations

import platform
from importlib import metadata

from models.errors import InternalError, KangaeError
from models.report import write_report


def fault(error: Exception, advice: str) -> InternalError:
    """Write the report (versions and the traceback); `advice` is what may help meanwhile."""
    try:
        version = metadata.version("kangae")
    except metadata.PackageNotFoundError:
        version = "(run from its sources)"
    head = [f"kangae {version}, Python {platform.python_version()}, {platform.platform()}", "command: chat"]
    told = f"{type(error).__name__}: {error}".rstrip(".")
    try:
        path = write_report(error, head)
    except (OSError, KangaeError) as failure:
        return InternalError(f"{told}; the report could not be written ({failure}). {advice}")
    return InternalError(f"{told}. The report is {path}; please send it with what you did. {advice}")

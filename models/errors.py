"""Every error that a person may see: a title, a sentence to act on, and the exit code of docs/cli.md."""

from __future__ import annotations


class KangaeError(Exception):
    """Base of all expected failures. `title` names what failed; `detail` says why and what to do."""

    title = "Something failed"
    exit_code = 70

    def __init__(self, detail: str, *, title: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        if title is not None:
            self.title = title

    def as_json(self) -> dict[str, object]:
        """The object printed for `--json`: `{"error": {"title", "detail", "exit"}}`."""
        return {"error": {"title": self.title, "detail": self.detail, "exit": self.exit_code}}


FLAGGED = 8
"""Exit code of an answer that was given, but is in doubt: no error, so no class."""


class UsageError(KangaeError):
    """The command or a value given to it is wrong."""

    title = "Wrong usage"
    exit_code = 2


class ModelError(KangaeError):
    """A model is missing or cannot be read."""

    title = "Model missing or unreadable"
    exit_code = 3


class ResourceError(KangaeError):
    """The model does not fit this machine."""

    title = "Does not fit this machine"
    exit_code = 4


class LicenceError(KangaeError):
    """The model's licence forbids the use."""

    title = "Licence refused"
    exit_code = 5


class MissingPackageError(KangaeError):
    """A package or a program that this needs is not installed; the detail says how to install it."""

    title = "A package is not installed"
    exit_code = 6


class CannotMeetError(KangaeError):
    """A deadline, a budget or a context length cannot be met."""

    title = "Cannot be met"
    exit_code = 7


class WriteError(KangaeError):
    """A file or folder cannot be written."""

    title = "Cannot write"
    exit_code = 9


class InternalError(KangaeError):
    """A fault of ours; the detail names the report file."""

    title = "A fault in Kangae"
    exit_code = 70


class InterruptedByUser(KangaeError):
    """Ctrl-C, or a closed terminal: what was produced is kept."""

    title = "Interrupted"
    exit_code = 130

"""A request whose turn outlives its process."""

from __future__ import annotations

import re
from dataclasses import dataclass

from models.errors import UsageError
from runtime.request import Request

_IDENTITY = re.compile(r"[0-9A-Za-z_-]{1,64}")


@dataclass(frozen=True)
class Resumable(Request):
    """A request whose turn is kept on disk, under its id, every few seconds and whenever it is paused or stopped, until
    it ends by itself; but not one of many that are asked at once.

    `resumed`: go on with what is kept under the id. All else but the id then comes from there; what was said before is
    told again first, as events, before any `Progress`. A responder that keeps nothing (a remote one) answers it as any
    other request. The id is 1 to 64 letters, digits, `-` and `_`, for it names a file.
    """

    resumed: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_identity(self.id):
            raise UsageError(f"{self.id!r} cannot name a kept turn; give 1 to 64 letters, digits, - and _.")


def is_identity(text: str) -> bool:
    """Whether a turn can be kept under this id."""
    return _IDENTITY.fullmatch(text) is not None

"""A loop that was found in a thought."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["cycle", "lines", "paragraphs"]


@dataclass(frozen=True)
class FoundLoop:
    """Where a thought was found to go in circles, in its sampled tokens: `token` were there when it was found, the
    repetition began behind `since`, and one round of it takes `length`. `kind`: by which sign it was found ("cycle" for
    cycles and phrases); `rows`: a round goes over the end of a line, as the rows of a list or of a file of data do."""

    token: int
    kind: Kind
    since: int
    length: int
    rows: bool = False

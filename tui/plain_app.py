"""An application that keeps to NO_COLOR (https://no-color.org)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache

from rich.segment import Segment
from rich.style import Style
from textual.app import App
from textual.color import Color
from textual.filter import LineFilter, Monochrome

_NOT_DIM = Style(dim=False)


@lru_cache(maxsize=1024)
def plain_style(style: Style) -> Style:
    """`style` with its bold, italic, underlined and reversed signs and what a click on it does, but in the terminal's
    own colours, and not dim: most terminals draw that as a grey."""
    return style.without_color + _NOT_DIM + Style.from_meta(style.meta)


class Colourless(LineFilter):
    """Takes all colours out of lines that are drawn."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The segments without colours; on whatever background."""
        return [Segment(text, style and plain_style(style), control) for text, style, control in segments]


class PlainApp(App[None]):
    """Without colours where NO_COLOR is set, and not empty: its rules for that are those of `:nocolor`. Textual's own
    way takes an empty one for set as well, and paints greys."""

    def __init__(self) -> None:
        super().__init__()
        self.no_color = bool(os.environ.get("NO_COLOR"))
        self._colourless = Colourless()

    def get_line_filters(self) -> Sequence[LineFilter]:
        """What lines pass through on their way to the terminal."""
        if self.no_color:
            return [self._colourless]
        return [one for one in super().get_line_filters() if not isinstance(one, Monochrome)]

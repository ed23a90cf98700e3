"""A reply on the terminal while it is made: the thought dim on stderr, the answer on stdout."""

from __future__ import annotations

import os
import sys
import threading
from typing import TextIO

from models.plain_text import one_line, strip_controls
from runtime.commands.output import is_hung_up, silence
from runtime.commands.vote_line import is_news, vote_line
from runtime.events import AnswerDelta, Climbed, Closed, Event, ThinkingDelta, Voted

_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


class ReplyStream:
    """Prints events as they come. A stderr that cannot be written loses the thought, never the answer.

    `hung_up`: the terminal of the answer was closed; nothing is printed any more. Any thread may call it: what is
    warned of comes from the one that steps the engine.
    """

    def __init__(self, out: TextIO | None = None, thoughts: TextIO | None = None) -> None:
        self._out = sys.stdout if out is None else out
        self._thoughts: TextIO | None = sys.stderr if thoughts is None else thoughts
        self._dim = _shows_dim(self._thoughts)
        self._thinking_end = self._held = ""
        self._answer_end = ""
        self._voted: Voted | None = None
        self._printing = threading.RLock()
        self.hung_up = False

    def show(self, event: Event) -> None:
        """Print what the event brings, at once."""
        with self._printing:
            self._show(event)

    def _show(self, event: Event) -> None:
        if isinstance(event, ThinkingDelta):
            self._think(strip_controls(event.text))
        elif isinstance(event, Closed):
            self._end_thought()
        elif isinstance(event, Climbed):
            self._end_thought()
            self.note(f"{event.reason.rstrip('.')}; next: {event.rung}")
        elif isinstance(event, Voted):
            if is_news(self._voted, event):
                self._voted = event
                self.note(vote_line(event))
        elif isinstance(event, AnswerDelta):
            if not self._answer_end:
                self._end_thought()
            self._answer(strip_controls(event.text))

    def note(self, text: str) -> None:
        """Tell something beside the thought, in a line of its own: where one of the thought is under way, behind it;
        where one of the answer is, behind the whole answer."""
        with self._printing:
            self._held += one_line(text) + "\n"
            if self._thinking_end in ("", "\n") and self._answer_end in ("", "\n"):
                self._tell_held()

    def answer(self, text: str) -> None:
        """Print a whole answer."""
        with self._printing:
            self._end_thought()
            self._answer(strip_controls(text))

    def end(self) -> None:
        """Close the line under way, also after an interruption."""
        with self._printing:
            if self._answer_end not in ("", "\n"):
                self._answer("\n")
            self._end_thought()

    def _answer(self, text: str) -> None:
        if not self._answer_end:
            text = text.lstrip()
        if not text or self.hung_up:
            return
        try:
            self._out.write(text)
            self._out.flush()
        except OSError as error:
            if not is_hung_up(self._out, error):
                raise
            silence(self._out)
            self.hung_up = True
        self._answer_end = text[-1]

    def _think(self, text: str) -> None:
        if self._held:
            line, end, text = text.partition("\n")
            self._write_dim(line + end)
            if end:
                self._tell_held()
        self._write_dim(text)

    def _tell_held(self) -> None:
        held, self._held = self._held, ""
        self._write_dim(held)

    def _end_thought(self) -> None:
        if self._thinking_end:
            self._write("" if self._thinking_end == "\n" else "\n")
            self._thinking_end = ""
        if self._held:
            self._tell_held()
            self._thinking_end = ""

    def _write_dim(self, text: str) -> None:
        if text:
            self._write((_DIM if self._dim else "") + text + (_PLAIN if self._dim else ""))
            self._thinking_end = text[-1]

    def _write(self, text: str) -> None:
        if self._thoughts is None or not text:
            return
        try:
            self._thoughts.write(text)
            self._thoughts.flush()
        except (OSError, ValueError):
            self._thoughts = None


def _shows_dim(stream: TextIO | None) -> bool:
    """Only a terminal that knows escape codes, of a person who wants them."""
    if stream is None or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()

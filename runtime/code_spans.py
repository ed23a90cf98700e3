"""Where a Markdown text is code: what stands there is text, and no tag in it acts (CommonMark 0.31: fenced code
blocks, code spans)."""

from __future__ import annotations


class CodeSpans:
    """Fed a text sign by sign, says whether its end lies inside code. A span ends at its line's end at the latest."""

    def __init__(self) -> None:
        self._fence: tuple[str, int] | None = None
        self._span = 0
        self._run_char = ""
        self._run = 0
        self._run_at_start = False
        self._line_start = True
        self._indent = 0

    def feed(self, char: str) -> None:
        """Take the next character."""
        if char in "`~" and (char == self._run_char or not self._run):
            if not self._run:
                self._run_char, self._run_at_start = char, self._line_start
            self._run += 1
            self._line_start = False
            return
        self._end_run()
        if char in "`~":
            self._run_char, self._run, self._run_at_start = char, 1, False
        if char == "\n":
            self._line_start, self._indent, self._span = True, 0, 0
        elif self._line_start and char == " " and self._indent < 3:
            self._indent += 1
        else:
            self._line_start = False

    @property
    def inside(self) -> bool:
        """Whether a character that comes now, and is no fence's, would be code."""
        fence, span = self._resolved()
        return fence is not None or span > 0

    def _end_run(self) -> None:
        self._fence, self._span = self._resolved()
        self._run, self._run_char = 0, ""

    def _resolved(self) -> tuple[tuple[str, int] | None, int]:
        """The open fence and the open span, if the run of fence characters under way ended here."""
        run, char = self._run, self._run_char
        if not run:
            return self._fence, self._span
        if self._fence is not None:
            closes = char == self._fence[0] and run >= self._fence[1]
            return (None if closes else self._fence), 0
        if self._span:
            return None, 0 if char == "`" and run == self._span else self._span
        if run >= 3 and self._run_at_start:
            return (char, run), 0
        return None, run if char == "`" else 0

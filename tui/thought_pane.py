"""A thought: a line that tells how long, how much and why it ended, and below it the thought, shown or folded away."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from models.plural import plural
from tui.budget_bar import budget_bar
from tui.budget_steps import budget_name
from tui.live_text import LiveText

_GLANCE_LINES = 16
_TAIL = "-tail"
_FORCED = "dim italic"
_NARROW = 50  # cells: below this the line goes without its bar, and tells one time alone


class ThoughtBody(VerticalScroll, can_focus=False):
    """The text of a thought. Unless its user unfolds it, only its end is shown, in so many lines (-tail) that the
    question, the line above the thought, and the answer stay in sight."""


class ThoughtTitle(Static):
    """The line above a thought, which tells all without its text; a click folds or unfolds."""

    class Clicked(Message):
        """The line was clicked."""

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.post_message(self.Clicked())


class ThoughtPane(Vertical):
    """One thought. While folded its text is kept but not laid out: a hidden thought costs nothing."""

    def __init__(self, budget: int | None, *, folded: bool = False) -> None:
        super().__init__()
        self.folded = folded
        self.touched = False
        """Whether the user folded or unfolded this one: then nothing else does."""
        self.text = ""
        self.tokens = 0
        self.budget = budget
        self._paused = False
        self._seconds = 0.0
        self._left: float | None = None
        self._doing = "waiting"
        self._ended: str | None = None
        self._tail_kept = False
        self._body: ThoughtBody | None = None
        self._live: LiveText | None = None
        self._parts: list[Content] = []

    def compose(self) -> ComposeResult:
        yield ThoughtTitle(markup=False)

    def on_mount(self) -> None:
        self._show_title()

    def wait(self, doing: str) -> None:
        """Before the first token: what is done instead of thinking (loading, reading)."""
        self._doing = doing
        self._show_title()

    def think(self, text: str, tokens: int, seconds: float, *, forced: bool = False) -> None:
        """More of the thought; `seconds` since its first token. `forced`: put in, not thought; shown apart."""
        self._doing = ""
        if not self.text:
            text = text.lstrip()
        self.text += text
        part = Content.styled(text, _FORCED) if forced else Content(text)
        self._parts.append(part)
        self.tokens, self._seconds = tokens, seconds
        if not self.folded and self.text:
            if self._live is None:
                self._unfold()
            else:
                self._live.append(part)
        self._show_title()

    def tick(self, seconds: float, left: float | None = None) -> None:
        """Time goes on: `seconds` since the first token; `left` until the deadline, where there is one that runs."""
        if self.thinking:
            self._seconds, self._left = seconds, left
            self._show_title()
        elif self.waiting and left is not None:
            self._left = left
            self._show_title()

    def end(self, words: str, seconds: float, tokens: int) -> None:
        """The thought is over; `words` say why."""
        self._ended, self._doing = words, ""
        self._seconds, self.tokens = seconds, tokens
        self._show_title()

    def raise_budget(self, tokens: int) -> None:
        """So many tokens more may be thought."""
        if self.budget is not None:
            self.budget += tokens
            self._show_title()

    def pause(self, paused: bool) -> None:
        """Whether the thought stands still; then all of it can be read."""
        self._paused = paused
        self._show_title()

    @property
    def over(self) -> bool:
        """Whether the thought has ended."""
        return self._ended is not None

    @property
    def waiting(self) -> bool:
        """Whether nothing has been thought or answered yet."""
        return self._ended is None and bool(self._doing)

    @property
    def thinking(self) -> bool:
        """Whether tokens of the thought are coming."""
        return self._ended is None and not self._doing

    def fold(self, folded: bool, *, by_user: bool) -> None:
        """Hide or show the text. What the user chose stays."""
        if by_user:
            self.touched = True
        elif self.touched:
            return
        self.folded = folded
        if folded and self._body is not None:
            self._body.remove()
            self._body = self._live = None
        elif not folded and self._body is None and self.text:
            self._unfold()
        self._show_title()

    def keep_tail(self) -> None:
        """Show the end alone of a thought that has ended, until the user folds or unfolds it."""
        self._tail_kept = True
        self._show_title()

    @property
    def cut(self) -> bool:
        """Whether only the end of it is shown, and there is more."""
        return self._body is not None and self._body.has_class(_TAIL) and self._body.max_scroll_y > 0

    def on_thought_title_clicked(self, event: ThoughtTitle.Clicked) -> None:
        event.stop()
        self.fold(not self.folded, by_user=True)

    @property
    def long(self) -> bool:
        """Whether it takes more lines than are read at a glance."""
        return self.text.count("\n") >= _GLANCE_LINES

    def on_resize(self) -> None:
        self._show_title()

    def title(self) -> Content:
        """The line as it stands now: the longest way to say it that fits. Why a thought ended is never cut off."""
        ways = self._ways()
        width = self.size.width
        fitting = (way for way in ways if not width or max(line.cell_length for line in way.split("\n")) <= width)
        return next(fitting, ways[-1])

    def _ways(self) -> list[Content]:
        """The ways to say it, the longest first."""
        left = "" if self._left is None else f"{self._left:.1f} s left"
        if self._doing:
            return [Content(f"· {self._doing}" + (f" · {left}" if left else ""))]
        if self._ended is not None and not self.tokens:
            return [Content(f"· {self._ended}")]
        mark = "▶" if self.folded else "▼"
        count = str(self.tokens) if self.budget is None else f"{self.tokens}/{budget_name(self.budget)}"
        unit = " " + plural(self.tokens if self.budget is None else self.budget, "token")
        if self._ended is not None:
            head = f"{mark} thought {seconds_words(self._seconds)} · {count}"
            return [
                Content.assemble(head, unit if more else "", between, (self._ended, "bold"))
                for between in (" · ", "\n  ")
                for more in (True, False)
            ]
        seconds = seconds_words(self._seconds)
        wide = self.size.width >= _NARROW
        times = f"{seconds}, {left}" if left and wide else left or seconds
        doing = (f"{mark} {'paused' if self._paused else 'thinking'}", "bold")
        ways = [Content.assemble(doing, f" {times} · {count}{more}") for more in (unit, "")]
        if self.budget and wide:
            ways = [Content.assemble(ways[0], "  ", budget_bar(self.tokens, self.budget)), *ways]
        return ways

    def _unfold(self) -> None:
        self._live = LiveText(Content("").join(self._parts))
        self._body = ThoughtBody(self._live)
        self.mount(self._body)
        self._show_tail()

    def _show_tail(self) -> None:
        if self._body is not None:
            tail = not self.touched and (self._tail_kept if self.over else not self._paused)
            self._body.set_class(tail, _TAIL)
            self._body.anchor(tail)

    def _show_title(self) -> None:
        if self.is_mounted:
            title = self.query_one(ThoughtTitle)
            title.update(self.title())
            title.set_class(self.thinking, "-thinking")
            self._show_tail()


def seconds_words(seconds: float) -> str:
    """`3.2 s`; what would round to nothing is less than a tenth."""
    return f"{seconds:.1f} s" if seconds >= 0.05 else "<0.1 s"

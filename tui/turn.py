"""A turn of the conversation: the question, the thought, the answer, and how it ended. It is fed with events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from models.errors import InterruptedByUser, KangaeError
from models.plain_text import strip_controls
from runtime.events import AnswerDelta, Closed, Done, Event, Failed, Progress, ThinkingDelta, joined
from runtime.reply import Reply
from tui.answer_pane import AnswerPane
from tui.close_reason import close_words
from tui.note import Note
from tui.thought_pane import ThoughtPane

News = tuple[float, Event | KangaeError]


class Turn(Vertical):
    """One question and what came of it. While it goes on, `reply` and `error` are None; then one of them is set.

    `deadline`: seconds for the whole reply; `continued`: whether questions and answers of before went with it.
    """

    def __init__(
        self,
        question: str,
        budget: int | None,
        *,
        folded: bool | None,
        started: float,
        deadline: float | None = None,
        continued: bool = False,
    ) -> None:
        super().__init__()
        self.question = question
        self.reply: Reply | None = None
        self.error: KangaeError | None = None
        self.tokens_per_second: float | None = None
        self.thought = ThoughtPane(budget, folded=folded is True)
        self.answer = AnswerPane()
        self._keep_open = folded is False
        self._deadline = deadline
        self._continued = continued
        self._started = started
        self._first_token: float | None = None
        self._thinking_tokens = 0
        self._answer_tokens = 0

    def compose(self) -> ComposeResult:
        with Horizontal(id="question"):
            yield Static("❯", id="prompt", markup=False)
            yield Static(strip_controls(self.question), markup=False)
        yield self.thought
        yield self.answer

    @property
    def over(self) -> bool:
        """Whether no more comes."""
        return self.reply is not None or self.error is not None

    def tick(self, now: float, asked: float | None = None) -> None:
        """Let the thought's clocks go on. In monotonic seconds: `now`, and when the model was `asked`, from which the
        deadline counts (None: it is not open yet)."""
        left = None
        if self._deadline is not None and asked is not None:
            left = max(0.0, asked + self._deadline - now)
        self.thought.tick(now - self._start_of_thought(), left)

    async def apply(self, news: Iterable[News]) -> None:
        """Show what happened, in order."""
        for when, event in _merged(news):
            if isinstance(event, ThinkingDelta):
                self._count(when, event.tokens, self._answer_tokens)
                seconds = when - self._start_of_thought()
                self.thought.think(strip_controls(event.text), event.tokens, seconds, forced=event.forced)
            elif isinstance(event, Closed):
                self._end_thought(close_words(event.reason), when, event.tokens)
            elif isinstance(event, AnswerDelta):
                self._count(when, self._thinking_tokens, event.tokens)
                if self.thought.waiting:
                    self._end_thought(close_words("off"), when, 0)
                await self.answer.add(strip_controls(event.text))
            elif isinstance(event, Progress):
                if self.thought.waiting and event.total:
                    self.thought.wait(f"reading {event.done}/{event.total} tokens")
            elif isinstance(event, Done):
                await self._finish(event.reply, when)
            elif isinstance(event, Failed):
                await self._fail(event.error, when)
            elif isinstance(event, KangaeError):
                await self._fail(event, when)

    async def _finish(self, reply: Reply, when: float) -> None:
        cancelled = reply.finish == "cancelled"
        if self.thought.waiting or self.thought.thinking:
            words = _BROKEN_OFF.get(reply.finish) or close_words(reply.close)
            self._end_thought(words, when, self._thinking_tokens, fold=not cancelled)
        await self.answer.end()
        self.reply = reply
        if reply.timings.decode_tps:
            self.tokens_per_second = reply.timings.decode_tps
        sentences = end_sentences(reply)
        if sentences:
            await self.mount(Note(" ".join(sentences), error=reply.finish == "error"))

    async def _fail(self, error: KangaeError, when: float) -> None:
        if self.thought.waiting or self.thought.thinking:
            words = _BROKEN_OFF["cancelled" if isinstance(error, InterruptedByUser) else "error"]
            self._end_thought(words, when, self._thinking_tokens, fold=False)
        await self.answer.end()
        self.error = error
        if isinstance(error, InterruptedByUser):
            return
        kept = bool(self.thought.text.strip() or self.answer.text.strip())
        await self.mount(Note.of_error(error, kept=kept, continued=self._continued))

    def _end_thought(self, words: str, when: float, tokens: int, *, fold: bool = True) -> None:
        self.thought.end(words, when - self._start_of_thought(), tokens)
        if fold and not self._keep_open and self.thought.long:
            self.thought.fold(True, by_user=False)

    def _start_of_thought(self) -> float:
        return self._started if self._first_token is None else self._first_token

    def _count(self, when: float, thinking: int, answer: int) -> None:
        self._thinking_tokens, self._answer_tokens = thinking, answer
        if self._first_token is None:
            self._first_token = when
        elif when > self._first_token:
            self.tokens_per_second = (thinking + answer - 1) / (when - self._first_token)


_BROKEN_OFF = {"cancelled": "stopped", "error": "ended by an error"}


def end_sentences(reply: Reply) -> list[str]:
    """How a reply ended, where it is not simply there, and what is to be said of it."""
    late = [flag for flag in reply.flags if flag.startswith("deadline:")]
    if reply.finish == "error":
        return [*reply.flags] or ["The reply ended early by an error; asking again may help."]
    sentences = []
    if reply.finish == "cancelled":
        sentences.append("Stopped; what was written is kept.")
    elif reply.finish == "length" and late:
        sentences.append("The answer was cut: the time was up. A longer --deadline leaves more of it.")
    elif reply.finish == "length":
        sentences.append("The answer was cut: its longest length, or the end of the context, is reached.")
    return sentences + [f"Flagged: {flag}" for flag in reply.flags if flag not in late]


def _merged(news: Iterable[News]) -> Iterator[News]:
    """Runs of deltas as one, and of several progress values the last: one layout for each."""
    held: News | None = None
    for when, event in news:
        if held is not None:
            last = held[1]
            more = joined(last, event) if isinstance(last, Event) and isinstance(event, Event) else None
            if more is not None:
                held = (when, more)
                continue
            if not (isinstance(event, Progress) and isinstance(last, Progress)):
                yield held
        held = (when, event)
    if held is not None:
        yield held

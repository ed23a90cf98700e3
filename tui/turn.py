"""A turn of the conversation: the question, the thought, the answer, and how it ended. It is fed with events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from models.errors import InterruptedByUser, KangaeError
from models.plain_text import strip_controls
from models.plural import counted, plural
from runtime.end_sentences import end_sentences
from runtime.events import AnswerDelta, Closed, Done, Event, Failed, Progress, ThinkingDelta, joined
from runtime.reply import Reply
from runtime.request import Message
from tui.answer_pane import AnswerPane
from tui.close_reason import close_words
from tui.note import Note
from tui.pauses import Pauses
from tui.thought_pane import ThoughtPane

News = tuple[float, Event | KangaeError]


class Turn(Vertical):
    """One question and what came of it. While it goes on, `reply` and `error` are None; then one of them is set.

    `deadline`: seconds for the whole reply; `earlier`: questions and answers that went with it; `thought_for`: it goes
    on after so many seconds of thought, of which its first events tell (None: it begins).
    """

    def __init__(
        self,
        question: str,
        budget: int | None,
        *,
        folded: bool | None,
        started: float,
        deadline: float | None = None,
        earlier: Sequence[Message] = (),
        thought_for: float | None = None,
    ) -> None:
        super().__init__()
        self.question = question
        self.reply: Reply | None = None
        self.error: KangaeError | None = None
        self.tokens_per_second: float | None = None
        self.thought = ThoughtPane(budget, folded=folded is True and thought_for is None)
        self.answer = AnswerPane()
        self._keep_open = folded is False
        self._deadline = deadline
        self.earlier = tuple(earlier)
        self._started = started
        self._first_token: float | None = None
        self._thinking_tokens = 0
        self._answer_tokens = 0
        self._thought_for = thought_for or 0.0
        self._resumed = self._told_again = thought_for is not None
        self._measured: tuple[float, int] | None = None
        """From when and from how many tokens on the speed is measured."""
        self._pauses = Pauses()
        self._told_at: float | None = None
        """Since when a turn that goes on is read again."""
        self._pause = Note("Paused; F5 goes on.")
        self._pause.display = False
        self._hints: list[str] = []
        self._put_in = ""

    def compose(self) -> ComposeResult:
        questions = sum(one.role == "user" for one in self.earlier)
        if self._resumed and questions:
            told = counted(questions, "question")
            yield Note(f"Its conversation had {told} before; the model knows what was said.")
        with Horizontal(id="question"):
            yield Static("❯", id="prompt", markup=False)
            yield Static(strip_controls(self.question), markup=False)
        yield self.thought
        yield self.answer
        yield self._pause

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
        self.thought.tick(self._thought_until(now), left)

    def pause(self, paused: bool, now: float) -> None:
        """Whether it stands still from `now` on (monotonic seconds); that is told at its end, where it is read."""
        if paused:
            self._pauses.begin(now)
        else:
            self._pauses.end(now)
        self._pause.display = paused
        self.thought.pause(paused)

    def hint(self, text: str) -> None:
        """This was given as a hint; where the thought ends without it, that is told."""
        self._hints.append(text)

    async def apply(self, news: Iterable[News]) -> None:
        """Show what happened, in order."""
        for when, event in _merged(news):
            if isinstance(event, ThinkingDelta):
                self._count(when, event.tokens, self._answer_tokens)
                self._put_in += event.text if event.forced else ""
                seconds = self._thought_until(when)
                self.thought.think(strip_controls(event.text), event.tokens, seconds, forced=event.forced)
            elif isinstance(event, Closed):
                self._end_thought(close_words(event.reason), when, event.tokens)
                left_out = len(hints_left_out(self._hints, self._put_in))
                if left_out:
                    told = plural(left_out, "The hint was", f"{left_out} hints were")
                    words = f"{told} not put in: the thought had ended, or had no room left."
                    await self.mount(Note(words), before=self.answer)
            elif isinstance(event, AnswerDelta):
                self._count(when, self._thinking_tokens, event.tokens)
                if self.thought.waiting:
                    self._end_thought(close_words("off"), when, 0)
                await self.answer.add(strip_controls(event.text), event.tokens)
            elif isinstance(event, Progress):
                self._told_again = False
                if self._told_at is not None:
                    self._pauses.add(self._told_at, when)  # it is read again, which is no thought
                    self._told_at = when
                if self.thought.waiting and event.total:
                    self.thought.wait(f"reading {event.done}/{counted(event.total, 'token')}")
            elif isinstance(event, Done):
                await self._finish(event.reply, when)
            elif isinstance(event, Failed):
                await self._fail(event.error, when)
            elif isinstance(event, KangaeError):
                await self._fail(event, when)

    async def _finish(self, reply: Reply, when: float) -> None:
        self.pause(False, when)
        cancelled = reply.finish == "cancelled"
        if self.thought.waiting or self.thought.thinking:
            words = _BROKEN_OFF.get(reply.finish) or close_words(reply.close)
            self._end_thought(words, when, self._thinking_tokens, fold=not cancelled)
        hints = sum(one.rule == "hint" and bool(one.number) for one in reply.decisions)
        await self.answer.end(self._answer_tokens, hints=hints)
        self.reply = reply
        if reply.timings.decode_tps:
            self.tokens_per_second = reply.timings.decode_tps
        sentences = end_sentences(reply)
        if sentences:
            await self.mount(Note(" ".join(sentences), error=reply.finish == "error"))

    async def _fail(self, error: KangaeError, when: float) -> None:
        self.pause(False, when)
        if self.thought.waiting or self.thought.thinking:
            words = _BROKEN_OFF["cancelled" if isinstance(error, InterruptedByUser) else "error"]
            self._end_thought(words, when, self._thinking_tokens, fold=False)
        await self.answer.end(self._answer_tokens)
        self.error = error
        if isinstance(error, InterruptedByUser):
            return
        kept = bool(self.thought.text.strip() or self.answer.text.strip())
        await self.mount(Note.of_error(error, kept=kept, continued=bool(self.earlier) and not self._resumed))

    def _end_thought(self, words: str, when: float, tokens: int, *, fold: bool = True) -> None:
        self.thought.end(words, self._thought_until(when), tokens)
        if self._keep_open:
            return
        if fold and self.thought.long and not self._resumed:  # whoever went on with it has not seen it yet
            self.thought.fold(True, by_user=False)
        else:
            self.thought.keep_tail()

    def _thought_until(self, moment: float) -> float:
        """Seconds of thought, or of waiting for it; pauses do not count."""
        return self._seconds(self._started if self._first_token is None else self._first_token, moment)

    def _seconds(self, begin: float, end: float) -> float:
        """From one moment to another, less the pauses."""
        return max(0.0, end - begin - self._pauses.between(begin, end))

    def _count(self, when: float, thinking: int, answer: int) -> None:
        self._thinking_tokens, self._answer_tokens = thinking, answer
        if self._first_token is None:
            self._first_token = when - self._thought_for
            self._told_at = when if self._told_again else None
        if self._told_again:
            return
        self._told_at = None
        if self._measured is None:
            self._measured = (when, thinking + answer)
            return
        since, tokens = self._measured
        seconds = self._seconds(since, when)
        if seconds >= _LEAST_MEASURED_S:
            self.tokens_per_second = (thinking + answer - tokens) / seconds


_LEAST_MEASURED_S = 0.1  # tokens come in bursts: over less than that they tell of no speed
_BROKEN_OFF = {"cancelled": "stopped", "error": "ended by an error"}


def hints_left_out(hints: Iterable[str], put_in: str) -> list[str]:
    """Those that do not stand, in their order, in what was put into the thought by force."""
    place, left_out = 0, []
    for hint in hints:
        found = put_in.find(hint.strip(), place)
        if found < 0:
            left_out.append(hint)
        else:
            place = found + len(hint.strip())
    return left_out


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

"""A turn of the conversation: the question, the thought, the answer, and how it ended. It is fed with events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from models.errors import InterruptedByUser, KangaeError
from models.plain_text import strip_controls
from runtime.events import AnswerDelta, Closed, Done, Event, Failed, Progress, ThinkingDelta, joined
from runtime.reply import LATE, Reply
from runtime.request import Message
from tui.answer_pane import AnswerPane
from tui.close_reason import close_words
from tui.note import Note
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
        self.thought = ThoughtPane(budget, folded=folded is True)
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
        self._ticked: float | None = None
        self._paused = False
        self._pause = Note("Paused; F5 goes on.")
        self._pause.display = False
        self._hints: list[str] = []
        self._put_in = ""

    def compose(self) -> ComposeResult:
        questions = sum(one.role == "user" for one in self.earlier)
        if self._resumed and questions:
            told = "1 question" if questions == 1 else f"{questions} questions"
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
        if self._paused and self._ticked is not None:
            self._stand(now - self._ticked)
        self._ticked = now
        left = None
        if self._deadline is not None and asked is not None:
            left = max(0.0, asked + self._deadline - now)
        self.thought.tick(self._thought_until(now), left)

    def pause(self, paused: bool) -> None:
        """Whether it stands still; that is told at its end, where it is read."""
        self._paused = self._pause.display = paused
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
                    told = "The hint was" if left_out == 1 else f"{left_out} hints were"
                    words = f"{told} not put in: the thought had ended, or had no room left."
                    await self.mount(Note(words), before=self.answer)
            elif isinstance(event, AnswerDelta):
                self._count(when, self._thinking_tokens, event.tokens)
                if self.thought.waiting:
                    self._end_thought(close_words("off"), when, 0)
                await self.answer.add(strip_controls(event.text))
            elif isinstance(event, Progress):
                self._told_again = False
                if self.thought.waiting and event.total:
                    self.thought.wait(f"reading {event.done}/{event.total} tokens")
            elif isinstance(event, Done):
                await self._finish(event.reply, when)
            elif isinstance(event, Failed):
                await self._fail(event.error, when)
            elif isinstance(event, KangaeError):
                await self._fail(event, when)

    async def _finish(self, reply: Reply, when: float) -> None:
        self.pause(False)
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
        self.pause(False)
        if self.thought.waiting or self.thought.thinking:
            words = _BROKEN_OFF["cancelled" if isinstance(error, InterruptedByUser) else "error"]
            self._end_thought(words, when, self._thinking_tokens, fold=False)
        await self.answer.end()
        self.error = error
        if isinstance(error, InterruptedByUser):
            return
        kept = bool(self.thought.text.strip() or self.answer.text.strip())
        await self.mount(Note.of_error(error, kept=kept, continued=bool(self.earlier) and not self._resumed))

    def _end_thought(self, words: str, when: float, tokens: int, *, fold: bool = True) -> None:
        self.thought.end(words, self._thought_until(when), tokens)
        if fold and not self._keep_open and self.thought.long:
            self.thought.fold(True, by_user=False)

    def _thought_until(self, moment: float) -> float:
        """Seconds of thought, or of waiting for it; pauses do not count."""
        return max(0.0, moment - (self._started if self._first_token is None else self._first_token))

    def _stand(self, seconds: float) -> None:
        """It stood still for so long: its clocks did, too."""
        self._started += seconds
        if self._first_token is not None:
            self._first_token += seconds
        if self._measured is not None:
            self._measured = (self._measured[0] + seconds, self._measured[1])

    def _count(self, when: float, thinking: int, answer: int) -> None:
        self._thinking_tokens, self._answer_tokens = thinking, answer
        if self._first_token is None:
            self._first_token = when - self._thought_for
        if self._told_again:
            return
        if self._measured is None:
            self._measured = (when, thinking + answer)
        elif when > self._measured[0]:
            self.tokens_per_second = (thinking + answer - self._measured[1]) / (when - self._measured[0])


_BROKEN_OFF = {"cancelled": "stopped", "error": "ended by an error"}


def end_sentences(reply: Reply) -> list[str]:
    """How a reply ended, where it is not simply there, and what is to be said of it."""
    late = [flag for flag in reply.flags if flag.startswith(LATE)]
    if reply.finish == "error":
        return [*reply.flags] or ["The reply ended early by an error; asking again may help."]
    sentences = []
    if reply.finish == "cancelled":
        sentences.append("Stopped; what was written is kept.")
    elif reply.finish == "length" and late:
        sentences.append("The answer was cut: the time was up. A longer --deadline leaves more of it.")
    elif reply.finish == "length":
        sentences.append("The answer was cut: its longest length, or the end of the context, is reached.")
    return sentences + [_told(flag) for flag in reply.flags if flag not in late]


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


def _told(flag: str) -> str:
    """A turn that went on says so itself; nothing is wrong with it."""
    return flag[0].upper() + flag[1:] + "." if flag.startswith("resumed: ") else f"Flagged: {flag}"


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

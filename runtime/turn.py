"""One turn: steers its sequence by thinking control, and turns its tokens into events and a reply."""

from __future__ import annotations

import math
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from models.errors import CannotMeetError, KangaeError
from models.family import Family
from runtime.backends.backend import Vocabulary
from runtime.events import AnswerDelta, Closed, Done, Event, Progress, ThinkingDelta, joined
from runtime.pace import Pace, Speed
from runtime.phase import NO_TAG, Phase, PhaseTracker, Piece
from runtime.prompt import MarkerCutter, Prompt
from runtime.reply import Finish, ModelLabel, Reply, SpentBudget, Timings, Usage
from runtime.request import Request
from runtime.responder import Control
from runtime.sequence import STAY, Move
from runtime.thinking_control import Decision, ThinkingControl, View, plan_limits


class Turn:
    """Implements `Steer` for one sequence. `ids` is what the sequence starts with: the prompt, and what is forced
    before it.

    Raises `CannotMeetError` if the prompt leaves no room for a reply in `context` tokens, or in the seconds given:
    `speed` is what is known of the machine, `asked` the moment from which they count (None: now). Events are added by
    the thread that steps the engine and taken by the one that asked.
    """

    def __init__(
        self,
        request: Request,
        prompt: Prompt,
        *,
        branch: int,
        family: Family,
        vocabulary: Vocabulary,
        context: int,
        model: ModelLabel,
        control: Control,
        clock: Callable[[], float],
        load_seconds: float = 0.0,
        prepare_seconds: float = 0.0,
        speed: Speed | None = None,
        asked: float | None = None,
    ) -> None:
        self.request = request
        self.branch = branch
        self.over = False  # whether `Done` was taken
        self._prompt_tokens = len(prompt.ids)
        self._end_ids = vocabulary.end_ids | prompt.turn_ids
        self._family = family
        self._vocabulary = vocabulary
        self._model = model
        self._live = control
        self._abandoned = False
        self._clock = clock
        self._load_seconds, self._prepare_seconds = load_seconds, prepare_seconds

        budget = request.budget
        opening = self._opening(prompt)
        self._closing = self._tokens(family.forced_close)
        self.ids = (*prompt.ids, *opening)
        closing = 0 if budget.off else len(self._closing)
        limits = plan_limits(budget, prompt=len(self.ids), context=context, closing=closing)
        self._control = ThinkingControl(limits, off=budget.off)
        phase = Phase.ANSWER if budget.off else Phase.THINKING if prompt.starts_in_thinking else Phase.BEFORE
        self._tracker = PhaseTracker(family.openers, family.closers, phase=phase)

        self._afterwards: list[Callable[[], None]] = []
        self._outbox: deque[Event] = deque()
        self._thinking: list[str] = []
        self._answer: list[str] = []
        self._announced = False
        self._forced_tokens = len(opening)
        self._sampled = 0
        self._cached = 0
        self._started = clock() if asked is None else asked
        self._pace = Pace(speed.step if speed is not None else 0.0)
        if budget.seconds is not None and speed is not None:
            _require_time(budget.seconds, len(self.ids), closing, speed)
        self._admitted: float | None = None
        self._prefilled: float | None = None
        self._first: dict[str, float] = {}
        if opening:
            self._open_by_force(prompt)

    # what the engine asks (Steer)

    @property
    def cancelled(self) -> bool:
        """Whether the user, or the reader of the events, gave up."""
        return self._abandoned or self._live.cancelled

    @property
    def overdue(self) -> bool:
        """Whether the deadline has passed."""
        seconds = self.request.budget.seconds
        return seconds is not None and self._clock() - self._started >= seconds

    def abandon(self) -> None:
        """Nobody reads on: end this turn alone."""
        self._abandoned = True

    def when_over(self, callback: Callable[[], None]) -> None:
        """Call `callback` once when the turn ends."""
        self._afterwards.append(callback)

    def progress(self, done: int, total: int, cached: int) -> None:
        """Tell how far the prompt is decoded."""
        now = self._clock()
        self._cached = min(cached, self._prompt_tokens)
        if self._admitted is None:
            self._admitted = now
        if done >= total:
            self._prefilled = now
            self._pace.begin(now)
        self._outbox.append(Progress(done, total, cached, self.branch))

    def before_draw(self) -> Move:
        """What the live control or the clock ask for since the last token."""
        return self._move(self._control.decide(self._view()))

    def permits(self, token: int) -> bool:
        """Whether a drawn token may stand (thinking control's bans, by the text it would complete)."""
        if token in self._end_ids:
            return self._control.permits_end(self._view())
        outlook = self._tracker.outlook(self._vocabulary.piece(token))
        return outlook is NO_TAG or self._control.permits(self._view(), outlook)

    def drawn(self, token: int) -> Move:
        """Count the token, tell its text, decide what follows."""
        self._pace.drew(self._clock())
        if token in self._end_ids:
            return self._move(self._control.end_of_sequence(self._view()), retract=1)
        self._sampled += 1
        self._emit(self._tracker.feed(token, self._vocabulary.piece(token)))
        return self._move(self._control.decide(self._view()))

    def ended(self, finish: Finish, error: Exception | None) -> None:
        """Give out what is held back, and the reply."""
        for callback in self._afterwards:
            callback()
        self._control.ended(self._view(), finish)
        self._emit(self._tracker.finish())
        if finish in ("stop", "length"):
            self._announce()
        flags: tuple[str, ...] = ()
        if isinstance(error, KangaeError):
            flags = (f"{error.title}: {error.detail}",)
        elif error is not None:
            flags = (f"The engine failed: {error}",)
        elif finish == "length" and self._control.close == "deadline":
            flags = ("deadline: the answer was cut off",)
        self._outbox.append(Done(self._reply(finish, flags), self.branch))

    # what the responder takes

    def take_events(self) -> list[Event]:
        """All events since the last call; what stacked up of one kind becomes one delta."""
        events: list[Event] = []
        while self._outbox:
            event = self._outbox.popleft()
            self.over = self.over or isinstance(event, Done)
            one = joined(events[-1], event) if events else None
            if one is not None:
                events[-1] = one
            else:
                events.append(event)
        return events

    # inside

    def _tokens(self, text: str) -> tuple[int, ...]:
        return tuple(self._vocabulary.tokenize(text, markers=True)) if text else ()

    def _opening(self, prompt: Prompt) -> tuple[int, ...]:
        """What is forced behind the prompt.

        That is the thought to go on from, if one is given, and the opener before it; or the opener alone, where a least
        thought is asked for and the model might not open one. (An empty thought, with thinking off, is in the prompt.)
        """
        request = self.request
        given = bool(request.thinking or request.thinking_closed)
        wanted = given or (request.budget.minimum > 0 and self._family.off != "none")
        if request.budget.off or not wanted or (prompt.starts_in_thinking and not given):
            return ()
        opener = "" if prompt.starts_in_thinking else self._family.opener + "\n"
        thought = MarkerCutter(self._vocabulary).content_ids(request.thinking) if request.thinking else []
        return (
            *self._tokens(opener),
            *thought,
            *(self._own_close(request.thinking) if request.thinking_closed else ()),
        )

    def _own_close(self, thought: str) -> tuple[int, ...]:
        """The closer as the model itself would write it behind a thought with this end."""
        newline = "" if thought.endswith("\n") else "\n"
        return self._tokens(newline + self._family.closer + self._family.after_closer)

    def _open_by_force(self, prompt: Prompt) -> None:
        request = self.request
        if request.thinking or not prompt.starts_in_thinking:
            piece = self._tracker.put_thought(request.thinking)
            self._emit([piece] if piece.text else [])
        if request.thinking_closed:
            self._emit(self._feed_forced(self._own_close(request.thinking)))

    def _view(self) -> View:
        tracker = self._tracker
        return View(
            tracker.phase,
            tracker.thinking_tokens,
            tracker.answer_tokens,
            tracker.tail,
            tracker.settled,
            tracker.has_answer,
            self._live.wants_answer,
            self._clock() - self._started,
            tracker.opening,
            self._pace.step,
            (self._prefilled or self._started) - self._started,
        )

    def _move(self, decision: Decision, *, retract: int = 0) -> Move:
        if decision.close is None:
            return Move(retract=retract, finish=decision.finish) if decision.finish else STAY
        ids = self._close_ids(message=decision.message)
        retract += len(self._tracker.unfinished)
        self._tracker.drop_held()
        self._forced_tokens += len(ids)
        self._emit(self._feed_forced(ids))
        return Move(retract=retract, force=ids)

    def _close_ids(self, *, message: bool) -> tuple[int, ...]:
        family = self._family
        if self._tracker.phase is Phase.BEFORE:
            return self._tokens(family.empty_block) if family.off != "none" else ()
        if message:
            return self._closing
        return self._own_close(self._tracker.tail)

    def _feed_forced(self, ids: tuple[int, ...]) -> list[Piece]:
        pieces: list[Piece] = []
        for token in ids:
            pieces += self._tracker.feed(token, self._vocabulary.piece(token), forced=True)
        pieces += self._tracker.finish()
        return pieces

    def _emit(self, pieces: list[Piece]) -> None:
        """Events of one decode step: adjacent pieces of one kind are one delta; `Closed` stands before the first
        answer."""
        merged: list[Piece] = []
        for piece in pieces:
            if merged and (merged[-1].kind, merged[-1].forced) == (piece.kind, piece.forced):
                merged[-1] = replace(piece, text=merged[-1].text + piece.text)
            else:
                merged.append(piece)
        for piece in merged:
            self._first.setdefault(piece.kind, self._clock())
            if piece.kind == "thinking":
                self._thinking.append(piece.text)
                self._outbox.append(ThinkingDelta(piece.text, self._tracker.thinking_tokens, piece.forced, self.branch))
            else:
                self._announce()
                self._answer.append(piece.text)
                self._outbox.append(AnswerDelta(piece.text, self._tracker.answer_tokens, self.branch))
        if self._tracker.phase is Phase.ANSWER and pieces and not self._announced:
            self._announce()

    def _announce(self) -> None:
        if not self._announced:
            self._announced = True
            self._outbox.append(Closed(self._control.close or "natural", self._tracker.thinking_tokens, self.branch))

    def _reply(self, finish: Finish, flags: tuple[str, ...]) -> Reply:
        now = self._clock()
        admitted = self._admitted if self._admitted is not None else now
        prefilled = self._prefilled if self._prefilled is not None else now
        budget, spent = self.request.budget, self._tracker.thinking_tokens
        fresh = self._prompt_tokens - self._cached if self._prefilled is not None else 0
        return Reply(
            id=self.request.id or uuid.uuid4().hex,
            question=next((one.content for one in reversed(self.request.messages) if one.role == "user"), ""),
            model=self._model,
            thinking="".join(self._thinking).strip("\r\n"),
            answer="".join(self._answer).strip(),
            close=self._control.close or "natural",
            finish=finish,
            usage=Usage(
                prompt_tokens=self._prompt_tokens,
                cached_tokens=self._cached,
                thinking_tokens=spent,
                forced_tokens=self._forced_tokens,
                answer_tokens=self._tracker.answer_tokens,
            ),
            budget=SpentBudget(
                tokens=budget.tokens,
                seconds=budget.seconds,
                effort=budget.effort,
                answer_reserve=self._control.limits.reserve,
                overshoot_tokens=0 if budget.tokens is None else max(0, spent - budget.tokens),
            ),
            timings=Timings(
                load_s=self._load_seconds,
                prepare_s=self._prepare_seconds,
                prefill_s=prefilled - self._started,
                first_thinking_s=self._since_start("thinking"),
                first_answer_s=self._since_start("answer"),
                total_s=now - self._started,
                prefill_tps=_rate(fresh, prefilled - admitted),
                decode_tps=_rate(self._sampled, now - prefilled),
            ),
            flags=flags,
        )

    def _since_start(self, kind: str) -> float:
        return self._first[kind] - self._started if kind in self._first else 0.0


def _require_time(seconds: float, prompt: int, closing: int, speed: Speed) -> None:
    """Raises `CannotMeetError` where not even the shortest reply can be there in time."""
    least = speed.least_seconds(prompt, closing)
    if least <= seconds:
        return
    room = speed.within(seconds, closing)
    shorter = f", or shorten the prompt of {prompt} tokens to about {room}" if room >= 16 else ""
    raise CannotMeetError(
        f"A reply within {seconds:g} s cannot be kept: on this machine the shortest one takes about {least:.2g} s. "
        f"Give --deadline {math.ceil(least * 1.2)} or more{shorter}."
    )


def _rate(tokens: int, seconds: float) -> float:
    return tokens / seconds if tokens > 0 and seconds > 0 else 0.0

"""One turn: steers its sequence by thinking control, and turns its tokens into events and a reply."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from models.errors import KangaeError
from models.family import Family
from runtime.backends.backend import Vocabulary
from runtime.events import Done, Event, Progress
from runtime.hesitation import hesitations
from runtime.pace import Speed, require_time
from runtime.phase import NO_TAG, Phase, PhaseTracker, Piece
from runtime.probe import Probe
from runtime.prompt import MarkerCutter, Prompt
from runtime.reply import Finish, ModelLabel, Reply, SpentBudget, Usage
from runtime.request import Endings, Request, Sampling
from runtime.responder import Control
from runtime.scores import Scores
from runtime.sequence import STAY, Fork, Move
from runtime.steering import NO_DOUBTS, Steering
from runtime.thinking_control import (
    DEFAULT_RULES,
    Decision,
    NearlyClosed,
    Rule,
    ThinkingControl,
    View,
    at_boundary,
    plan_limits,
)
from runtime.transcript import Transcript
from runtime.trial_answers import TrialAnswer
from runtime.turn_clock import TurnClock
from runtime.votes import confidence

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_LEAK_START = 800  # signs, about 200 tokens
_HESITATIONS = 2
_LEAST_AFTER_HINT = 8


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
        endings: Endings | None = None,
        doubts: npt.NDArray[np.int64] = NO_DOUBTS,
        can_fork: bool = False,
    ) -> None:
        self.request = request
        self.branch = branch
        self._prompt_tokens = len(prompt.ids)
        self._end_ids = vocabulary.end_ids | prompt.turn_ids
        self._family = family
        self._vocabulary = vocabulary
        self._model = model
        self._live = control
        self._abandoned = False
        self._clock = TurnClock(
            clock,
            asked=asked,
            step=speed.step if speed is not None else 0.0,
            load=load_seconds,
            prepare=prepare_seconds,
        )

        budget = request.budget
        opening = self._opening(prompt)
        endings = endings or Endings()
        closer = family.closer + family.after_closer
        self._closing = self._tokens(family.forced_close if endings.message else closer)
        self.ids = (*prompt.ids, *opening)
        closing = 0 if budget.off else len(self._closing)
        limits = plan_limits(budget, prompt=len(self.ids), context=context, closing=closing)
        self._probing, self._can_fork, self._trial_runs = endings.probing, can_fork, False
        self._steering = Steering(endings, self._tokens(family.closer)[0], doubts)
        rules: tuple[Rule, ...] = DEFAULT_RULES
        if self._steering.soft is not None:
            rules = (*rules, NearlyClosed(self._steering.soft))
        limits = replace(limits, sentence=endings.sentence)
        self._control = ThinkingControl(limits, off=budget.off, rules=rules)
        phase = Phase.ANSWER if budget.off else Phase.THINKING if prompt.starts_in_thinking else Phase.BEFORE
        self._tracker = PhaseTracker(family.openers, family.closers, phase=phase)

        self._afterwards: list[Callable[[], None]] = []
        self._said = Transcript(self._tracker, branch, clock)
        self._forced_tokens = len(opening)
        self._granted = self._hinted = 0
        self._stood, self._looked_at = False, -1
        self._cached = 0
        self._scores: Scores | None = None
        self._log_probabilities: list[float] = []
        if budget.seconds is not None and speed is not None:
            require_time(budget.seconds, len(self.ids), closing, speed)
        if opening:
            self._open_by_force(prompt)

    # what the engine asks (Steer)

    @property
    def cancelled(self) -> bool:
        """Whether the user, or the reader of the events, gave up."""
        return self._abandoned or self._live.stopped(self.branch)

    @property
    def paused(self) -> bool:
        """Whether the user wants it to stand still."""
        still = (self._live.paused or self._trial_runs) and not self._abandoned
        if still and not self._trial_runs and self._control.must_close(self._view()):
            return False  # a deadline does not wait: the thought is closed while there is time to answer
        self._stood = self._stood or still
        return still

    @property
    def overdue(self) -> bool:
        """Whether the deadline has passed."""
        seconds = self.request.budget.seconds
        return seconds is not None and self._clock.now >= seconds

    def abandon(self) -> None:
        """Nobody reads on: end this turn alone."""
        self._abandoned = True

    def when_over(self, callback: Callable[[], None]) -> None:
        """Call `callback` once when the turn ends."""
        self._afterwards.append(callback)

    def progress(self, done: int, total: int, cached: int) -> None:
        """Tell how far the prompt is decoded."""
        self._cached = min(cached, self._prompt_tokens)
        self._clock.progressed(done=done >= total)
        self._said.add(Progress(done, total, cached, self.branch))

    def before_draw(self, scores: Scores) -> Move:
        """What the live control or the clock ask for since the last token; else the odds of the next one are set."""
        tracker, steering = self._tracker, self._steering
        if self._stood:
            self._stood = False
            self._clock.stood_still()
        self._scores = scores if self.request.confidence else None
        if tracker.phase is not Phase.THINKING:
            return self._move(self._control.decide(self._view()))
        if self._live.granted > self._granted:
            self._control.grant(self._live.granted - self._granted)
            self._granted = self._live.granted
        view = self._view()
        boundary = tracker.settled and at_boundary(tracker.tail)
        fresh = tracker.thinking_tokens != self._looked_at  # after a trial the same place is come to again
        if steering.soft is not None and boundary and fresh and steering.soft.looks(tracker.thinking_tokens):
            self._looked_at = tracker.thinking_tokens
            view = view._replace(margin=steering.margin(scores))
        move = self._move(self._control.decide(view))
        if move is not STAY:
            return move
        if boundary and len(self._live.hints) > self._hinted:
            return self._put_hint()
        if self._can_fork and steering.wants_trial(scores, tracker.thinking_tokens, boundary=boundary):
            return self._ask_on_trial()
        if not steering.idle:
            budget = self.request.budget.tokens
            steering.change(scores, tracker.thinking_tokens / self._control.limits.thinking if budget else 0.0)
        return STAY

    def permits(self, token: int) -> bool:
        """Whether a drawn token may stand (thinking control's bans, by the text it would complete)."""
        if token in self._end_ids:
            return self._control.permits_end(self._view())
        outlook = self._tracker.outlook(self._vocabulary.piece(token))
        return outlook is NO_TAG or self._control.permits(self._view(), outlook)

    def drawn(self, token: int) -> Move:
        """Count the token, tell its text, decide what follows."""
        self._clock.drew(counts=token not in self._end_ids)
        if token in self._end_ids:
            return self._move(self._control.end_of_sequence(self._view()), retract=1)
        piece = self._vocabulary.piece(token)
        thought = self._tracker.phase is Phase.THINKING
        pieces = self._tracker.feed(token, piece)
        if thought and self._tracker.phase is not Phase.THINKING and self._steering.lifted:
            self._control.close = self._control.close or "soft"
        self._emit(pieces)
        if self._scores is not None and self._tracker.phase is Phase.ANSWER and not thought:
            self._log_probabilities.append(self._scores.log_probability(token))
        if thought and self._tracker.phase is Phase.THINKING:
            self._steering.said(token, piece.decode("utf-8", "replace"))
        return self._move(self._control.decide(self._view()))

    def ended(self, finish: Finish, error: Exception | None) -> None:
        """Give out what is held back, and the reply."""
        for callback in self._afterwards:
            callback()
        self._control.ended(self._view(), finish)
        self._emit(self._tracker.finish())
        if finish in ("stop", "length"):
            self._said.announce(self._control.close)
        flags: tuple[str, ...] = ()
        if isinstance(error, KangaeError):
            flags = (f"{error.title}: {error.detail}",)
        elif error is not None:
            flags = (f"The engine failed: {error}",)
        elif finish == "length" and self._control.close == "deadline":
            flags = ("deadline: the answer was cut off",)
        if hesitations(self._said.answer[:_LEAK_START]) > _HESITATIONS:
            flags = (*flags, "leak: the answer goes on thinking")
        self._said.add(Done(self._reply(finish, flags), self.branch))

    # what the responder takes

    @property
    def over(self) -> bool:
        """Whether `Done` was taken."""
        return self._said.over

    @property
    def has_events(self) -> bool:
        """Whether any wait to be taken."""
        return self._said.has_events

    def take_events(self) -> list[Event]:
        """All events since the last call."""
        return self._said.take_events()

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

    def _put_hint(self) -> Move:
        """The next hint as a line of its own; one that the context does not hold is left out."""
        text = self._live.hints[self._hinted].strip() + "\n"
        self._hinted += 1
        text = text if self._tracker.tail.endswith("\n") or not self._tracker.tail else "\n" + text
        ids = tuple(MarkerCutter(self._vocabulary).content_ids(text))
        if len(ids) + _LEAST_AFTER_HINT > self._control.limits.room - self._tracker.thinking_tokens:
            return STAY
        self._control.occupy(len(ids))
        self._forced_tokens += len(ids)
        self._emit([self._tracker.put_thought(text)])
        return Move(force=ids)

    def _ask_on_trial(self) -> Move:
        """Fork the thought, close the fork, and stand still until it has answered."""
        probing, trials = self._probing, self._steering.trials
        assert probing is not None and trials is not None
        trials.asked(self._tracker.thinking_tokens)
        self._trial_runs = True
        ids = self._close_ids(message=True)
        probe = Probe(
            self._vocabulary,
            self._end_ids,
            most=probing.length,
            forced=len(ids),
            cancelled=lambda: self.cancelled or self.overdue,
            on_end=self._trial_over,
        )
        return Move(fork=Fork(ids, Sampling(), probe), hold=True)

    def _trial_over(self, answer: TrialAnswer) -> None:
        self._trial_runs = False
        if self._steering.trials is not None:
            self._steering.trials.told(answer)

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
            self._clock.now,
            tracker.opening,
            self._clock.step,
            self._clock.begun,
            self._steering.looping,
            self._steering.trials is not None and self._steering.trials.sure,
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
        self._said.say(pieces, self._control.close)

    def _reply(self, finish: Finish, flags: tuple[str, ...]) -> Reply:
        budget, spent = self.request.budget, self._tracker.thinking_tokens
        tokens = None if budget.tokens is None else budget.tokens + self._granted
        fresh = self._prompt_tokens - self._cached if self._clock.prefilled else 0
        return Reply(
            id=self.request.id or uuid.uuid4().hex,
            question=next((one.content for one in reversed(self.request.messages) if one.role == "user"), ""),
            model=self._model,
            thinking=self._said.thinking,
            answer=self._said.answer,
            close=self._control.close or "natural",
            finish=finish,
            usage=Usage(
                prompt_tokens=self._prompt_tokens,
                cached_tokens=self._cached,
                thinking_tokens=spent,
                forced_tokens=self._forced_tokens,
                probe_tokens=0 if self._steering.trials is None else self._steering.trials.spent,
                answer_tokens=self._tracker.answer_tokens,
            ),
            budget=SpentBudget(
                tokens=tokens,
                seconds=budget.seconds,
                effort=budget.effort,
                answer_reserve=self._control.limits.reserve,
                overshoot_tokens=0 if tokens is None else max(0, spent - tokens),
            ),
            timings=self._clock.timings(
                fresh=fresh, thinking=self._said.began("thinking"), answer=self._said.began("answer")
            ),
            flags=flags,
            confidence=confidence(self._log_probabilities) if self.request.confidence else None,
        )

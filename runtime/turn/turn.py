"""One turn: steers its sequence by thinking control, and turns its tokens into events and a reply."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from models.family import Family
from runtime.backends.backend import Vocabulary
from runtime.control.boundary import at_boundary
from runtime.control.scores import Scores
from runtime.control.steering import NO_DOUBTS, Steering
from runtime.control.thinking_control import (
    DEFAULT_RULES,
    Ban,
    NearlyClosed,
    Rule,
    Ruling,
    ThinkingControl,
    View,
    plan_limits,
)
from runtime.events import Done, Event, Progress
from runtime.pace import Speed, require_time
from runtime.phase import NO_TAG, Phase, PhaseTracker
from runtime.prompt import Prompt
from runtime.reply import Finish, ModelLabel
from runtime.request import Endings, Request
from runtime.responder import Cancel, Control, Pause, Wish
from runtime.sequence import STAY, Move
from runtime.turn.clock import TurnClock
from runtime.turn.forced_text import ForcedText
from runtime.turn.log import AskedTrial, Drew, Earlier, ForcedClose, LookedAt, PutHint, RaisedBudget
from runtime.turn.outcome import ending_flags, loop_flags, make_reply, own_check_flags
from runtime.turn.state import TurnState
from runtime.turn.transcript import Transcript
from runtime.turn.trial import NO_PLACE, Trials

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_LEAST_AFTER_HINT = 8


class Turn:
    """Implements `Steer` for one sequence. `ids` is what the sequence starts with: the prompt, and what is forced
    before it.

    Raises `CannotMeetError` if the prompt leaves no room for a reply in `context` tokens, or in the seconds given:
    `speed` is what is known of the machine, `asked` the moment from which they count (None: now), `held` tells how many
    leading ids the cache holds, `longest` how many tokens answers need at most (None: unknown). `no_trials`: why no
    answers can be tried, which the reply tells where they were asked for; "": they can. With `earlier` it is gone on
    with: what it has said is said again, as events, and nothing is decided anew. Events are added by the thread that
    steps the engine and taken by the one that asked.
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
        held: Callable[[Sequence[int]], int] = lambda ids: 0,
        longest: int | None = None,
        endings: Endings | None = None,
        doubts: npt.NDArray[np.int64] = NO_DOUBTS,
        no_trials: str = NO_PLACE,
        earlier: Earlier | None = None,
    ) -> None:
        self.request = request
        self.branch = branch
        self._prompt_tokens = len(prompt.ids)
        self._end_ids = vocabulary.end_ids | prompt.turn_ids
        self._vocabulary = vocabulary
        self._model = model
        self._live, self._before = control, Control()
        self._abandoned = False
        self._clock = TurnClock(
            clock,
            asked=asked,
            speed=speed,
            load=load_seconds,
            prepare=prepare_seconds,
            earlier=earlier.times if earlier is not None else None,
        )

        budget = request.budget
        endings = endings or Endings()
        self._family = family
        self._forced = ForcedText(family, vocabulary, message=endings.message)
        opening = self._forced.opening(request, prompt)
        self.ids = (*prompt.ids, *opening)
        closing = 0 if budget.off else len(self._forced.closing)
        limits = plan_limits(budget, prompt=len(self.ids), context=context, closing=closing, answer=longest)
        self._steering = Steering(endings, self._forced.closer, doubts)
        soft = self._steering.soft
        rules: tuple[Rule, ...] = DEFAULT_RULES if soft is None else (*DEFAULT_RULES, NearlyClosed(soft))
        self._control = ThinkingControl(replace(limits, sentence=endings.sentence), off=budget.off, rules=rules)
        phase = Phase.ANSWER if budget.off else Phase.THINKING if prompt.starts_in_thinking else Phase.BEFORE
        self._tracker = PhaseTracker(family.openers, family.closers, phase=phase)
        self._said = Transcript(self._tracker, branch, clock)
        self._state = TurnState(
            vocabulary,
            self._end_ids,
            tracker=self._tracker,
            control=self._control,
            steering=self._steering,
            said=self._said,
            opened=len(opening),
        )
        self._notes: tuple[str, ...] = ()
        self._trials: Trials | None = None
        if endings.probing is not None and not budget.off:
            if no_trials:
                self._notes = (f"probe: no answers were tried, for {no_trials}",)
            else:
                length = endings.probing.length
                self._trials = Trials(
                    self._state, self._forced, vocabulary, self._end_ids, length=length, given_up=self._gives_trial_up
                )

        self._afterwards: list[Callable[[], None]] = []
        self._stood = self._hopeless = False
        self._cached = 0
        self._scores: Scores | None = None
        self._banned: Ban | None = None  # why a token was refused for the draw under way
        if budget.seconds is not None and speed is not None and earlier is None:
            spent, cached = self._clock.now, held(self.ids)
            require_time(budget.seconds, len(self.ids), closing, speed, held=cached, spent=spent)
        if opening:
            self._state.open(request, prompt, self._forced)
        if earlier is not None:
            self._go_on(earlier)

    # what the engine asks (Steer)

    @property
    def cancelled(self) -> bool:
        """Whether the user, or the reader of the events, gave up."""
        return self._abandoned or self._live.stopped(self.branch)

    @property
    def paused(self) -> bool:
        """Whether the user wants it to stand still."""
        still = (self._live.paused or self._tries) and not self._abandoned
        hurried = self._control.close == "deadline" or self._control.must_close(self._view())
        if still and not self._tries and hurried:
            return False  # a deadline does not wait: the thought is closed and answered while there is time
        self._stood = self._stood or still
        return still

    @property
    def overdue(self) -> bool:
        """Whether the deadline has passed, or will before the prompt is decoded."""
        return self._hopeless or (self.seconds_left is not None and self.seconds_left <= 0.0)

    @property
    def patience(self) -> float:
        """Seconds until a turn that stands still has to be looked at again."""
        return self._control.patience(self._view())

    @property
    def rates(self) -> tuple[float | None, float | None]:
        """Tokens a second of its prefill and of its draws; None: too few to tell by."""
        return self._clock.rates

    @property
    def answer_tokens(self) -> int:
        """Tokens of its answer."""
        return self._tracker.answer_tokens

    @property
    def seconds_left(self) -> float | None:
        """Until the deadline; None: there is none."""
        seconds = self.request.budget.seconds
        return None if seconds is None else seconds - self._clock.now

    @property
    def stands(self) -> bool:
        """Whether its user has paused or stopped it, and no trial is under way: it can be kept and gone on with."""
        if self._abandoned:
            return False
        return self._live.stopped(self.branch) or (self._live.paused and not self._tries and self.paused)

    @property
    def earlier(self) -> Earlier:
        """All of it up to now."""
        said, steps = self._said, self._state.log
        if steps and isinstance(steps[-1], AskedTrial):  # it will not be told any more, so it is asked again
            steps = steps[:-1]
        wishes: Iterable[Wish] = (*self._before.wishes, *self._live.wishes)
        return Earlier(
            steps=tuple(steps),
            times=self._clock.times(thinking=said.began("thinking"), answer=said.began("answer")),
            wishes=tuple(wish for wish in wishes if not isinstance(wish, Pause | Cancel)),
            cached=self._cached,
        )

    @property
    def age(self) -> tuple[int, int]:
        """How many steps it has taken, and how many wishes its user had since it was asked; both only grow."""
        return len(self._state.log), len(self._live.wishes)

    def abandon(self) -> None:
        """Nobody reads on: end this turn alone."""
        self._abandoned = True

    def when_over(self, callback: Callable[[], None]) -> None:
        """Call `callback` once when the turn ends."""
        self._afterwards.append(callback)

    def progress(self, done: int, total: int, cached: int) -> None:
        """Tell how far the prompt is decoded."""
        if not self._clock.prefilled:  # a turn that is gone on with keeps what its first prefill found
            self._cached = min(cached, self._prompt_tokens)
        self._go_on_after_standing()
        self._clock.progressed(done, total)
        deadline = self._control.limits.deadline
        if deadline is not None and not self._clock.prefilled:
            self._hopeless = deadline.over(self._clock.now + self._clock.prefill_left, self._clock.step)
        self._said.add(Progress(done, total, cached, self.branch))

    def before_draw(self, scores: Scores) -> Move:
        """What the live control or the clock ask for since the last token; else the odds of the next one are set."""
        tracker, steering, state = self._tracker, self._steering, self._state
        self._go_on_after_standing()
        self._scores, self._banned = scores if self.request.confidence or self._family.sure else None, None
        if tracker.phase is not Phase.THINKING:
            steering.change_answer(scores)
            return self._move(self._control.decide(self._view()))
        granted = self._before.granted + self._live.granted
        if granted > state.granted:
            state.do(RaisedBudget(granted - state.granted))
        view = self._view()
        boundary = tracker.settled and at_boundary(tracker.tail)
        fresh = tracker.thinking_tokens != state.looked_at  # after a trial the same place is come to again
        if steering.soft is not None and boundary and fresh and steering.soft.looks(tracker.thinking_tokens):
            margin = steering.margin(scores)
            state.looked_at = tracker.thinking_tokens
            state.note(LookedAt(margin), tracker.thinking_tokens)
            view = view._replace(margin=margin)
        move = self._move(self._control.decide(view))
        if move is not STAY:
            return move
        if boundary and (hints := self._hints) and at_boundary(tracker.tail, certain=True):
            return self._put_hint(hints[0])
        if self._trials and steering.wants_trial(scores, tracker.thinking_tokens, boundary=boundary):
            trial = self._trials.ask(view)
            if trial is not STAY:
                return trial
        if not steering.idle:
            budget = self.request.budget.tokens
            steering.change(scores, tracker.thinking_tokens / self._control.limits.thinking if budget else 0.0)
        return STAY

    def permits(self, token: int) -> bool:
        """Whether a drawn token may stand (thinking control's bans, by the text it would complete)."""
        if token in self._end_ids:
            ban = self._control.ban_on_end(self._view())
        else:
            outlook = self._tracker.outlook(self._vocabulary.piece(token))
            ban = None if outlook is NO_TAG else self._control.ban(self._view(), outlook)
        self._banned = self._banned or ban
        return ban is None

    def drawn(self, token: int) -> Move:
        """Count the token, tell its text, decide what follows."""
        self._clock.drew(counts=token not in self._end_ids)
        state, steering, before, sure = self._state, self._steering, self._tracker.thinking_tokens, None
        if token in self._end_ids:
            state.note(Drew(token, banned=self._banned), before)
            return self._move(self._control.end_of_sequence(self._view()), retract=1)
        if state.hear(token) and self._scores is not None:
            sure = self._scores.log_probability(token)
            state.log_probabilities.append(sure)
        state.note(Drew(token, steering.lifted, sure, self._banned, steering.turned), before)
        return self._move(self._control.decide(self._view()))

    def ended(self, finish: Finish, error: Exception | None) -> None:
        """Give out what is held back, and the reply."""
        for callback in self._afterwards:
            callback()
        late = self._hopeless or self._control.late(self._view())
        self._control.ended(self._view(), finish, late=late)
        self._state.finish()
        if finish in ("stop", "length"):
            self._said.announce(self._control.close)
        flags = ending_flags(finish, error, self._said.answer, late=late)
        circling = finish == "length" and not late and self._steering.looping(Phase.ANSWER)
        flags = (*flags, *loop_flags(ended=circling, turned=self._steering.answer_turned))
        flags = (*flags, *own_check_flags(finish, self._said.thinking, self._said.answer, self._family.self_check))
        reply = make_reply(
            self.request,
            self._model,
            self._state,
            self._clock,
            finish=finish,
            late=late,
            flags=(*flags, *self._notes),
            prompt_tokens=self._prompt_tokens,
            cached=self._cached,
            hints_left=len(self._hints),
            sure=self._family.sure,
        )
        self._said.add(Done(reply, self.branch))

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

    def _go_on_after_standing(self) -> None:
        if self._stood:
            self._stood = False
            self._clock.stood_still()

    def _go_on(self, earlier: Earlier) -> None:
        for wish in earlier.wishes:
            self._before.tell(wish)
        for step in earlier.steps:
            self._state.do(step)
        self._cached, self._notes = earlier.cached, (*self._notes, *earlier.notes)
        moment, times = self._clock.moment, earlier.times
        self._said.began_at({"thinking": moment(times.thinking), "answer": moment(times.answer)})

    def _put_hint(self, hint: str) -> Move:
        """The next hint; one that the context, or the time, does not hold is left out."""
        text, ids = self._forced.hint(hint, self._tracker.tail)
        fits = len(ids) + _LEAST_AFTER_HINT <= self._control.limits.room - self._tracker.thinking_tokens
        if not fits or not self._control.holds(self._view(), _LEAST_AFTER_HINT, len(ids)):
            self._state.do(PutHint(late=fits))
            return STAY
        self._state.do(PutHint(text, ids))
        return Move(force=ids)

    @property
    def _hints(self) -> tuple[str, ...]:
        """Those that wait for a boundary."""
        return (*self._before.hints, *self._live.hints)[self._state.hinted :]

    @property
    def _tries(self) -> bool:
        """Whether an answer on trial is under way."""
        return self._trials is not None and self._trials.under_way

    def _gives_trial_up(self) -> bool:
        return self.cancelled or self.overdue or self._control.must_close(self._view())

    def _view(self) -> View:
        tracker = self._tracker
        return View(
            tracker.phase,
            tracker.thinking_tokens,
            tracker.answer_tokens,
            tracker.tail,
            tracker.settled,
            tracker.has_answer,
            self._live.wants_answer or self._before.wants_answer,
            self._clock.now,
            tracker.opening,
            self._clock.step,
            self._clock.begun,
            self._steering.looping(tracker.phase),
            self._steering.trials is not None and self._steering.trials.sure,
            hinted=bool(self._hints) or self._state.hinted_at == tracker.thinking_tokens,
        )

    def _move(self, ruling: Ruling, *, retract: int = 0) -> Move:
        if ruling.close is None:
            return Move(retract=retract, finish=ruling.finish) if ruling.finish else STAY
        tracker = self._tracker
        ids = self._forced.close(tracker.phase, tracker.tail, message=ruling.message)
        retract += len(tracker.unfinished)
        self._state.do(ForcedClose(ids, ruling.close, retract, self._clock.now))
        return Move(retract=retract, force=ids)

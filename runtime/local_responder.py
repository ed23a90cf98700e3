"""The responder of this process: prompts in, the engine driven, events out."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from models.errors import CannotMeetError, KangaeError, UsageError
from models.family import Family
from runtime.alarm import alarm_at
from runtime.answer_lengths import AnswerLengths
from runtime.backends.backend import Backend
from runtime.control.effort import effort_tokens
from runtime.control.endings import usual_endings
from runtime.control.hesitation import hesitation_ids
from runtime.control.steering import NO_DOUBTS
from runtime.engine import Engine
from runtime.events import Event, Failed
from runtime.known_speed import KnownSpeed
from runtime.pace import Speed
from runtime.prompt import build_prompt
from runtime.rehearsal import PROMPT_TOKENS, Rehearsal
from runtime.reply import ModelLabel
from runtime.request import Polled, Request, Resumable, Sampling
from runtime.responder import Control
from runtime.sequence import Sequence as EngineSequence
from runtime.speed_record import SpeedRecord
from runtime.turn.keeping import TurnKeeping
from runtime.turn.kept_turn import KeptTurn
from runtime.turn.kept_turns import KeptTurns
from runtime.turn.trial import no_trials
from runtime.turn.turn import Turn

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_PAUSED_WAIT = 0.25  # seconds: a wish wakes a paused turn at once, this only bounds what a lost one costs
_LEAST_WAIT = 0.005


class _Waited(Protocol):
    """Something the engine works on that gives events."""

    def take_events(self) -> list[Event]: ...

    @property
    def has_events(self) -> bool: ...

    @property
    def patience(self) -> float:
        """Seconds for which it may be left alone where nothing can be decoded."""


def default_sampling(family: Family, *, thinking: bool) -> Sampling:
    """How to draw where the request does not say: what the model's file, then its family advise (`resolve_family`),
    else greedy."""
    advice = family.sampling(thinking=thinking)
    return Sampling(temperature=advice.temperature, top_p=advice.top_p, top_k=advice.top_k, min_p=advice.min_p)


class LocalResponder:
    """Implements `Responder` over one open backend.

    Any number of threads may ask at once: their sequences are decoded in one batch. Whoever waits for an event steps
    the engine for all; there is no thread of its own, so an engine that nobody reads from stands still. `turns`: where
    resumable turns are kept; None: in the state folder. `weights`: SHA-256 of the model's file, "" where none is known.
    """

    def __init__(
        self,
        backend: Backend,
        family: Family,
        *,
        backend_name: str = "llama",
        load_seconds: float = 0.0,
        prepare_seconds: float = 0.0,
        record: SpeedRecord | None = None,
        spare: int = 0,
        clock: Callable[[], float] = time.perf_counter,
        turns: KeptTurns | None = None,
        weights: str = "",
    ) -> None:
        self.facts = backend.facts
        self.backend_name = backend_name
        self.context = min(backend.context, backend.facts.context_length)
        self.family = family
        self._backend = backend
        self._engine = Engine(backend, spare=spare)
        self._keeping = TurnKeeping(self._engine, backend, lambda: turns or KeptTurns(), weights=weights, clock=clock)
        self._spare = spare
        self._load_seconds, self._prepare_seconds = load_seconds, prepare_seconds
        self._clock = clock
        self._changed = threading.Condition()
        self._stepping = False
        self._closed = False
        self._noted = False
        self._speed = KnownSpeed(record, clock)
        self._lengths = AnswerLengths()
        self._doubts: npt.NDArray[np.int64] | None = None

    def respond(self, request: Request, control: Control | None = None) -> Iterator[Event]:
        """Events of one turn, `Done` last. Closing the iterator cancels; Ctrl-C while it waits ends with a cancelled
        `Done`."""
        for event in self.respond_many((request,), control):
            if isinstance(event, Failed):
                raise event.error
            yield event

    def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
        """Events of many turns at once; `branch` is the request's index. At most twice as many as run at once are
        prepared ahead."""
        control = control or Control()
        left = iter(enumerate(requests))
        live: list[Turn] = []
        polls: dict[int, float] = {}
        # a turn's deadline runs while it waits for a place, so such turns are not prepared ahead
        hurried = any(request.budget.seconds is not None for request in requests)
        ahead = (self._backend.sequences - self._spare) * (1 if hurried else 2)
        exhausted = begun = False
        control.on_cancel(self._wake)
        control.on_change(self._notice)
        try:
            while True:
                while not exhausted and len(live) < ahead and not (begun and control.cancelled):
                    begun = True
                    item = next(left, None)
                    if item is None:
                        exhausted = True
                        break
                    branch, request = item
                    asked = self._clock()
                    if isinstance(request, Polled):
                        asked = polls.setdefault(request.poll, asked)
                    try:
                        live.append(self._start(request, branch, control, asked, alone=len(requests) == 1))
                    except KangaeError as error:
                        yield Failed(error, branch)
                if not live:
                    return
                try:
                    events = self._wait(live)
                except KeyboardInterrupt:
                    control.cancel()  # what was produced is kept: each turn still gives its Done
                    continue
                live = [turn for turn in live if not turn.over]
                yield from events
        finally:
            control.forget(self._wake)
            control.forget(self._notice)
            if live:
                self._abandon(live)

    def close(self) -> None:
        """Free the model; a turn under way ends with an error."""
        with self._changed:
            self._backend.abort()
            self._changed.wait_for(lambda: not self._stepping)
            if not self._closed:
                self._closed = True
                self._engine.fail(UsageError("The model was closed while it answered."))
                self._backend.close()
            self._changed.notify_all()

    def _start(self, request: Request, branch: int, control: Control, asked: float, *, alone: bool) -> Turn:
        """Prepare and submit a turn that was asked at the moment `asked`; only one that is asked `alone` is kept, and
        tells how fast one is."""
        self._require_open()
        kept, lock, turn, resumable = None, None, None, alone and isinstance(request, Resumable)
        if isinstance(request, Resumable) and request.resumed:
            kept, lock = self._keeping.found(request, context=self.context)
            request = kept.request
        seconds, used = request.budget.seconds, 0.0 if kept is None else kept.earlier.times.used
        due = math.inf if seconds is None else asked + seconds - used
        alarm = alarm_at(due, self._clock, self._ring)

        def over() -> None:
            alarm.cancel()
            if lock is not None:
                lock.release()

        try:
            turn = self._prepared(request, branch, control, asked, due, kept)
            sampling = turn.request.sampling or default_sampling(self.family, thinking=not request.budget.off)
            if kept is None:
                sequence = EngineSequence(turn.ids, sampling, turn, hurried=seconds is not None)
            else:
                sequence = self._keeping.sequence(kept, turn, sampling)
            if resumable:
                context = self.context if kept is None else kept.context
                told = replace(turn.request, sampling=sampling)
                self._keeping.watch(turn, sequence, told, self._label, context, lock)
            turn.when_over(partial(self._learn, turn, sequence, alone=alone))
            turn.when_over(over)
            self._submit(sequence)
        except BaseException:
            if turn is not None:
                self._keeping.leave(turn)
            over()
            raise
        return turn

    def _require_open(self) -> None:
        if self._closed:
            raise UsageError("The model is closed; open it again.")

    def _learn(self, turn: Turn, sequence: EngineSequence, *, alone: bool) -> None:
        """What a turn that is over tells of the next ones."""
        if alone and not sequence.accompanied:
            self._speed.measured(*turn.rates)
        if sequence.finish == "stop":  # one that was cut or stopped does not tell how long answers are
            self._lengths.told(turn.answer_tokens)

    def _submit(self, sequence: EngineSequence) -> None:
        """Give a sequence to the engine, which does not end it any more once the model is closed: raises UsageError."""
        with self._changed:
            self._require_open()
            self._engine.submit(sequence)

    def _prepared(
        self, request: Request, branch: int, control: Control, asked: float, due: float, kept: KeptTurn | None
    ) -> Turn:
        """The turn of a request, with all that the model's defaults say. Raises CannotMeetError."""
        facts, budget = self.facts, request.budget
        if kept is None and budget.effort is not None and budget.tokens is None:
            budget = replace(budget, tokens=effort_tokens(budget.effort, facts))
        if kept is None and facts.profile is not None and budget.expected_answer is None:
            budget = replace(budget, expected_answer=facts.profile.reserve)
        endings = request.endings or usual_endings(facts)
        request = replace(request, budget=budget, endings=endings)
        speed = None
        if budget.seconds is not None:  # one that goes on knows its own pace
            speed = self._known_speed(budget.seconds, control, branch, due) if kept is None else self._speed.speed
        prompt = build_prompt(
            request.messages,
            facts=facts,
            vocabulary=self._backend.vocabulary,
            family=self.family,
            thinking=not budget.off,
        )
        family = self.family if endings.closing is None else replace(self.family, closing_message=endings.closing)
        if facts.profile is not None and facts.profile.sure is not None:
            family = replace(family, sure=facts.profile.sure)
        if prompt.note and not self._noted:
            self._noted = True
            logging.getLogger("kangae").warning(prompt.note)

        def make(speed: Speed | None) -> Turn:
            return Turn(
                request,
                prompt,
                branch=branch,
                family=family,
                vocabulary=self._backend.vocabulary,
                context=self.context if kept is None else kept.context,
                model=self._label,
                control=control,
                clock=self._clock,
                load_seconds=self._load_seconds,
                prepare_seconds=self._prepare_seconds,
                speed=speed,
                asked=asked,
                held=self._engine.held,
                longest=self._lengths.most,
                endings=endings,
                doubts=self._hesitant_ids() if endings.hesitation or endings.probing else NO_DOUBTS,
                no_trials=no_trials(self._backend, self._spare),
                earlier=None if kept is None else kept.earlier,
            )

        try:
            return make(speed)
        except CannotMeetError as refusal:
            if speed is None or kept is not None or not self._speed.doubtful or self._clock() >= due:
                raise
            try:  # what is known may be from a busy hour
                speed = self._rehearse(budget.seconds or 0.0, control, branch, due)
            except CannotMeetError:
                raise refusal from None
            return make(speed)

    @property
    def _label(self) -> ModelLabel:
        facts = self.facts
        return ModelLabel(name=facts.name, file=facts.file, quant=facts.quant, backend=self.backend_name)

    def _hesitant_ids(self) -> npt.NDArray[np.int64]:
        """The ids of hesitant words: looked up once, where a penalty is asked for."""
        if self._doubts is None:
            self._doubts = hesitation_ids(self._backend.vocabulary)
        return self._doubts

    def _known_speed(self, seconds: float, control: Control, branch: int, due: float) -> Speed | None:
        """How fast this model is here: as it was found before, else from a short rehearsal, which is kept."""
        known = self._speed.speed
        return known if known is not None else self._rehearse(seconds, control, branch, due)

    def _rehearse(self, seconds: float, control: Control, branch: int, due: float) -> Speed | None:
        """Measure the speed, and keep it; None where it was cancelled or failed. Raises CannotMeetError where the
        deadline, of `seconds`, comes before it is over."""
        rehearsal = Rehearsal(self._clock, cancelled=lambda: control.stopped(branch), due=due)
        words = self._backend.vocabulary.tokenize("How fast does this machine think? " * PROMPT_TOKENS, markers=False)
        self._submit(EngineSequence(words[:PROMPT_TOKENS], Sampling(), rehearsal))
        while not rehearsal.over:
            try:
                self._wait([rehearsal])
            except KeyboardInterrupt:
                control.cancel()
        found = rehearsal.speed
        if found is not None:
            self._speed.measured(found.prefill_tps, found.decode_tps)
        elif rehearsal.overdue and not rehearsal.cancelled:
            raise CannotMeetError(
                f"A reply within {seconds:g} s cannot be kept: they were over before it was known how fast this model "
                "is on this machine. Give more seconds."
            )
        return found

    def _ring(self) -> None:
        """A deadline is there: break off a decode, or a pause, that would outlast it."""
        self._wake()
        self._notice()

    def _wait(self, turns: Sequence[_Waited]) -> list[Event]:
        """Events of these turns as soon as there are any; steps the engine if no other thread does."""
        while True:
            with self._changed:
                events = [event for turn in turns for event in turn.take_events()]
                if events:
                    return events
                self._require_open()
                if self._stepping:
                    self._changed.wait()
                    continue
                self._stepping = True
            if not self._step():
                with self._changed:
                    if not any(turn.has_events for turn in turns):
                        patience = min(turn.patience for turn in turns)
                        self._changed.wait(min(_PAUSED_WAIT, max(_LEAST_WAIT, patience)))

    def _step(self) -> bool:
        """One step of the engine, for all who wait; False: nothing could be decoded."""
        try:
            if self._closed:
                return True
            self._keeping.look()
            return self._engine.step()
        except KeyboardInterrupt:
            self._engine.recover()
            raise
        except KangaeError as error:
            self._engine.fail(error)
            return True
        except Exception as error:
            self._engine.fail(error)
            raise
        finally:
            with self._changed:
                self._stepping = False
                self._changed.notify_all()

    def _abandon(self, turns: list[Turn]) -> None:
        """Nobody reads these turns any more: free their sequences now."""
        for turn in turns:
            turn.abandon()
        self._wake()
        with self._changed:
            self._changed.wait_for(lambda: not self._stepping)
            if not self._closed:
                self._engine.drop_cancelled()
            self._changed.notify_all()

    def _notice(self) -> None:
        """Something was wished for, or a deadline is there: who waits on a paused turn looks again."""
        with self._changed:
            self._changed.notify_all()

    def _wake(self) -> None:
        """Break off a decode under way, so that a cancelled turn ends at once; the others repeat that step."""
        if self._stepping:
            self._backend.abort()

"""The responder of this process: prompts in, the engine driven, events out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from models.errors import CannotMeetError, KangaeError, UsageError
from models.family import Family
from runtime.backends.backend import Backend
from runtime.effort import effort_tokens
from runtime.endings import default_endings
from runtime.engine import Engine
from runtime.events import Event, Failed
from runtime.hesitation import hesitation_ids
from runtime.pace import Speed
from runtime.prompt import build_prompt
from runtime.rehearsal import PROMPT_TOKENS, Rehearsal
from runtime.reply import ModelLabel
from runtime.request import Request, Sampling
from runtime.responder import Control
from runtime.sequence import Sequence as EngineSequence
from runtime.speed_record import SpeedRecord
from runtime.steering import NO_DOUBTS
from runtime.turn import Turn

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_PAUSED_WAIT = 0.25  # seconds: a wish wakes a paused turn at once, this only bounds what a lost one costs


class _Waited(Protocol):
    """Something the engine works on that gives events."""

    def take_events(self) -> list[Event]: ...

    @property
    def has_events(self) -> bool: ...


def default_sampling(family: Family, *, thinking: bool) -> Sampling:
    """How to draw where the request does not say: what the model's file, then its family advise (`resolve_family`),
    else greedy."""
    advice = family.sampling(thinking=thinking)
    return Sampling(temperature=advice.temperature, top_p=advice.top_p, top_k=advice.top_k, min_p=advice.min_p)


class LocalResponder:
    """Implements `Responder` over one open backend.

    Any number of threads may ask at once: their sequences are decoded in one batch. Whoever waits for an event steps
    the engine for all; there is no thread of its own, so an engine that nobody reads from stands still.
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
    ) -> None:
        self.facts = backend.facts
        self.backend_name = backend_name
        self.context = min(backend.context, backend.facts.context_length)
        self.family = family
        self._backend = backend
        self._engine = Engine(backend, spare=spare)
        self._spare = spare
        self._load_seconds, self._prepare_seconds = load_seconds, prepare_seconds
        self._clock = clock
        self._changed = threading.Condition()
        self._stepping = False
        self._closed = False
        self._noted = False
        self._record = record
        self._speed: Speed | None = None
        self._rehearsed = False
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
                    try:
                        live.append(self._start(request, branch, control))
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

    def _start(self, request: Request, branch: int, control: Control) -> Turn:
        if self._closed:
            raise UsageError("The model is closed; open it again.")
        asked = self._clock()
        if request.budget.effort is not None and request.budget.tokens is None:
            tokens = effort_tokens(request.budget.effort, self.facts)
            request = replace(request, budget=replace(request.budget, tokens=tokens))
        speed = None if request.budget.seconds is None else self._known_speed()
        thinking = not request.budget.off
        prompt = build_prompt(
            request.messages,
            facts=self.facts,
            vocabulary=self._backend.vocabulary,
            family=self.family,
            thinking=thinking,
        )
        facts = self.facts
        endings = request.endings or default_endings(facts)
        if prompt.note and not self._noted:
            self._noted = True
            logging.getLogger("kangae").warning(prompt.note)

        def make(speed: Speed | None) -> Turn:
            return Turn(
                request,
                prompt,
                branch=branch,
                family=self.family,
                vocabulary=self._backend.vocabulary,
                context=self.context,
                model=ModelLabel(name=facts.name, file=facts.file, quant=facts.quant, backend=self.backend_name),
                control=control,
                clock=self._clock,
                load_seconds=self._load_seconds,
                prepare_seconds=self._prepare_seconds,
                speed=speed,
                asked=asked,
                endings=endings,
                doubts=self._hesitant_ids() if endings.hesitation or endings.probing else NO_DOUBTS,
                can_fork=self._spare > 0 and self._backend.can_fork and self._backend.can_rewind,
            )

        try:
            turn = make(speed)
        except CannotMeetError:
            if speed is None or self._rehearsed:
                raise
            turn = make(self._rehearse())  # what was kept may be from a busy hour
        self._set_alarm(turn, asked)
        sampling = request.sampling or default_sampling(self.family, thinking=thinking)
        self._engine.submit(EngineSequence(turn.ids, sampling, turn))
        return turn

    def _hesitant_ids(self) -> npt.NDArray[np.int64]:
        """The ids of hesitant words: looked up once, where a penalty is asked for."""
        if self._doubts is None:
            self._doubts = hesitation_ids(self._backend.vocabulary)
        return self._doubts

    def _known_speed(self) -> Speed | None:
        """How fast this model is here: as kept from before, else from a short rehearsal, which is kept."""
        if self._speed is None and self._record is not None:
            self._speed = self._record.read()
        return self._speed if self._speed is not None else self._rehearse()

    def _rehearse(self) -> Speed | None:
        """Measure the speed once in this process, and keep it."""
        self._rehearsed = True
        rehearsal = Rehearsal(self._clock)
        words = self._backend.vocabulary.tokenize("How fast does this machine think? " * PROMPT_TOKENS, markers=False)
        self._engine.submit(EngineSequence(words[:PROMPT_TOKENS], Sampling(), rehearsal))
        self._wait([rehearsal])
        self._speed = rehearsal.speed
        if self._speed is not None and self._record is not None:
            self._record.keep(self._speed)
        return self._speed

    def _set_alarm(self, turn: Turn, asked: float) -> None:
        """Break off a decode that would outlast the turn's deadline."""
        if turn.request.budget.seconds is not None:
            left = turn.request.budget.seconds - (self._clock() - asked)
            alarm = threading.Timer(max(0.0, left), self._wake)
            alarm.daemon = True
            turn.when_over(alarm.cancel)
            alarm.start()

    def _wait(self, turns: Sequence[_Waited]) -> list[Event]:
        """Events of these turns as soon as there are any; steps the engine if no other thread does."""
        while True:
            with self._changed:
                events = [event for turn in turns for event in turn.take_events()]
                if events:
                    return events
                if self._stepping:
                    self._changed.wait()
                    continue
                self._stepping = True
            if not self._step():
                with self._changed:
                    if not any(turn.has_events for turn in turns):
                        self._changed.wait(_PAUSED_WAIT)

    def _step(self) -> bool:
        """One step of the engine, for all who wait; False: nothing could be decoded."""
        try:
            return self._closed or self._engine.step()
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
        """Something was wished for: who waits on a paused turn looks again."""
        with self._changed:
            self._changed.notify_all()

    def _wake(self) -> None:
        """Break off a decode under way, so that a cancelled turn ends at once; the others repeat that step."""
        if self._stepping:
            self._backend.abort()

"""The responder of this process: prompts in, the engine driven, events out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from models.errors import KangaeError, UsageError
from models.family import Family
from runtime.backends.backend import Backend
from runtime.engine import Engine
from runtime.events import Event, Failed
from runtime.prompt import build_prompt
from runtime.reply import ModelLabel
from runtime.request import Request, Sampling
from runtime.responder import Control
from runtime.sequence import Sequence as EngineSequence
from runtime.turn import Turn


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
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.facts = backend.facts
        self.backend_name = backend_name
        self.context = min(backend.context, backend.facts.context_length)
        self.family = family
        self._backend = backend
        self._engine = Engine(backend)
        self._load_seconds = load_seconds
        self._clock = clock
        self._changed = threading.Condition()
        self._stepping = False
        self._closed = False
        self._noted = False

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
        exhausted = begun = False
        control.on_cancel(self._wake)
        try:
            while True:
                while not exhausted and len(live) < 2 * self._backend.sequences and not (begun and control.cancelled):
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
        thinking = not request.budget.off
        prompt = build_prompt(
            request.messages,
            facts=self.facts,
            vocabulary=self._backend.vocabulary,
            family=self.family,
            thinking=thinking,
        )
        facts = self.facts
        if prompt.note and not self._noted:
            self._noted = True
            logging.getLogger("kangae").warning(prompt.note)
        turn = Turn(
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
        )
        sampling = request.sampling or default_sampling(self.family, thinking=thinking)
        self._engine.submit(EngineSequence(turn.ids, sampling, turn))
        return turn

    def _wait(self, turns: list[Turn]) -> list[Event]:
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
            self._step()

    def _step(self) -> None:
        try:
            if not self._closed:
                self._engine.step()
        except KeyboardInterrupt:
            self._engine.recover()
            raise
        except KangaeError as error:
            self._engine.fail(error)
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

    def _wake(self) -> None:
        """Break off a decode under way, so that a cancelled turn ends at once; the others repeat that step."""
        if self._stepping:
            self._backend.abort()

"""Several openings of one model as one responder: for measurements on a model so small that one core serves it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from queue import SimpleQueue

from runtime.events import Done, Event, Failed
from runtime.opening import responder_family
from runtime.request import Request
from runtime.responder import Control, Responder


class Lanes:
    """Shares many requests out evenly, to each opening in a thread of its own; tells how each ended, and no more."""

    def __init__(self, responders: Sequence[Responder]) -> None:
        self._responders = responders
        first = responders[0]
        self.facts, self.context, self.backend_name = first.facts, first.context, first.backend_name
        self.family = responder_family(first)

    def respond(self, request: Request, control: Control | None = None) -> Iterator[Event]:
        """One turn, by the first opening."""
        return self._responders[0].respond(request, control)

    def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
        """How each turn ended, in no order; `branch` is the request's index."""
        count = len(self._responders)
        told: SimpleQueue[Event | None] = SimpleQueue()

        def run(number: int) -> None:
            try:
                for event in self._responders[number].respond_many(requests[number::count], control):
                    if isinstance(event, Done | Failed):
                        told.put(replace(event, branch=event.branch * count + number))
            finally:
                told.put(None)

        with ThreadPoolExecutor(count) as pool:
            runs = [pool.submit(run, number) for number in range(count)]
            for _ in range(count):
                while (event := told.get()) is not None:
                    yield event
            for one in runs:
                one.result()

    def close(self) -> None:
        """Close all openings."""
        for responder in self._responders:
            responder.close()

"""What responders over another one have in common: they answer with its model, and pass on what it says of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from runtime.backends.backend import ModelFacts
from runtime.events import Event, Failed
from runtime.request import Request
from runtime.responder import Control, Responder


class OuterResponder(ABC):
    """Implements `Responder` over `inner`, but for how many requests are answered."""

    def __init__(self, inner: Responder) -> None:
        self.facts: ModelFacts = inner.facts
        self.backend_name = inner.backend_name
        self.context = inner.context
        self.family = getattr(inner, "family", None)
        self.inner = inner

    def respond(self, request: Request, control: Control | None = None) -> Iterator[Event]:
        """Events of one turn, `Done` last. Raises what `respond_many` tells by `Failed`."""
        for event in self.respond_many((request,), control):
            if isinstance(event, Failed):
                raise event.error
            yield event

    @abstractmethod
    def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
        """Events of many turns at once; `branch` is the request's index."""

    def close(self) -> None:
        """Free the model."""
        self.inner.close()

"""A request that is one of several thoughts on the same question."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.request import Request


@dataclass(frozen=True)
class Polled(Request):
    """Of the requests that are asked together, those with the same `poll` are one question: it is asked once, so the
    seconds of its deadline run for all of them from the moment that the first one is begun."""

    poll: int = 0

"""A climb that is cut short, broken off or bounded: what was said wholly is told, and how it ended is told truly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from runtime.events import Done, Event
from runtime.ladder.ladder import LadderResponder
from runtime.request import Budget, Message, Request
from runtime.responder import Control
from tests.fakes.answering_responder import FACTS
from tests.fakes.rung_responder import ByRung, Nodding, climbed, request


class Cut(ByRung):
    """The off rung says 42 wholly; the next one ends as given."""

    def __init__(self, **ending: Any) -> None:
        super().__init__({"How many?": ["42", "-"]})
        self._ending = ending

    def end(self, request: Request, branch: int) -> Event:
        done = super().end(request, branch)
        assert isinstance(done, Done)
        if request.budget.tokens == 0:
            return done
        return Done(replace(done.reply, **self._ending), branch)


@pytest.mark.parametrize(
    ("ending", "why"),
    [
        ({"answer": "", "finish": "length", "flags": ("late: the answer was cut off",)}, "late: the answer was cut"),
        ({"answer": "The answer is 4", "finish": "length", "flags": ("late: the answer was cut off",)}, "late: the"),
        ({"answer": "", "finish": "error", "flags": ("Cannot be met: there is no room",)}, "Cannot be met: there"),
    ],
)
def test_a_rung_that_is_cut_short_takes_no_whole_answer_away(ending: dict[str, Any], why: str) -> None:
    fake = Cut(**ending)
    # the last rung under this deadline
    *_, last = LadderResponder(fake, []).respond(Request((Message("user", "How many?"),), Budget(seconds=2.5)))
    assert isinstance(last, Done) and len(fake.asked) == 2
    assert (last.reply.answer, last.reply.finish, last.reply.close) == ("42", "stop", "off")
    (flag,) = last.reply.flags
    assert flag.startswith(f"unsure: there was no whole answer ({why}")
    assert last.reply.usage.thinking_tokens == 10  # of the rung that is not told, too


def test_a_climb_that_is_cancelled_keeps_the_whole_answer_and_says_so() -> None:
    control = Control()

    class Stopping(Cut):
        def end(self, request: Request, branch: int) -> Event:
            if request.budget.tokens != 0:
                control.cancel()
            return super().end(request, branch)

    fake = Stopping(answer="The answer is 4", finish="cancelled")
    *_, last = LadderResponder(fake, []).respond(Request((Message("user", "How many?"),)), control)
    assert isinstance(last, Done)
    assert (last.reply.answer, last.reply.finish, last.reply.flags) == ("42", "cancelled", ())


def test_the_least_thought_breaks_no_rung_that_allows_less() -> None:
    fake = ByRung({"How many?": [*"1234567"]})
    least = 10_000
    list(LadderResponder(fake, []).respond(Request((Message("user", "How many?"),), Budget(minimum=least))))
    asked = [(request.budget.tokens, request.budget.minimum) for request in fake.requests]
    assert asked[0] == (0, 0) and asked[2] == (None, least)
    assert asked[1][0] == asked[1][1] and asked[1][0]


def test_a_ctrl_c_that_no_handler_took_ends_the_climb() -> None:
    """`bench` has no handler for it; the engine's responder then cancels the control that it was given."""

    class Interrupted(ByRung):
        def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
            for event in super().respond_many(requests, control):
                assert isinstance(event, Done) and control is not None
                if event.branch == 1:
                    control.cancel()
                    event = replace(event, reply=replace(event.reply, answer="", finish="cancelled"))
                yield event

    control = Control()
    fake = Interrupted({"How many?": ["-", "-", "5", "6", "7", "8", "9"]}, FACTS)
    events = list(LadderResponder(fake, []).respond_many([request()], control))
    assert [len(batch) for batch in fake.asked] == [1, 2]
    (done,) = (event for event in events if isinstance(event, Done))
    assert (done.reply.answer, done.reply.finish) == ("5", "cancelled")
    assert control.cancelled and climbed(events) == ["votes"]


def test_an_answer_whose_judging_was_interrupted_is_cancelled_however_sure() -> None:
    class Interrupted(ByRung):
        def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
            assert control is not None
            control.cancel()  # the thought was over already
            yield from super().respond_many(requests, control)

    fake = Interrupted({"How many?": ["-", "-", ("5", 0.999)]}, FACTS)
    events = list(LadderResponder(fake, [Nodding("form", passed=True)]).respond_many([request()]))
    (done,) = (event for event in events if isinstance(event, Done))
    assert (done.reply.answer, done.reply.finish, done.reply.checks) == ("5", "cancelled", ())
    assert done.reply.flags == ("verify: the answer was not judged, for that was interrupted",)
    assert len(fake.asked) == 1

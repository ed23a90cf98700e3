"""Where a hint is put in: behind the line or the sentence that was being thought when it came."""

from __future__ import annotations

import pytest

from runtime.events import ThinkingDelta
from runtime.responder import Control
from tests.fakes.scripted_model import ask, model, reply_of, responder


@pytest.mark.parametrize(
    ("first", "rest"),
    [
        ("One plus one is two, as was said", "\nIt is so, and on it goes for long.\n"),
        ("One plus one is two.", " It is so, and on it goes for long.\n"),
        ("一足す一は二。", "そうだ、そして続く。\n"),
        ("I take the root by math.sqrt(2), as was said.", " It is so, and on it goes for long.\n"),
    ],
)
def test_a_hint_waits_for_the_end_of_what_is_being_thought(first: str, rest: str) -> None:
    control, asked_at = Control(), -1
    events = []
    for event in responder(model(f"<think>\n{first}{rest}</think>\n\n2")).respond(ask(), control):
        events.append(event)
        if isinstance(event, ThinkingDelta) and asked_at < 0 and event.tokens >= 4:
            asked_at = len("".join(one.text for one in events if isinstance(one, ThinkingDelta)))
            control.hint("use ten")
    reply = reply_of(events)
    before, _, _ = reply.thinking.partition("use ten\n")
    assert 0 < asked_at < len(first)
    assert before.endswith("\n") and before.rstrip() == first

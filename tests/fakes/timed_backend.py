"""A scripted backend whose decodes move a clock of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from runtime.backends.backend import Slice
from runtime.backends.fake import FakeBackend, Script, scripted
from runtime.local_responder import LocalResponder
from runtime.pace import Speed
from runtime.responder import Control
from tests.fakes.scripted_model import VOCABULARY

SENTENCE = "One more thought of it.\n"
LONG = "<think>\n" + SENTENCE * 40
STEP, TOKEN = 0.1, 0.001


class TimedBackend(FakeBackend):
    """Every decode takes `STEP` seconds and `TOKEN` more for each token; `slow_after` decodes it takes thrice that.
    `script`: what it says in the place of `text` and `answer`."""

    def __init__(
        self,
        text: str = LONG,
        answer: str = "2",
        *,
        script: Script | None = None,
        slow_after: int = 1 << 30,
        context: int = 4096,
        sequences: int = 4,
        on_decode: Callable[[FakeBackend], None] | None = None,
    ) -> None:
        follow = script or scripted(VOCABULARY, text, answer=answer)
        super().__init__(follow, VOCABULARY, context=context, sequences=sequences, on_decode=on_decode)
        self.now = 100.0
        self._slow_after = slow_after

    def clock(self) -> float:
        """Its seconds."""
        return self.now

    def seconds(self, batch: Sequence[Slice]) -> float:
        """What a decode takes."""
        return (STEP + TOKEN * sum(len(part.ids) for part in batch)) * (3 if self._slow_after < 0 else 1)

    def decode(self, batch: Sequence[Slice]) -> list[int | None]:
        """As its script says, later."""
        self._slow_after -= 1
        self.now += self.seconds(batch)
        return super().decode(batch)


def known_speed(responder: LocalResponder) -> Speed | None:
    """How fast its model is, rehearsed where that is not known, as a turn with a deadline begins."""
    return responder._known_speed(math.inf, Control(), 0, math.inf)

"""One thought of a climb: its reply, and where in the climb it stood, as its decisions and times are to be told by."""

from __future__ import annotations

from dataclasses import dataclass, replace

from runtime.reply import Decision, Reply, Timings


@dataclass(frozen=True)
class Judged:
    """A thought's reply with its checks, and the seconds that they took; `interrupted`: before all were made."""

    reply: Reply
    seconds: float
    interrupted: bool = False


@dataclass(frozen=True)
class Thought:
    """`rung`: the name of its rung, which began `begun` seconds after the question was asked, behind `tokens` thinking
    tokens of the rungs before it. `seed`: what its draws began with; None: it was not drawn."""

    reply: Reply
    rung: str
    begun: float = 0.0
    tokens: int = 0
    seed: int | None = None

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What was decided in it, at the tokens of the whole climb."""
        return tuple(replace(one, token=self.tokens + one.token, rung=self.rung) for one in self.reply.decisions)

    def timings(self, total: float) -> Timings:
        """Its times in seconds since the question was asked, of a climb of `total` seconds; what never came stays 0."""
        own = self.reply.timings
        return replace(
            own,
            prefill_s=self.begun + own.prefill_s,
            first_thinking_s=own.first_thinking_s and self.begun + own.first_thinking_s,
            first_answer_s=own.first_answer_s and self.begun + own.first_answer_s,
            total_s=total,
        )

"""What comes back: thought, answer, why the thinking ended, what it cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Finish = Literal["stop", "length", "cancelled", "error"]
CloseReason = Literal["natural", "soft", "probe", "loop", "budget", "deadline", "user", "off"]
"""Why a thought ended."""
RuleName = (
    Literal["opened", "margin", "trial", "repetition", "hint", "more", "forced", "length", "rung", "vote"]
    | Literal["minimum", "opener", "end", "hesitation", "ramp"]
    | CloseReason
)
"""What may be decided in a turn; a decision that ends the thought is named by its reason. `rung`: whether the answer
of one rung of the ladder stands; `vote`: which answer most thoughts gave. Behind a `rung`, `user` and `deadline`
tell why nothing more is climbed. `minimum`, `opener`, `end`, `hesitation` and `ramp` act on single draws: each is told
once, where it first did, and its number is that of the draws."""
LATE = "deadline: "
"""What the flag of a reply begins with that the deadline cut off, also where it has no answer."""
CIRCLED = "loop: the answer went in circles and was ended"
"""The flag of a reply that was cut off for that."""


@dataclass(frozen=True)
class ModelLabel:
    """Which model answered: catalogue or file name, file, quantization, backend."""

    name: str
    file: str
    quant: str
    backend: str


@dataclass(frozen=True)
class Usage:
    """Token counts. `thinking_tokens` are sampled inside thoughts, tags excluded; `forced_tokens` were put in."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    thinking_tokens: int = 0
    forced_tokens: int = 0
    probe_tokens: int = 0
    answer_tokens: int = 0


@dataclass(frozen=True)
class Timings:
    """Seconds from the request's start (load from the process's), and tokens per second. `prepare_s` is the part of
    `load_s` before the weights: imports, and the check of the file."""

    load_s: float = 0.0
    prepare_s: float = 0.0
    prefill_s: float = 0.0
    first_thinking_s: float = 0.0
    first_answer_s: float = 0.0
    total_s: float = 0.0
    prefill_tps: float = 0.0
    decode_tps: float = 0.0


@dataclass(frozen=True)
class SpentBudget:
    """The limits that were in force. `overshoot_tokens` = max(0, thinking tokens - budget)."""

    tokens: int | None = None
    seconds: float | None = None
    effort: str | None = None
    answer_reserve: int = 0
    overshoot_tokens: int = 0


@dataclass(frozen=True)
class Check:
    """One verifier's verdict."""

    name: str
    passed: bool
    detail: str
    kind: Literal["form", "truth", "agreement"] = "form"
    """Whether the answer only parses and is in range, was computed again, or is that of other thoughts as well."""


@dataclass(frozen=True)
class Decision:
    """What was decided in a turn, and where: for a person who wants to know why a reply is as it is.

    `token`: sampled thinking tokens before it, on the ladder those of the rungs before as well; `number`: what the rule
    went by, in tokens, seconds, nats or, for a trial answer, as a probability; `limit`: what the number was held
    against. None: there is none. `words` never repeat the thought; what came out of it or was put into it, as a trial
    answer or a hint, is its `quote`, which is forgotten when the thought is. `rung`: the one of the ladder that it was
    decided on; empty: nothing was climbed.
    """

    token: int
    rule: RuleName
    number: float | None
    limit: float | None
    words: str
    quote: str = ""
    rung: str = ""


@dataclass(frozen=True)
class Vote:
    """One thought's answer, and how it came about. `weight` 0..1; 0: it did not count, for it was empty, cut off or not
    waited for.

    `seed`: what its draws began with; `agrees`: whether it comes to what the reply says; `chosen`: the reply is this
    very one. `thinking`, `checks`, `flags` and `decisions` are those of this thought alone. None: not known, or (of
    `agrees`) it did not count.
    """

    answer: str
    weight: float
    close: CloseReason
    thinking_tokens: int
    finish: Finish | None = None
    answer_tokens: int | None = None
    confidence: float | None = None
    seed: int | None = None
    agrees: bool | None = None
    chosen: bool = False
    thinking: str = ""
    checks: tuple[Check, ...] = ()
    flags: tuple[str, ...] = ()
    decisions: tuple[Decision, ...] = ()

    @classmethod
    def of(
        cls, reply: Reply, weight: float, *, seed: int | None = None, agrees: bool | None = None, chosen: bool = False
    ) -> Vote:
        """The vote that a thought's reply casts."""
        return cls(
            answer=reply.answer,
            weight=round(weight, 4),
            close=reply.close,
            thinking_tokens=reply.usage.thinking_tokens,
            finish=reply.finish,
            answer_tokens=reply.usage.answer_tokens,
            confidence=reply.confidence,
            seed=seed,
            agrees=agrees,
            chosen=chosen,
            thinking=reply.thinking,
            checks=reply.checks,
            flags=reply.flags,
            decisions=reply.decisions,
        )


@dataclass(frozen=True)
class Reply:
    """A whole reply; `as_json` is the contract of `kangae ask --json`."""

    id: str
    question: str
    model: ModelLabel
    thinking: str
    answer: str
    close: CloseReason
    finish: Finish
    usage: Usage
    budget: SpentBudget
    timings: Timings
    checks: tuple[Check, ...] = field(default=())
    flags: tuple[str, ...] = field(default=())
    votes: tuple[Vote, ...] = field(default=())
    decisions: tuple[Decision, ...] = field(default=())
    confidence: float | None = None
    """Geometric mean probability of the answer's tokens, where it was asked for."""
    expected: str | None = None
    correct: bool | None = None

    def as_json(self) -> dict[str, Any]:
        """The JSON object; `checks`, `flags`, `votes`, `decisions`, `expected`, `correct`, `quote` and `rung` of a
        decision, and of a vote all that stands behind its first four fields, stand only where they apply."""
        record = asdict(self)
        for vote in record["votes"]:
            _leave_out(vote, _OFTEN_OF_A_VOTE)
        _leave_out(record, _OFTEN)
        return record


_OFTEN = ("votes", "checks", "flags", "decisions", "confidence", "expected", "correct")
_OFTEN_OF_A_VOTE = (
    "finish", "answer_tokens", "confidence", "seed", "agrees", "chosen", "thinking", "checks", "flags", "decisions",
)  # fmt: skip


def _leave_out(values: dict[str, Any], often: tuple[str, ...]) -> None:
    """Take out those of the fields `often` that do not apply, and quotes and rungs of decisions that have none."""
    for decision in values["decisions"]:
        for name in ("quote", "rung"):
            if not decision[name]:
                del decision[name]
    for name in often:
        value = values[name]
        if value is None or value in ("", ()) or (name == "chosen" and not value):
            del values[name]

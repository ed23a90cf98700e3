"""What is asked: messages, a budget for the thinking, and how to sample."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self

from models.errors import UsageError
from models.plural import counted

Role = Literal["system", "user", "assistant"]
EFFORTS = ("off", "low", "medium", "high")
"""What a person may ask for in words; `runtime.control.effort` tells it in tokens."""
LADDER_VOTES = 5
"""Most thoughts that vote on the ladder, that of its long rung among them."""
_IDENTITY = re.compile(r"[0-9A-Za-z_-]{1,64}")


@dataclass(frozen=True)
class Message:
    """One turn of a conversation. `content` of an assistant turn holds the answer alone, never the thought."""

    role: Role
    content: str


@dataclass(frozen=True)
class Budget:
    """Limits of one turn.

    `tokens` None: `effort` decides, or only the context limits; 0: no thinking at all. `seconds`: the whole reply is
    there by then, counted from the moment an open model is asked. `answer_reserve` tokens of the context are kept for
    the answer, and bound it. Without it `expected_answer` tokens are kept, which bound nothing; None: what the model's
    profile says, else a quarter of the context, at most 512. `minimum`: think at least so many tokens, unless the
    deadline or the context's end comes first, or the thought goes in circles, which the reply is flagged with; a `firm`
    one that the context does not hold is refused. Raises `UsageError` for limits that contradict each other; with an
    effort, that is found once its `tokens` are known, as the open model tells them.
    """

    tokens: int | None = None
    seconds: float | None = None
    effort: str | None = None
    answer_reserve: int | None = None
    minimum: int = 0
    expected_answer: int | None = None
    firm: bool = False

    def __post_init__(self) -> None:
        if self.tokens is not None and self.tokens < 0:
            raise UsageError(f"The budget is {self.tokens}; give 0 (off) or more thinking tokens, or `unlimited`.")
        if self.effort is not None and self.effort not in EFFORTS:
            raise UsageError(f"{self.effort!r} is no effort; there are {', '.join(EFFORTS)}.")
        if self.seconds is not None and not 0.0 < self.seconds < 1e9:
            raise UsageError(f"The deadline is {self.seconds} s; give a number of seconds above 0.")
        if self.answer_reserve is not None and self.answer_reserve < 1:
            raise UsageError(f"The answer's length is {self.answer_reserve}; give at least 1 token.")
        if self.minimum < 0:
            raise UsageError(f"The least thought is {self.minimum}; give 0 or more tokens.")
        most = 0 if self.off else self.tokens
        if most is not None and self.minimum > most:
            allows = "the budget" if self.effort is None else f"the effort {self.effort}"
            raise UsageError(
                f"A thought of at least {counted(self.minimum, 'token')} is more than the {most} that {allows} allows; "
                "lower the one or raise the other."
            )

    @property
    def off(self) -> bool:
        """Whether the turn is answered without thinking."""
        return self.tokens == 0 or (self.tokens is None and self.effort == "off")


@dataclass(frozen=True)
class Probing:
    """Trial answers while it thinks: where the model is about to doubt, or every `every` tokens, from `least` thinking
    tokens on, at most `most` times, at most `length` tokens each.

    An answer ends the thought if its tokens' geometric mean probability is `confidence` or more and it is the same
    `agreeing` times running; or if it is the same three times, each with a probability of 0.9 or more.
    """

    confidence: float = 0.95
    agreeing: int = 2
    every: int = 256
    least: int = 256
    most: int = 10
    length: int = 20

    def __post_init__(self) -> None:
        if not 0.0 < self.confidence <= 1.0:
            raise UsageError(
                f"The confidence of a trial answer is {self.confidence}; give a number above 0, at most 1."
            )
        if min(self.agreeing, self.every, self.most, self.length) < 1:
            raise UsageError("Trial answers need counts of 1 or more.")


@dataclass(frozen=True)
class Endings:
    """How a thought may be ended besides by its limits. A logit difference is in nats.

    `message`: a forced close says the family's closing message first, or `closing` in its place. `sentence`: near the
    budget's end a sentence's end is looked for, else the thought goes on to the last token. `margin`: close at a
    boundary, from `least` thinking tokens on, where the closer was twice running so little below the most likely
    token; None: never. `ramp`: pull towards the closer over the last 30 % of the budget. `hesitation`: taken off words
    that doubt what was said. `loops`: break a thought that goes in circles, then close it. `probing`: end it where a
    trial answer is sure.
    """

    message: bool = True
    sentence: bool = True
    margin: float | None = None
    ramp: bool = False
    hesitation: float = 0.0
    loops: bool = True
    least: int = 256
    probing: Probing | None = None
    closing: str | None = None

    def __post_init__(self) -> None:
        if self.margin is not None and self.margin < 0.0:
            raise UsageError(f"The margin of a soft close is {self.margin}; give 0 or more nats.")
        if not 0.0 <= self.hesitation <= 20.0:
            raise UsageError(f"The hesitation penalty is {self.hesitation}; give 0 to 20 nats (it has to be finite).")


@dataclass(frozen=True)
class Voting:
    """Several thoughts on one question at once, and a vote over their answers.

    `count` thoughts; `first`: the vote is over when so many have answered (short-m@k, arXiv 2505.17813); None: when
    the outcome cannot change any more. `weighted`: each answer counts by the model's confidence in it.
    """

    count: int
    first: int | None = None
    weighted: bool = True

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UsageError(f"{self.count} votes were asked for; give 1 or more.")
        if self.first is not None and not 1 <= self.first <= self.count:
            raise UsageError(f"The first {self.first} of {self.count} votes were asked for; give 1 to {self.count}.")


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. Temperature 0 is greedy; `None` fields are not applied."""

    temperature: float = 0.0
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.temperature <= 10.0:
            raise UsageError(f"The temperature is {self.temperature}; give a number from 0 (greedy) to 10.")
        for name, value in (("top-p", self.top_p), ("min-p", self.min_p)):
            if value is not None and not 0.0 <= value <= 1.0:
                raise UsageError(f"{name} is {value}; give a number from 0 to 1.")
        if self.top_k is not None and self.top_k < 0:
            raise UsageError(f"top-k is {self.top_k}; give 0 (off) or more.")


@dataclass(frozen=True)
class Request:
    """One question to a responder. `sampling` None: the model's own defaults.

    `thinking` is the beginning of a thought, put in by force after the opener; the model goes on from there, or, with
    `thinking_closed`, the closer is put in behind it and only the answer is wanted.
    """

    messages: tuple[Message, ...]
    budget: Budget = field(default_factory=Budget)
    sampling: Sampling | None = None
    id: str = ""
    thinking: str = ""
    thinking_closed: bool = False
    endings: Endings | None = None
    """None: what the model's file advises."""
    voting: Voting | None = None
    verifier_options: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """What verifiers need to know of this question: see `runtime.verifiers.verifier.Case`."""
    verifiers: tuple[str, ...] = field(default=(), compare=False)
    """The names of those who judge the answer, which a turn that is gone on with brings along; no responder asks
    them."""
    confidence: bool = False
    """Whether the reply tells how sure the model was of its answer; costs a look at all logits for each token of it."""

    def __post_init__(self) -> None:
        if self.thinking and self.budget.off:
            raise UsageError("A thought to go on from and the budget off exclude each other; leave one of them out.")

    @classmethod
    def of(cls, request: Request, **changed: Any) -> Self:
        """This request as one of this class."""
        values = {one.name: getattr(request, one.name) for one in fields(Request)}
        return cls(**{**values, **changed})

    @property
    def question(self) -> str:
        """The last thing that its user said."""
        return next((one.content for one in reversed(self.messages) if one.role == "user"), "")


@dataclass(frozen=True)
class Polled(Request):
    """Of the requests that are asked together, those with the same `poll` are one question: it is asked once, so the
    seconds of its deadline run for all of them from the moment that the first one is begun."""

    poll: int = 0


@dataclass(frozen=True)
class Resumable(Request):
    """A request whose turn is kept on disk, under its id, every few seconds and whenever it is paused or stopped, until
    it ends by itself; but not one of many that are asked at once.

    `resumed`: go on with what is kept under the id. All else but the id then comes from there; what was said before is
    told again first, as events, before any `Progress`. A responder that keeps nothing (a remote one) answers it as any
    other request. The id is 1 to 64 letters, digits, `-` and `_`, for it names a file.
    """

    resumed: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_identity(self.id):
            raise UsageError(f"{self.id!r} cannot name a kept turn; give 1 to 64 letters, digits, - and _.")


def is_identity(text: str) -> bool:
    """Whether a turn can be kept under this id."""
    return _IDENTITY.fullmatch(text) is not None

"""What is asked: messages, a budget for the thinking, and how to sample."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from models.errors import UsageError

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation. `content` of an assistant turn holds the answer alone, never the thought."""

    role: Role
    content: str


@dataclass(frozen=True)
class Budget:
    """Limits of one turn. `tokens` None: only the context limits; 0: no thinking at all. `seconds`: the whole reply is
    there by then, counted from the moment an open model is asked.

    `answer_reserve` tokens of the context are kept for the answer; None: a quarter of the context, at most 512.
    """

    tokens: int | None = None
    seconds: float | None = None
    effort: str | None = None
    answer_reserve: int | None = None
    minimum: int = 0

    def __post_init__(self) -> None:
        if self.tokens is not None and self.tokens < 0:
            raise UsageError(f"The budget is {self.tokens}; give 0 (off) or more thinking tokens, or `unlimited`.")
        if self.seconds is not None and not 0.0 < self.seconds < 1e9:
            raise UsageError(f"The deadline is {self.seconds} s; give a number of seconds above 0.")
        if self.answer_reserve is not None and self.answer_reserve < 1:
            raise UsageError(f"The answer's length is {self.answer_reserve}; give at least 1 token.")

    @property
    def off(self) -> bool:
        """Whether the turn is answered without thinking."""
        return self.tokens == 0


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

    def __post_init__(self) -> None:
        if self.thinking and self.budget.off:
            raise UsageError("A thought to go on from and the budget off exclude each other; leave one of them out.")

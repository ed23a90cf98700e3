"""A responder that answers by a rule, one word a token, and obeys budgets, forced thoughts and cancelling.

Replies to many requests come last first, so that whoever wants them in order must see to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from models.errors import CannotMeetError
from runtime.backends.backend import ModelFacts
from runtime.events import AnswerDelta, Closed, Done, Event, Failed, Progress, ThinkingDelta
from runtime.reply import CloseReason, Finish, ModelLabel, Reply, SpentBudget, Timings, Usage
from runtime.request import Request
from runtime.responder import Control

FACTS = ModelFacts(
    name="kangae-tiny",
    file="kangae-tiny-Q8_0.gguf",
    quant="Q8_0",
    architecture="qwen2",
    context_length=512,
    parameters=1_000,
    bytes=2_000,
    chat_template="<think></think>",
    metadata={"general.name": "kangae-tiny"},
)


@dataclass(frozen=True)
class Said:
    """What the rule wants to be thought and answered."""

    thinking: str
    answer: str


Rule = Callable[[Request, int], Said]


def echo(request: Request, allowed: int) -> Said:
    """Thinks three words; the answer is the question's last word."""
    return Said("one two three", request.messages[-1].content.split()[-1])


def needs_two_words(request: Request, allowed: int) -> Said:
    """`easy N` is answered N at once, `hard N` only after two words of thought."""
    kind, number = request.messages[-1].content.split()
    return Said("let me see", number if kind == "easy" or allowed >= 2 else "?")


class AnsweringResponder:
    """Implements `Responder`. The rule is given the request and how many words may be thought; the question `too long`
    cannot be met, `boom` breaks, and `stop` is cancelled from within, as Ctrl-C would, after its thought."""

    def __init__(self, rule: Rule = echo, facts: ModelFacts = FACTS) -> None:
        self.facts = facts
        self.backend_name = "llama"
        self.context = facts.context_length
        self.rule = rule
        self.requests: list[Request] = []
        self.closed = False
        self.opened: dict[str, object] = {}

    def respond(self, request: Request, control: Control | None = None) -> Iterator[Event]:
        for event in self.respond_many((request,), control):
            if isinstance(event, Failed):
                raise event.error
            yield event

    def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
        self.requests += requests
        for branch, request in reversed(list(enumerate(requests))):
            for event in self._turn(request, control or Control()):
                yield replace(event, branch=branch)

    def _turn(self, request: Request, control: Control) -> Iterator[Event]:
        question = request.messages[-1].content
        if question == "too long" or (question == "no room to go on" and request.thinking):
            yield Failed(CannotMeetError("The prompt has 900 of the context's 512 tokens. Shorten the prompt."))
            return
        if question == "boom":
            raise RuntimeError("a fault of ours")
        yield Progress(4, 4)
        budget = request.budget.tokens
        said = self.rule(request, 10**6 if budget is None else budget)
        words = [] if request.budget.off or request.thinking_closed else said.thinking.split()
        kept = words if budget is None else words[:budget]
        close: CloseReason = "off" if request.budget.off else "budget" if len(kept) < len(words) else "natural"
        finish: Finish = "stop"
        thinking = request.thinking
        for count, word in enumerate(kept, start=1):
            if control.cancelled:
                break
            thinking += word if count == 1 else " " + word
            yield ThinkingDelta(word if count == 1 else " " + word, count)
        if question == "stop":
            control.cancel()
        answer = ""
        if control.cancelled:
            finish, close = "cancelled", "user"
        else:
            yield Closed(close, len(kept))
            answer = said.answer
            yield AnswerDelta(answer, len(answer.split()))
        yield Done(
            Reply(
                id=request.id,
                question=question,
                model=ModelLabel(self.facts.name, self.facts.file, self.facts.quant, self.backend_name),
                thinking=thinking,
                answer=answer,
                close=close,
                finish=finish,
                usage=Usage(prompt_tokens=4, thinking_tokens=len(kept), answer_tokens=len(answer.split())),
                budget=SpentBudget(tokens=budget, answer_reserve=request.budget.answer_reserve or 128),
                timings=Timings(load_s=0.5, prefill_s=0.25, total_s=1.0, decode_tps=8.0),
            )
        )

    def close(self) -> None:
        self.closed = True

"""A responder that says what a script tells it, one piece a token. Budgets, answer-now and cancel are obeyed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from models.errors import KangaeError, ModelError
from runtime.backends.backend import ModelFacts
from runtime.events import AnswerDelta, Closed, Done, Event, Progress, ThinkingDelta
from runtime.reply import CloseReason, Finish, ModelLabel, Reply, SpentBudget, Timings, Usage
from runtime.request import Request
from runtime.responder import Control

FACTS = ModelFacts(
    name="scripted",
    file="scripted.gguf",
    quant="Q8_0",
    architecture="script",
    context_length=2048,
    parameters=1_000,
    bytes=2_000,
    chat_template=None,
)


@dataclass(frozen=True)
class Script:
    """One reply. `gates` maps the number of pieces said so far to an event that must be set before the next one."""

    thinking: tuple[str, ...] = ("12", " + ", "30", " is ", "42", ".")
    answer: tuple[str, ...] = ("The ", "sum ", "is ", "**42**", ".")
    gates: dict[int, threading.Event] = field(default_factory=dict)
    error: KangaeError | None = None


class ScriptedResponder:
    """Implements `Responder`; replies come in the scripts' order, the last one again and again."""

    def __init__(self, scripts: Sequence[Script] = (Script(),), facts: ModelFacts = FACTS) -> None:
        self.facts = facts
        self.backend_name = "scripted"
        self.context = facts.context_length
        self.requests: list[Request] = []
        self.closed = False
        self._scripts = list(scripts)

    def respond(self, request: Request, control: Control | None = None) -> Iterator[Event]:
        control = control or Control()
        self.requests.append(request)
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        if script.error is not None:
            raise script.error
        yield Progress(0, 8)
        yield Progress(8, 8)
        thinking, answer = "", ""
        said = thoughts = words = 0
        finish: Finish = "stop"
        close: CloseReason = "off" if request.budget.off else "natural"
        for piece in () if request.budget.off else script.thinking:
            _wait(script, said, control)
            if control.cancelled:
                finish = "cancelled"
                break
            if control.wants_answer:
                close = "user"
                break
            if request.budget.tokens is not None and thoughts >= request.budget.tokens:
                close = "budget"
                break
            said, thoughts, thinking = said + 1, thoughts + 1, thinking + piece
            yield ThinkingDelta(piece, thoughts)
        if finish == "stop":
            if close != "off":
                yield Closed(close, thoughts)
            said = len(script.thinking)
            for piece in script.answer:
                _wait(script, said, control)
                if control.cancelled:
                    finish = "cancelled"
                    break
                said, words, answer = said + 1, words + 1, answer + piece
                yield AnswerDelta(piece, words)
        yield Done(
            Reply(
                id=request.id,
                question=request.messages[-1].content,
                model=ModelLabel(self.facts.name, self.facts.file, self.facts.quant, self.backend_name),
                thinking=thinking,
                answer=answer,
                close=close,
                finish=finish,
                usage=Usage(prompt_tokens=8, thinking_tokens=thoughts, answer_tokens=words),
                budget=SpentBudget(tokens=request.budget.tokens, answer_reserve=512),
                timings=Timings(total_s=1.0, decode_tps=123.0),
            )
        )

    def respond_many(self, requests: Sequence[Request], control: Control | None = None) -> Iterator[Event]:
        for request in requests:
            yield from self.respond(request, control)

    def close(self) -> None:
        self.closed = True


def _wait(script: Script, said: int, control: Control) -> None:
    """At a gate: until it opens or the turn is steered (what a decode step does between two tokens)."""
    gate = script.gates.get(said)
    if gate is None:
        return
    steered: Callable[[], None] = gate.set
    control.on_change(steered)
    gate.wait(20)
    control.forget(steered)


def open_scripted(model: str) -> ScriptedResponder:
    """For worker tests: `missing` cannot be opened, `broken` is a fault; the question `die` ends the process."""
    if model == "missing":
        raise ModelError("There is no model called missing. See `kangae models list`.")
    if model == "broken":
        raise RuntimeError("a fault of ours")
    return MortalResponder([Script(gates={2: threading.Event()} if model == "gated" else {})])


def open_with_progress(model: str, on_progress: Callable[[float], None]) -> ScriptedResponder:
    """Like `open_scripted`, telling how far it is."""
    for fraction in (0.0, 0.5, 1.0):
        on_progress(fraction)
    return open_scripted(model)


class MortalResponder(ScriptedResponder):
    """Ends its whole process when asked to."""

    def respond(self, request: Request, control: Control | None = None) -> Iterator[Event]:
        for number, event in enumerate(super().respond(request, control)):
            if request.messages[-1].content == "die" and number == 4:
                os.write(2, b"GGML_ASSERT failed: the shape is wrong\n")
                os.abort()
            yield event

"""What a turn has shown, as a reply: for a turn that breaks off and cannot give one itself."""

from __future__ import annotations

from runtime.events import AnswerDelta, Closed, Event, Progress, ThinkingDelta
from runtime.reply import CloseReason, Finish, ModelLabel, Reply, SpentBudget, Timings, Usage
from runtime.request import Request
from runtime.responder import Responder


class ReplySoFar:
    """Gathers the events of one turn."""

    def __init__(self, request: Request, responder: Responder) -> None:
        facts = responder.facts
        self._request = request
        self._model = ModelLabel(facts.name, facts.file, facts.quant, responder.backend_name)
        self._thinking: list[str] = []
        self._answer: list[str] = []
        self._close: CloseReason | None = None
        self._prompt = self._cached = self._thought = self._answered = 0

    def see(self, event: Event) -> None:
        """Take what the event brings."""
        match event:
            case Progress():
                self._prompt, self._cached = event.total, event.cached
            case ThinkingDelta():
                self._thinking.append(event.text)
                self._thought = event.tokens
            case Closed():
                self._close = event.reason
            case AnswerDelta():
                self._answer.append(event.text)
                self._answered = event.tokens

    def reply(self, finish: Finish, seconds: float, flags: tuple[str, ...] = (), *, granted: int = 0) -> Reply | None:
        """The reply as far as it goes, after so many seconds; None if nothing was thought or answered. `granted`:
        thinking tokens that were added to the budget."""
        thinking, answer = "".join(self._thinking).strip("\r\n"), "".join(self._answer).strip()
        if not thinking and not answer:
            return None
        budget = self._request.budget
        tokens = None if budget.tokens is None else budget.tokens + granted
        over = 0 if tokens is None else max(0, self._thought - tokens)
        return Reply(
            id=self._request.id,
            question=self._request.question,
            model=self._model,
            thinking=thinking,
            answer=answer,
            close=self._close or ("off" if budget.off else "user" if finish == "cancelled" else "natural"),
            finish=finish,
            usage=Usage(
                prompt_tokens=self._prompt,
                cached_tokens=self._cached,
                thinking_tokens=self._thought,
                answer_tokens=self._answered,
            ),
            budget=SpentBudget(tokens, budget.seconds, budget.effort, budget.answer_reserve or 0, over),
            timings=Timings(total_s=seconds),
            flags=flags,
        )

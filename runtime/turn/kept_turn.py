"""A turn as it is kept on disk: what was asked, all ids so far, and the log that brings an equal turn about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from runtime.reply import ModelLabel
from runtime.request import Budget, Endings, Message, Probing, Request, Sampling
from runtime.responder import AnswerNow, Hint, More, Wish
from runtime.turn.clock import TurnTimes
from runtime.turn.log import Earlier, steps_as_json, steps_from_json

_VERSION = 1


@dataclass(frozen=True)
class KeptTurn:
    """`request` says all that the model's defaults said; `weights`: SHA-256 of the model's file, "" where it has none;
    `context`: tokens that the turn's limits were planned for; `history`: all its ids, of which the first `held` stand
    in the saved cache; `kept`: when, in seconds since 1970."""

    request: Request
    model: ModelLabel
    weights: str
    context: int
    history: tuple[int, ...]
    held: int
    earlier: Earlier
    kept: float

    @property
    def id(self) -> str:
        """What it is kept under."""
        return self.request.id

    @property
    def question(self) -> str:
        """The last thing that its user said."""
        return self.request.question

    def as_json(self) -> dict[str, Any]:
        """A record for JSON."""
        request, earlier = self.request, self.earlier
        return {
            "version": _VERSION,
            "kept": self.kept,
            "request": {
                "id": request.id,
                "messages": [[message.role, message.content] for message in request.messages],
                "budget": asdict(request.budget),
                "sampling": None if request.sampling is None else asdict(request.sampling),
                "endings": None if request.endings is None else asdict(request.endings),
                "thinking": request.thinking,
                "thinking_closed": request.thinking_closed,
                "confidence": request.confidence,
                "verifiers": list(request.verifiers),
                "verifier_options": dict(request.verifier_options),
            },
            "model": asdict(self.model),
            "weights": self.weights,
            "context": self.context,
            "history": list(self.history),
            "held": self.held,
            "steps": steps_as_json(earlier.steps),
            "times": asdict(earlier.times),
            "wishes": [_wish_as_json(wish) for wish in earlier.wishes],
            "cached": earlier.cached,
        }

    @classmethod
    def from_json(cls, record: Any) -> KeptTurn:
        """The turn again. Raises ValueError, TypeError, KeyError or UsageError for what `as_json` did not write."""
        if record["version"] != _VERSION:
            raise ValueError(f"it is of version {record['version']!r}, and this Kangae knows version {_VERSION}")
        history = tuple(record["history"])
        if not history or not all(type(token) is int and token >= 0 for token in history):
            raise ValueError("its ids are none")
        held = int(record["held"])
        if not 0 <= held <= len(history):
            raise ValueError("its cache is longer than its text")
        return cls(
            request=_request(record["request"]),
            model=ModelLabel(**record["model"]),
            weights=str(record["weights"]),
            context=int(record["context"]),
            history=history,
            held=held,
            earlier=Earlier(
                steps=steps_from_json(record["steps"]),
                times=TurnTimes(**record["times"]),
                wishes=tuple(_wish(one) for one in record["wishes"]),
                cached=int(record["cached"]),
            ),
            kept=float(record["kept"]),
        )


def _request(record: Any) -> Request:
    endings = record["endings"]
    if endings is not None:
        probing = endings["probing"]
        endings = Endings(**{**endings, "probing": None if probing is None else Probing(**probing)})
    return Request(
        messages=tuple(Message(role, content) for role, content in record["messages"]),
        budget=Budget(**record["budget"]),
        sampling=None if record["sampling"] is None else Sampling(**record["sampling"]),
        id=str(record["id"]),
        thinking=str(record["thinking"]),
        thinking_closed=bool(record["thinking_closed"]),
        endings=endings,
        confidence=bool(record["confidence"]),
        verifiers=tuple(str(name) for name in record.get("verifiers", ())),  # older records name none
        verifier_options=dict(record.get("verifier_options", {})),
    )


def _wish_as_json(wish: Wish) -> list[Any]:
    match wish:
        case More(tokens=tokens):
            return ["more", tokens]
        case Hint(text=text):
            return ["hint", text]
        case AnswerNow():
            return ["answer"]
    raise ValueError(f"{wish} is over with the process")


def _wish(record: Sequence[Any]) -> Wish:
    match list(record):
        case ["more", int(tokens)]:
            return More(tokens)
        case ["hint", str(text)]:
            return Hint(text)
        case ["answer"]:
            return AnswerNow()
    raise ValueError(f"no wish: {record!r}")

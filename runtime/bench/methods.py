"""The ways of ending a thought that a benchmark compares, by the names of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from models.errors import UsageError
from runtime.request import Endings, Probing, Voting
from runtime.vote_limits import require_votes

_MARGIN: Final = 0.25  # nats: arXiv 2510.00546
_LEAST: Final = 8  # tokens: a benchmark looks from the start; what fires too soon shows in its accuracy

METHODS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "cut": "the thought is cut at the budget, at once and without a word",
        "message": "near the budget the thought is closed at a sentence's end, with the family's message",
        "soft": "as message, and earlier where the model itself nearly closes; pulled there near the budget's end",
        "probe": "as message, and earlier where an answer on trial is sure",
        "votes:K": "as message, K thoughts at once whose answers vote; draws, so it needs a temperature",
        "auto": "as --effort auto: no thought, a short one, a long one, votes, as far as they pay and an answer needs",
    }
)


@dataclass(frozen=True)
class Method:
    """A name and what it asks of a turn. `endings` None: what holds for everybody who asks. `ladder`: the question
    climbs, and the budget bounds every rung."""

    name: str
    endings: Endings | None = None
    voting: Voting | None = None
    ladder: bool = False

    @property
    def judges(self) -> bool:
        """Whether an answer is held against others or checked, so that a flag tells something of it."""
        return self.voting is not None or self.ladder

    @property
    def one_thought(self) -> bool:
        """Whether a question is asked once, so that with the budget off all such methods are the same."""
        return self.voting is None and not self.ladder


def parse_method(name: str, advised: Endings) -> Method:
    """The method of that name on top of what is `advised` for the model. Raises UsageError with the names there are."""
    match name.strip():
        case "cut":
            return Method("cut", replace(advised, message=False, sentence=False))
        case "message":
            return Method("message", advised)
        case "soft":
            return Method("soft", replace(advised, margin=_MARGIN, ramp=True, least=_LEAST))
        case "probe":
            return Method("probe", replace(advised, probing=Probing(agreeing=1, least=_LEAST)))
        case "auto":
            return Method("auto", ladder=True)
    kind, _, count = name.strip().partition(":")
    if kind == "votes" and count.isdecimal() and int(count) > 1:
        require_votes(int(count))
        return Method(f"votes:{int(count)}", advised, Voting(int(count)))
    raise UsageError(f"{name.strip()!r} is no method; there are {', '.join(METHODS)}.")


def parse_methods(names: str | None, advised: Endings) -> tuple[Method, ...]:
    """The methods of a list, each once, in their order; none for None. Raises UsageError, also for an empty list."""
    if names is None:
        return ()
    found = [parse_method(name, advised) for name in names.split(",") if name.strip()]
    if not found:
        raise UsageError(f"The list of methods is empty; there are {', '.join(METHODS)}.")
    return tuple({method.name: method for method in found}.values())

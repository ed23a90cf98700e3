"""What a verifier is: it is shown a case, says whether it has anything to say, and gives a verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol, get_args, runtime_checkable

from models.errors import KangaeError
from models.plain_text import shorten

Kind = Literal["form", "truth", "agreement"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)


@dataclass(frozen=True)
class Case:
    """What is judged. `previous`: the answers of other rungs or votes to the same question, oldest first.

    `options` that the built-in verifiers know: `schema` (a JSON Schema), `limits` (`minimum`, `maximum`), `tests`
    (Python source), `test_limits` (fields of `runtime.verifiers.python_tests.TestLimits`). `seconds_left`: what a
    deadline leaves; who may take longer than a moment keeps within it, and fails where that is too little. `stopped`
    (a function without arguments): whether nobody waits for the verdict any more; who may take long ends soon after.
    """

    question: str
    answer: str
    thinking: str = ""
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    previous: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """`kind` "form": the answer parses and is in range; "truth": it was recomputed; "agreement": others say the same,
    and may all be wrong. `detail`: what to act on."""

    name: str
    kind: Kind
    passed: bool
    detail: str

    @classmethod
    def of(cls, verifier: Verifier, passed: bool, detail: str) -> Verdict:
        """The verdict of `verifier`."""
        return cls(verifier.name, verifier.kind, passed, detail)


@runtime_checkable
class Verifier(Protocol):
    """A judge of answers. Neither method may change the case; `check` is called only where `applies` was true. Both may
    be called by several threads at once.

    It may have an attribute `needs`: what an answer needs for it to judge, in words (see `needs_of`); and one
    `of_value`: whether it judges the value that an answer gives (see `judges_value`).
    """

    @property
    def name(self) -> str:
        """Short and unique, as `--verify NAME` gives it."""
        ...

    @property
    def kind(self) -> Kind:
        """Whether its verdicts speak of the form of an answer, of its truth, or of others that say the same. One of
        "truth" may give verdicts of form where it cannot compute the answer itself; it then applies to a case without
        an answer only where it can."""
        ...

    def applies(self, case: Case) -> bool:
        """Whether this verifier can judge the case."""
        ...

    def check(self, case: Case) -> Verdict:
        """The verdict. Raises KangaeError where an option of the case is wrong or a package is missing."""
        ...


def needs_of(verifier: Verifier) -> str:
    """What an answer needs for this verifier to judge it, in words; empty where it does not say."""
    return str(getattr(verifier, "needs", ""))


def judges_value(verifier: Verifier) -> bool:
    """Whether it judges the value that an answer gives, so that it has nothing to say of one that declines to give any.
    Where it does not say: one of truth does."""
    return bool(getattr(verifier, "of_value", verifier.kind == "truth"))


def verdicts(verifiers: Iterable[Verifier], case: Case) -> tuple[Verdict, ...]:
    """The verdicts of all verifiers that apply, in their order.

    One that breaks down, or returns what is no verdict, fails the case and is named, so that the answer is kept and
    nobody takes it for checked. Raises KangaeError where an option of the case is wrong or a package is missing.
    """
    return tuple(verdict for one in verifiers if (verdict := _guarded(one, case)) is not None)


def not_judged(verifier: Verifier, detail: str) -> Verdict:
    """The failed verdict of a verifier that came to none, whatever it says of itself."""
    kind: Kind = verifier.kind if verifier.kind in KINDS else "form"
    return Verdict(str(verifier.name), kind, False, detail)


def _guarded(verifier: Verifier, case: Case) -> Verdict | None:
    try:
        return _sound(verifier.check(case)) if verifier.applies(case) else None
    except KangaeError:
        raise
    except (Exception, SystemExit) as error:
        reason = shorten(f"{type(error).__name__}: {error}", 200)
        return not_judged(
            verifier,
            f"The verifier {verifier.name} broke down ({reason}), so the answer was not checked by it; "
            "report this to its author, or choose another with --verify.",
        )


def _sound(found: Any) -> Verdict:
    """What a plug-in returned, which no type checker has seen; raises TypeError for what is no verdict."""
    if not isinstance(found, Verdict):
        raise TypeError(f"check returned {_shape(found)}, not a Verdict")
    if not isinstance(found.passed, bool):
        raise TypeError(f"passed is {_shape(found.passed)}, not True or False")
    if found.kind not in KINDS:
        raise TypeError(f"kind is {_shape(found.kind)}, not {', '.join(KINDS)}")
    if not isinstance(found.name, str) or not isinstance(found.detail, str):
        raise TypeError("name and detail of a Verdict must be text")
    return found


def _shape(value: Any) -> str:
    return shorten(repr(value), 60) if isinstance(value, str | bool | None) else f"a {type(value).__name__}"

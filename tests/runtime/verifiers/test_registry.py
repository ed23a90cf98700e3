"""Choosing verifiers, and plug-ins that are broken in every way."""

from __future__ import annotations

import ast
import sys
import types
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from models.errors import UsageError
from runtime.reply import ModelLabel, Reply, SpentBudget, Timings, Usage
from runtime.verification import doubts, verified
from runtime.verifiers import registry as registry_module
from runtime.verifiers.registry import GROUP, choose, registry
from runtime.verifiers.verifier import Case, Kind, Verdict, Verifier, verdicts

BUILT_IN = ["arithmetic", "units", "schema", "python", "agreement"]


class Shouting:
    name = "shouting"
    kind: Kind = "form"

    def applies(self, case: Case) -> bool:
        return True

    def check(self, case: Case) -> Verdict:
        return Verdict(self.name, self.kind, case.answer.isupper(), "It must shout.")


class BreakingDown(Shouting):
    def check(self, case: Case) -> Verdict:
        raise RuntimeError("no\x1b[31m luck")


class OddKind(Shouting):
    kind = "gut feeling"  # type: ignore[assignment]


def leaves() -> None:
    raise SystemExit(3)


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = types.ModuleType("some_plug_ins")
    module.__dict__.update(
        Shouting=Shouting, ready=Shouting(), BreakingDown=BreakingDown, OddKind=OddKind, leaves=leaves, number=5
    )
    monkeypatch.setitem(sys.modules, "some_plug_ins", module)
    return lambda name, place: EntryPoint(name, f"some_plug_ins:{place}", GROUP)


def test_none_auto_and_a_name() -> None:
    found = registry(())
    assert found.choose("none") == ()
    assert [one.name for one in found.choose("auto")] == BUILT_IN
    assert [one.name for one in found.choose(" Arithmetic ")] == ["arithmetic"]
    assert all(isinstance(one, Verifier) for one in found.choose("auto"))


def test_an_unknown_name_lists_the_names_and_near_ones() -> None:
    with pytest.raises(UsageError) as caught:
        registry(()).choose("arithmetics")
    for name in ["none", "auto", *BUILT_IN]:
        assert name in caught.value.detail
    assert caught.value.detail.endswith("Did you mean arithmetic?")
    assert caught.value.exit_code == 2
    with pytest.raises(UsageError) as caught:
        registry(()).choose("検算" * 1000)
    assert len(caught.value.detail) < 300


@pytest.mark.parametrize("place", ["Shouting", "ready"])
def test_a_plug_in_is_found_as_class_or_object(plug_in: Any, place: str) -> None:
    found = registry([plug_in("shouting", place)])
    assert [one.name for one in found.choose("auto")] == [*BUILT_IN, "shouting"]
    (verifier,) = found.choose("shouting")
    assert [verdict.passed for verdict in verdicts([verifier], Case("q", "YES"))] == [True]


@pytest.mark.parametrize(
    ("name", "place", "why"),
    [
        ("shouting", "nowhere", "AttributeError"),
        ("shouting", "number", "TypeError"),
        ("shouting", "leaves", "SystemExit"),
        ("shouting", "OddKind", "truth"),
        ("whispering", "Shouting", "calls itself 'shouting'"),
    ],
)
def test_a_broken_plug_in_is_named_where_it_is_asked_for_and_disturbs_no_other(
    plug_in: Any, name: str, place: str, why: str
) -> None:
    found = registry([plug_in(name, place)])
    for asked in (name, "auto"):
        with pytest.raises(UsageError) as caught:
            found.choose(asked)
        assert name in caught.value.detail
        assert why in caught.value.detail
    assert [one.name for one in found.choose("units")] == ["units"]
    assert found.choose("none") == ()


def test_a_plug_in_that_is_not_there_or_takes_a_name_is_broken(plug_in: Any) -> None:
    gone = EntryPoint("gone", "no_such_package_here:Verifier", GROUP)
    with pytest.raises(UsageError, match="ModuleNotFoundError"):
        registry([gone]).choose("gone")
    for name in ("units", "auto", "None"):
        found = registry([plug_in(name, "Shouting")])
        with pytest.raises(UsageError, match="its name is taken"):
            found.choose("auto")
    assert [one.name for one in registry([plug_in("units", "Shouting")]).choose("units")] == ["units"]


def test_a_verifier_that_breaks_down_fails_the_case_and_is_named() -> None:
    first, second = verdicts([BreakingDown(), Shouting()], Case("q", "YES"))
    assert not first.passed
    assert "The verifier shouting broke down (RuntimeError: no[31m luck)" in first.detail
    assert second.passed


class Returning(Shouting):
    def __init__(self, found: Any, applies: Any = True) -> None:
        self.found, self.applicable = found, applies

    def applies(self, case: Case) -> bool:
        if isinstance(self.applicable, BaseException):
            raise self.applicable
        return bool(self.applicable)

    def check(self, case: Case) -> Verdict:
        if isinstance(self.found, BaseException):
            raise self.found
        return self.found  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (True, "check returned True, not a Verdict"),
        (None, "check returned None"),
        ({"passed": True}, "check returned a dict"),
        (Verdict("shouting", "form", "no", "不合格"), "passed is 'no'"),  # type: ignore[arg-type]
        (Verdict("shouting", "form", 1, ""), "passed is a int"),  # type: ignore[arg-type]
        (Verdict("shouting", "vibes", True, ""), "kind is 'vibes'"),  # type: ignore[arg-type]
        (Verdict("shouting", ["truth"], True, ""), "kind is a list"),  # type: ignore[arg-type]
        (Verdict("shouting", "form", True, None), "must be text"),  # type: ignore[arg-type]
        (SystemExit(3), "SystemExit: 3"),
        (RecursionError("深すぎる"), "RecursionError: 深すぎる"),
    ],
)
def test_what_is_no_verdict_fails_the_case_and_names_the_verifier(found: Any, why: str) -> None:
    first, second = verdicts([Returning(found), Shouting()], Case("q", "YES"))
    assert (first.name, first.kind, first.passed) == ("shouting", "form", False)
    assert "The verifier shouting broke down" in first.detail and why in first.detail
    assert second.passed


def test_a_verifier_that_leaves_while_it_looks_whether_it_applies_is_named() -> None:
    (found,) = verdicts([Returning(None, SystemExit("bye"))], Case("q", "YES"))
    assert not found.passed and "SystemExit: bye" in found.detail


def test_one_that_breaks_down_and_is_of_no_known_kind_fails_by_the_form() -> None:
    class Odd(BreakingDown):
        kind = "gut feeling"  # type: ignore[assignment]

    (found,) = verdicts([Odd()], Case("q", "YES"))  # type: ignore[list-item]
    assert (found.kind, found.passed) == ("form", False)


@pytest.mark.parametrize("found", [True, None, SystemExit(3), Verdict("shouting", "form", "no", "")])  # type: ignore[arg-type]
@pytest.mark.parametrize("seconds", [None, 30.0])
def test_a_reply_survives_what_is_no_verdict(found: Any, seconds: float | None) -> None:
    label = ModelLabel("m", "m.gguf", "Q8_0", "fake")
    bare = Reply("i", "q", label, "", "YES", "natural", "stop", Usage(), SpentBudget(), Timings())
    reply = verified(bare, [Returning(found)], seconds=seconds)
    assert reply.answer == "YES"
    assert [check.passed for check in reply.checks] == [False]
    assert doubts(reply)[0].startswith("verify: shouting: The verifier shouting broke down")


def test_a_users_error_is_not_hidden() -> None:
    with pytest.raises(UsageError):
        verdicts(registry(()).choose("auto"), Case("q", "1", options={"limits": "none"}))


def test_only_what_applies_gives_a_verdict() -> None:
    assert verdicts(registry(()).choose("auto"), Case("こんにちは", "はい")) == ()
    found = verdicts(registry(()).choose("auto"), Case("What is 3 + 4?", "7", previous=("8",)))
    assert [(one.name, one.kind, one.passed) for one in found] == [
        ("arithmetic", "truth", True),
        ("agreement", "agreement", False),
    ]


def test_what_is_installed_is_asked_but_not_for_none(monkeypatch: pytest.MonkeyPatch, plug_in: Any) -> None:
    groups: list[str] = []

    def installed(*, group: str) -> list[EntryPoint]:
        groups.append(group)
        return [plug_in("shouting", "Shouting")]

    monkeypatch.setattr(registry_module, "entry_points", installed)
    assert choose("none") == ()
    assert groups == []
    assert [one.name for one in choose("shouting")] == ["shouting"]
    assert groups == ["kangae.verifiers"]


def test_no_verifier_knows_the_teacher_of_the_shipped_model() -> None:
    files = sorted(Path(registry_module.__file__).parent.glob("*.py"))
    assert len(files) > 5
    for file in files:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            assert not any(
                name.startswith("models.tiny") for name in [module, *names, *(f"{module}.{n}" for n in names)]
            )

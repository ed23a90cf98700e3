"""Answers against a JSON Schema: what fits, what does not, and what is no JSON or no schema."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from models.errors import MissingPackageError, UsageError
from runtime.verifiers.schema import JsonSchema, compile_schema
from runtime.verifiers.verifier import Case, Verdict

SCHEMA = {
    "type": "object",
    "properties": {"数": {"type": "integer", "minimum": 0}, "name": {"type": "string"}},
    "required": ["数"],
    "additionalProperties": False,
}


def judged(answer: str, schema: Any = SCHEMA) -> Verdict:
    case = Case("q", answer, options={"schema": schema})
    assert JsonSchema().applies(case)
    return JsonSchema().check(case)


@pytest.mark.parametrize(
    "answer", ['{"数": 3}', ' {"数": 3, "name": "ボルト"}\n', '```json\n{"数": 3}\n```', '```\n{"数":0}\n```']
)
def test_what_fits_passes(answer: str) -> None:
    assert judged(answer).passed


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        ('{"数": -1}', "at 数"),
        ('{"数": "3"}', "at 数"),
        ("{}", "at its top"),
        ('{"数": 3, "other": 1}', "other"),
        ("3", "object"),
        ('{"数": NaN}', "NaN"),
        ('{"数": 3, "数": 4}', "twice"),
        ('The answer is {"数": 3}', "no JSON"),
        ("", "no JSON"),
        ("答えは3です", "no JSON"),
        ("[" * 100_000, "nested too deep"),
        ('{"数": ' + "9" * 100_000 + "}", "too long a number"),
        ('{"数":' + " " * 1_000_001 + "3}", "too long"),
    ],
)
def test_what_does_not_fit_fails_and_is_named(answer: str, names: str) -> None:
    found = judged(answer)
    assert not found.passed
    assert names in found.detail
    assert len(found.detail) < 400


@pytest.mark.parametrize(
    ("schema", "names"),
    [
        ({"type": "objekt"}, "faulty at type"),
        ({"$ref": "http://127.0.0.1:9/x.json"}, "nothing is fetched"),
        ({"$ref": "#/nowhere"}, "nowhere"),
        ([1], "must be an object"),
    ],
)
def test_a_faulty_schema_is_the_users_error_and_nothing_is_fetched(schema: Any, names: str) -> None:
    with pytest.raises(UsageError, match=names):
        judged("{}", schema)


def test_without_a_schema_there_is_nothing_to_check() -> None:
    assert not JsonSchema().applies(Case("q", "{}"))


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingPackageError, match="EXTRAS=verify"):
        compile_schema(SCHEMA)

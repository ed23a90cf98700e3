"""Whether an answer is JSON that fits a JSON Schema."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from models.errors import MissingPackageError, UsageError
from models.plain_text import shorten
from runtime.verifiers.verifier import Case, Kind, Verdict

_MOST_TEXT: Final = 1_000_000
_FENCED: Final = re.compile(r"\A```(?:json)?[ \t]*\n(.*)\n```\Z", re.DOTALL | re.IGNORECASE)


class JsonSchema:
    """Passes where the answer, or the one code block that is all of it, is JSON that fits the option `schema`.

    References are looked up in the schema itself and in the drafts of the standard; nothing is ever fetched. A schema's
    regular expressions run without a limit of time, for they come from the user and not from the model, and let no
    other thread run meanwhile; under a deadline such a verdict is late, and fails.
    """

    name = "schema"
    kind: Kind = "form"
    needs = "JSON that a schema is given for"

    def applies(self, case: Case) -> bool:
        """Whether a schema is given."""
        return case.options.get("schema") is not None

    def check(self, case: Case) -> Verdict:
        """The verdict, which names the place that does not fit. Raises what `compile_schema` raises."""
        fault = _fault(compile_schema(case.options["schema"]), case.answer)
        return Verdict.of(self, not fault, fault or "The answer is JSON that fits the schema.")


def compile_schema(schema: Any) -> Any:
    """The validator of a schema, of its own draft or else of the newest.

    Raises UsageError for a faulty schema and MissingPackageError without jsonschema: call it before the question is
    asked.
    """
    try:
        library = importlib.import_module("jsonschema")
        known = importlib.import_module("jsonschema_specifications").REGISTRY
    except ImportError as error:
        raise MissingPackageError(
            "Checking an answer against a JSON Schema needs the package jsonschema, which is not installed; "
            "install it with `make run EXTRAS=verify` in Kangae's folder, or with `pip install jsonschema`."
        ) from error
    if not isinstance(schema, Mapping | bool):
        raise UsageError("A JSON Schema must be an object, or true or false.")
    kind = library.validators.validator_for(schema, default=library.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except (library.SchemaError, RecursionError) as error:
        where = "/".join(map(str, getattr(error, "absolute_path", ()))) or "the top"
        reason = shorten(str(getattr(error, "message", "it is nested too deep")), 200)
        raise UsageError(f"The JSON Schema is faulty at {where}: {reason}.") from error
    return kind(schema, registry=known, format_checker=kind.FORMAT_CHECKER)


def _fault(validator: Any, answer: str) -> str:
    text = answer.strip()
    if len(text) > _MOST_TEXT:
        return f"The answer is longer than {_MOST_TEXT} characters, too long to check as JSON."
    fenced = _FENCED.match(text)
    try:
        value = json.loads(fenced[1] if fenced else text, parse_constant=_refused, object_pairs_hook=_distinct)
    except json.JSONDecodeError as error:
        return f"The answer is no JSON: {error.msg} in line {error.lineno}, column {error.colno}."
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, _NotJson) else "it is nested too deep or holds too long a number"
        return f"The answer is no JSON: {reason}."
    return _misfit(validator, value)


def _misfit(validator: Any, value: Any) -> str:
    best_match = importlib.import_module("jsonschema.exceptions").best_match
    unresolvable = importlib.import_module("referencing.exceptions").Unresolvable
    try:
        found = best_match(validator.iter_errors(value))
    except RecursionError:
        return "The answer is nested too deep for the schema to be checked."
    except unresolvable as error:
        raise UsageError(
            f"The JSON Schema refers to {shorten(str(error.ref), 100)!r}, which stands neither in it nor in the "
            "standard; copy that part into it, for nothing is fetched."
        ) from error
    if found is None:
        return ""
    where = "/".join(map(str, found.absolute_path))
    place = f"at {shorten(where, 100)}" if where else "at its top"
    return f"The answer does not fit the schema {place}: {shorten(found.message, 200)}."


class _NotJson(ValueError):
    """What Python's reader takes and JSON does not."""


def _refused(constant: str) -> NoReturn:
    raise _NotJson(f"{constant} is no number of JSON")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise _NotJson("a key stands twice in one object")
    return made

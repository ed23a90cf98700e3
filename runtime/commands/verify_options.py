"""Who judges an answer, as the flags `--verify` and `--schema` say it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from models.errors import UsageError
from models.plain_text import as_utf8, shorten

if TYPE_CHECKING:
    from runtime.request import Request
    from runtime.verifiers.verifier import Verifier

_MOST_BYTES: Final = 4 << 20
_SCHEMA: Final = "schema"


@dataclass(frozen=True)
class Judging:
    """The `verifiers`, and what they need to know of every question (`runtime.verifiers.verifier.Case.options`)."""

    verifiers: Sequence[Verifier] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def options_for(self, own: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a question that brings some of its `own`, which win."""
        return {**self.options, **own}


def add_verify_options(parser: argparse.ArgumentParser) -> None:
    """`--verify` and `--schema`."""
    group = parser.add_argument_group("judging the answer (exit code 8 where it is in doubt)")
    group.add_argument(
        "--verify",
        default="none",
        metavar="none|auto|NAME",
        help="who judges: arithmetic, units, schema, python, agreement, or one that is installed; auto: all that apply",
    )
    group.add_argument(
        "--schema", metavar="FILE", help="a JSON Schema that the answer has to fit: a file, or the JSON itself"
    )


def chosen_judging(arguments: argparse.Namespace, *, climbing: bool = False, lines: bool = False) -> Judging:
    """What the flags name, checked before a model is opened; `climbing`: the ladder needs a judge, so none means all;
    `lines`: questions come from a file, whose lines may hold schemas of their own.

    Raises UsageError for a name that is none and for what is no schema, MissingPackageError without jsonschema.
    """
    name = "auto" if climbing and arguments.verify == "none" else arguments.verify
    options: dict[str, Any] = {}
    if arguments.schema is not None:
        options[_SCHEMA] = read_schema(arguments.schema)
        name = _SCHEMA if name == "none" else name
    elif name.strip().casefold() == _SCHEMA and not lines:
        raise UsageError(
            "--verify schema has no schema to judge by; give its file, as in --schema FILE, which holds a JSON Schema."
        )
    if name == "none":
        return Judging()
    from runtime.verifiers.registry import choose

    verifiers = choose(name)
    if options and not any(one.name == _SCHEMA for one in verifiers):
        verifiers = (*verifiers, *choose(_SCHEMA))
    return Judging(verifiers, options)


def judging_again(arguments: argparse.Namespace, request: Request) -> Judging:
    """Who judges a turn that goes on: those whom the flags name, else those who were to judge it when it began. What a
    flag says of the question wins over what was kept of it (`--verify` is None where it was not given).

    Raises UsageError for a name that is none (any more), and as `chosen_judging` does.
    """
    kept = dict(request.verifier_options)
    if arguments.verify is None and arguments.schema is None:
        from runtime.verifiers.registry import choose

        return Judging(tuple(one for name in request.verifiers for one in choose(name)), kept)
    arguments.verify = arguments.verify or "none"
    judging = chosen_judging(arguments, lines=_SCHEMA in kept)
    return Judging(judging.verifiers, {**kept, **judging.options})


def read_schema(given: str) -> Any:
    """The JSON Schema in a file, or the one that stands in `given` itself, which then begins with a brace. It was
    compiled once, so that it is a sound one."""
    from runtime.verifiers.schema import compile_schema

    inline = given.lstrip().startswith("{")
    where = f"The schema {shorten(given, 60)} (taken as JSON, for it begins with a brace)"
    where = where if inline else f"The schema {given}"
    data = as_utf8(given).encode() if inline else _bytes_of(given, where)
    if len(data) > _MOST_BYTES:
        raise UsageError(f"{where} is longer than {_MOST_BYTES >> 20} MiB; give the file of a JSON Schema.")
    try:
        schema = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{where} is no UTF-8 text ({error.reason} at byte {error.start}); save it as such."
        ) from error
    except json.JSONDecodeError as error:
        place = f"in line {error.lineno}, column {error.colno}"
        rest = shorten(error.doc[error.pos :], 20)
        at = f"at {rest!r}" if rest else "at its end"
        raise UsageError(f"{where} is no JSON ({error.msg} {place}, {at}); correct it there.") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where} is nested too deep, or holds too long a number; give a smaller one.") from error
    try:
        compile_schema(schema)
    except UsageError as error:
        raise UsageError(f"{where} cannot be used: {shorten(error.detail, 300)} Correct it there.") from error
    return schema


def _bytes_of(path: str, where: str) -> bytes:
    """At most one byte more than may be. Raises UsageError for a file that cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(
            f"{where} cannot be read ({reason}); check the path and its permissions. (JSON in its place begins with a "
            "brace.)"
        ) from error

"""The verifiers that can be chosen: those built in, and those of installed packages.

A package offers one by an entry point of the group `kangae.verifiers`, whose name is the verifier's and whose object is
a verifier or a class or function that makes one without arguments.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from models.errors import UsageError
from models.plain_text import shorten
from runtime.verifiers.agreement import Agreement
from runtime.verifiers.arithmetic import Arithmetic
from runtime.verifiers.python_tests import PythonTests
from runtime.verifiers.schema import JsonSchema
from runtime.verifiers.units import Units
from runtime.verifiers.verifier import KINDS, Verifier

GROUP: Final = "kangae.verifiers"
_WORDS: Final = ("none", "auto")


@dataclass(frozen=True)
class Registry:
    """`verifiers` by name; `broken`: a sentence for each plug-in that cannot be used, by its name."""

    verifiers: Mapping[str, Verifier]
    broken: Mapping[str, str]

    def choose(self, name: str) -> tuple[Verifier, ...]:
        """The verifiers of `none` (no one), `auto` (all: each judges what it applies to) or a name.

        Raises UsageError for an unknown name, and where a plug-in that was asked for is broken.
        """
        wanted = name.strip().casefold()
        if wanted == "none":
            return ()
        if wanted == "auto":
            if self.broken:
                raise UsageError(" ".join(self.broken.values()))
            return tuple(self.verifiers.values())
        by_name = {known.casefold(): known for known in (*self.verifiers, *self.broken)}
        if wanted not in by_name:
            raise UsageError(self._unknown(name))
        known = by_name[wanted]
        if known in self.broken:
            raise UsageError(self.broken[known])
        return (self.verifiers[known],)

    def _unknown(self, name: str) -> str:
        names = [*_WORDS, *self.verifiers]
        near = difflib.get_close_matches(name.strip().casefold(), names, n=2, cutoff=0.7)
        meant = f" Did you mean {' or '.join(near)}?" if near else ""
        return f"There is no verifier {shorten(name, 60)!r}; there are {', '.join(names)}.{meant}"


def choose(name: str) -> tuple[Verifier, ...]:
    """`Registry.choose` on what is built in and installed."""
    return registry(entry_points(group=GROUP) if name.strip().casefold() != "none" else ()).choose(name)


def registry(plug_ins: Iterable[EntryPoint]) -> Registry:
    """The built-in verifiers and these plug-ins. Never raises: what cannot be used stands in `broken`."""
    verifiers: dict[str, Verifier] = {one.name: one for one in _built_in()}
    broken: dict[str, str] = {}
    for plug_in in plug_ins:
        name = plug_in.name
        if name.casefold() in {taken.casefold() for taken in (*_WORDS, *verifiers)}:
            broken[f"{name} of {_package(plug_in)}"] = _sentence(plug_in, "its name is taken")
            continue
        try:
            verifiers[name] = _loaded(plug_in)
        except (Exception, SystemExit) as error:
            broken[name] = _sentence(plug_in, f"{type(error).__name__}: {error}")
    return Registry(verifiers, broken)


def _built_in() -> tuple[Verifier, ...]:
    return (Arithmetic(), Units(), JsonSchema(), PythonTests(), Agreement())


def _loaded(plug_in: EntryPoint) -> Verifier:
    """The plug-in's verifier; raises whatever its code raises, TypeError for what is no verifier."""
    found = plug_in.load()
    made = found() if isinstance(found, type) or not isinstance(found, Verifier) else found
    if not isinstance(made, Verifier) or made.kind not in KINDS:
        raise TypeError(f"it needs a name, a kind ({' or '.join(KINDS)}), applies(case) and check(case)")
    if made.name != plug_in.name:
        raise TypeError(f"it calls itself {made.name!r}, unlike its entry point")
    return made


def _package(plug_in: EntryPoint) -> str:
    return plug_in.dist.name if plug_in.dist is not None else plug_in.value


def _sentence(plug_in: EntryPoint, reason: str) -> str:
    return (
        f"The verifier plug-in {plug_in.name} of {_package(plug_in)} cannot be used ({shorten(reason, 200)}); "
        "update or uninstall that package, or choose another verifier by name."
    )

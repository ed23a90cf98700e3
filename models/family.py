"""A model family: how it writes its thinking. The families themselves are data, in families.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from models.errors import ModelError

OffSwitch = Literal["template", "empty_block", "none"]
SystemRule = Literal["allowed", "merged"]
HistoryPolicy = Literal["answers"]

_TABLE = Path(__file__).with_name("families.toml")


@dataclass(frozen=True)
class SamplingDefaults:
    """How a maker advises to draw tokens. Temperature 0 is greedy; `None` is not applied."""

    temperature: float = 0.0
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None


@dataclass(frozen=True)
class Rule:
    """One way to recognise a family: every condition that is given must hold."""

    name: str | None = None
    architecture: tuple[str, ...] = ()
    template_has: tuple[str, ...] = ()
    template_lacks: tuple[str, ...] = ()

    def holds(self, names: str, architecture: str, chat_template: str | None) -> bool:
        """Whether a model with these (normalised) names, architecture and template is meant."""
        template = chat_template or ""
        return (
            (self.name is None or self.name in names)
            and (not self.architecture or architecture in self.architecture)
            and all(text in template for text in self.template_has)
            and (not self.template_lacks or chat_template is not None)
            and not any(text in template for text in self.template_lacks)
        )


@dataclass(frozen=True)
class AnswerStem:
    """How an answer is asked for on trial: `text` is put in behind the closer, and `mark` ends what comes then.

    Where the mark is a closing bracket, pairs inside the answer are passed over. After DEER (arXiv 2504.15895) and
    Dynasor (arXiv 2412.20993).
    """

    text: str
    mark: str


@dataclass(frozen=True)
class SelfCheck:
    """How a thought of one family checks itself, line by line.

    A whole line that is one of `opens` begins a check, one of `repairs` the repair of what it found; the lines of a
    check end with one of `agrees` or `disagrees`. A line that begins with one of `states` states a result, which ends
    the check, or the repair, before it.
    """

    opens: tuple[str, ...]
    agrees: tuple[str, ...]
    disagrees: tuple[str, ...]
    repairs: tuple[str, ...]
    states: tuple[str, ...]


@dataclass(frozen=True)
class Family:
    """How one family marks a thought, closes it, switches it off, and is best sampled.

    A forced close is `closing_message + closer + after_closer`, put in without sampling.
    """

    name: str
    openers: tuple[str, ...]
    closers: tuple[str, ...]
    closing_message: str
    """What the model says to itself when its thought is closed by force; holds the newlines before the closer."""
    after_closer: str
    """What stands between the closer and the answer."""
    off: OffSwitch
    """`template`: `template_off` does it; `empty_block`: an empty thought is put in; `none`: nothing to switch off."""
    system: SystemRule
    """`merged`: the makers advise against a system turn, so its text goes before the first user turn's."""
    sampling_thinking: SamplingDefaults
    sampling_answer: SamplingDefaults
    """For replies without thinking."""
    answer_stem: AnswerStem | None = None
    """None: its answers are short and end by themselves, so a trial needs neither."""
    sure: float | None = None
    """Confidence (mean probability of a token) below which an answer whose thought was cut short is in doubt; None:
    nobody measured it."""
    declines: tuple[str, ...] = ()
    """Whole answers with which it declines a question, where it was taught any."""
    self_check: SelfCheck | None = None
    """None: it was taught no form of checking itself, so nobody can tell what its checks came to."""
    history: HistoryPolicy = "answers"
    """`answers`: old thoughts are dropped from the conversation."""
    template_on: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({"enable_thinking": True}))
    template_off: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({"enable_thinking": False}))
    rules: tuple[Rule, ...] = ()

    @property
    def opener(self) -> str:
        """The opener to write; `openers` lists all that are recognised."""
        return self.openers[0]

    @property
    def closer(self) -> str:
        """The closer to write; `closers` lists all that are recognised."""
        return self.closers[0]

    @property
    def forced_close(self) -> str:
        """All the text that closes a thought by force."""
        return self.closing_message + self.closer + self.after_closer

    @property
    def empty_block(self) -> str:
        """A thought without content, for models whose template cannot switch thinking off (arXiv 2504.09858)."""
        return f"{self.opener}\n\n{self.closer}{self.after_closer}"

    def sampling(self, *, thinking: bool) -> SamplingDefaults:
        """The maker's setting for a reply with or without thinking."""
        return self.sampling_thinking if thinking else self.sampling_answer


def _rule(table: Mapping[str, Any]) -> Rule:
    return Rule(
        name=table.get("name"),
        architecture=tuple(table.get("architecture", ())),
        template_has=tuple(table.get("template_has", ())),
        template_lacks=tuple(table.get("template_lacks", ())),
    )


def _family(table: Mapping[str, Any]) -> Family:
    values: dict[str, Any] = dict(table)
    values["rules"] = tuple(_rule(rule) for rule in values.pop("match"))
    for key in ("openers", "closers", "declines"):
        values[key] = tuple(values.get(key, ()))
    for key in ("sampling_thinking", "sampling_answer"):
        values[key] = SamplingDefaults(**values[key])
    if "answer_stem" in values:
        values["answer_stem"] = AnswerStem(**values["answer_stem"])
    if "self_check" in values:
        values["self_check"] = SelfCheck(**{key: tuple(lines) for key, lines in values["self_check"].items()})
    for key in ("template_on", "template_off"):
        if key in values:
            values[key] = MappingProxyType(dict(values[key]))
    return Family(**values)


@lru_cache(maxsize=1)
def families() -> tuple[Family, ...]:
    """All families in the order in which they are tried; the last is the default."""
    try:
        table = tomllib.loads(_TABLE.read_text(encoding="utf-8"))
        return tuple(_family(entry) for entry in table["family"])
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ModelError(f"The table of families {_TABLE} cannot be read ({error}); install Kangae again.") from error


def _normalised(text: object) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", str(text).lower())


def _own_sampling(metadata: Mapping[str, object], defaults: SamplingDefaults) -> SamplingDefaults:
    """`defaults` with what the file itself says (`general.sampling.*`, ggml's GGUF specification)."""
    keys = {"temperature": "temp", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p"}
    found: dict[str, Any] = {}
    for name, key in keys.items():
        value = metadata.get(f"general.sampling.{key}")
        if value is None:
            continue
        try:
            number = float(str(value))
        except ValueError:
            continue
        in_range = 0.0 <= number <= {"temperature": 10.0, "top_k": 1e6}.get(name, 1.0)
        if in_range:
            found[name] = int(number) if name == "top_k" else number
    return replace(defaults, **found)


def resolve_family(metadata: Mapping[str, object], chat_template: str | None) -> Family:
    """The family of a model, from its GGUF metadata (`general.*`) and its chat template (None: it has none).

    What the file says wins: its own sampling settings are taken over, and an off switch that its template does not
    know becomes an empty block.
    """
    names = " ".join(_normalised(metadata.get(f"general.{key}", "")) for key in ("name", "basename"))
    architecture = str(metadata.get("general.architecture", ""))
    table = families()
    matching = (one for one in table if any(rule.holds(names, architecture, chat_template) for rule in one.rules))
    family = next(matching, table[-1])
    if family.off == "template" and not all(key in (chat_template or "") for key in family.template_off):
        family = replace(family, off="empty_block")
    return replace(
        family,
        sampling_thinking=_own_sampling(metadata, family.sampling_thinking),
        sampling_answer=_own_sampling(metadata, family.sampling_answer),
    )
